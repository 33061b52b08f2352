"""Letters that wait to be sent: each is taken under a lease, worded, handed to the mail server, and noted.

A sender that dies leaves its lease to run out, and the letter is sent again with the same Message-ID, so that a mail
program shows it once (RFC 5322 section 3.6.4).  Which letters wait, and what they say, is theirs who write them.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from portal import config, db, mail, queue

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Row, TextClause
    from sqlalchemy.orm import Session

    from portal.config import Settings

log = logging.getLogger(__name__)

_LONGEST_SECONDS: Final = 20
Taken = TypeVar("Taken")


@dataclass(frozen=True, kw_only=True)
class Letter:
    """A letter as it goes out; those with one `reference` are one message, those without each their own."""

    to: str = field(repr=False)
    subject: str
    body: str = field(repr=False)
    reference: str = ""


@dataclass(frozen=True, kw_only=True)
class Tray(Generic[Taken]):
    """Letters of one sort, which the job named `job` sends.

    `pending` says whether one may go now.  `take` leases the next one for five minutes, None when there is none.
    `word` words what was taken, None where nobody is to be told any more.  `done` notes that it is over, sent or not.
    """

    job: str
    about: str
    pending: Callable[[Session], bool]
    take: Callable[[Session], Taken | None]
    word: Callable[[Session, Settings, Taken], Letter | None]
    done: Callable[[Session, Taken, bool], None]

    def ring(self, session: Session) -> None:
        """Have the letters sent once `session` has committed."""
        # People wait for the codes that the mail worker sends: nothing that piles up stands before those.
        queue.ring_once_after_commit(session, config.current().redis_url, queue.WORK, self.job)

    def see_to(self, session: Session) -> None:
        """Ring for letters whose ring was lost, or which have come to be due; without a mail server they wait."""
        settings = config.current()
        if settings.smtp_url and self.pending(session):
            queue.ring_once(settings.redis_url, queue.WORK, self.job, within=10)

    def run(self) -> None:
        """Do the job, and ring for what it left.

        Where nothing was sent the server is away, or wants none of it: `see_to` rings for what waits then.
        """
        settings = config.current()
        queue.answer(settings.redis_url, self.job)
        if self.empty(settings):
            queue.ring_once(settings.redis_url, queue.WORK, self.job)

    def empty(self, settings: Settings) -> int:
        """Send what waits, for as long as a job may run and the mail server is there; return how many were sent."""
        ends, sent = time.monotonic() + _LONGEST_SECONDS, 0
        try:
            while settings.smtp_url and time.monotonic() < ends and (found := self._next(settings)) is not None:
                sent += self._send(settings, *found)
        except mail.MailNotSentError as error:
            log.warning("%s waits: %s", self.about, error.private)
        return sent

    def _next(self, settings: Settings) -> tuple[Taken, Letter | None] | None:
        with db.transaction(settings.database_url) as session:
            taken = self.take(session)
            return None if taken is None else (taken, self.word(session, settings, taken))

    def _send(self, settings: Settings, taken: Taken, letter: Letter | None) -> bool:
        try:
            # The database is not held while a mail server takes its time.
            sent = letter is not None and send(settings, letter)
        except mail.MessageRefusedError as error:
            log.warning("%s was refused: %s", self.about, error.private)
            if not error.for_good:
                # It is tried again when its lease is over; the others wait for none of it.
                return False
            sent = False
        with db.transaction(settings.database_url) as session:
            self.done(session, taken, sent)
        return sent


def any_of(statement: TextClause) -> Callable[[Session], bool]:
    """Return what says `pending` by a statement that is true or false."""
    return lambda session: bool(session.scalar(statement))


def one_of(statement: TextClause) -> Callable[[Session], Row[Any] | None]:
    """Return what takes a letter by a statement that leases one row and returns it."""
    return lambda session: session.execute(statement).one_or_none()


def letter(settings: Settings, *, to: str, template: str, once: str = "", **values: object) -> Letter:
    """Return the letter that `templates/mail/<template>` makes of `values`; what is `once` the same is one message.

    Without `once` it is one each time that it is sent.
    """
    given = {"service_name": settings.service_name, "url": settings.url} | values
    subject, body = mail.compose(template, **given)
    # Of ids nothing is to be read in it.
    reference = sha256(once.encode()).hexdigest()[:32] if once else ""
    return Letter(to=to, subject=subject, body=body, reference=reference)


def send(settings: Settings, letter: Letter) -> bool:
    """Hand a letter to the mail server as `mail.send` does."""
    return mail.send(
        settings, to=letter.to, subject=letter.subject, body=letter.body, reference=letter.reference
    )  # fmt: skip
