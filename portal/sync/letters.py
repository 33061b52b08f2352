"""Letters to companies about their streams: leased by one job, handed to the mail server, then noted as sent.

A job that dies in between leaves its lease to run out, and the reconciler rings again: the letter then carries the
same Message-ID, so that a mail program shows it once (RFC 5322 section 3.6.4).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from sqlalchemy import text

from portal import db, mail
from portal.companies import queries as companies
from portal.sync import queries
from portal.web import dates

if TYPE_CHECKING:
    from uuid import UUID

    from sqlalchemy import Row
    from sqlalchemy.orm import Session

    from portal.config import Settings
    from portal.sync.models import Stream

DISABLED: Final = "disabled"
HELD: Final = "held"
_LAST_WARNING = "failing-3"
_TAKE = text("""
    UPDATE letter SET leased_until = clock_timestamp() + interval '5 minutes'
     WHERE letter_id = :letter_id AND sent_at IS NULL
       AND (leased_until IS NULL OR leased_until <= clock_timestamp())
    RETURNING client_id, kind, about
""")
_SENT = text("UPDATE letter SET sent_at = clock_timestamp() WHERE letter_id = :letter_id")
_DROP = text("DELETE FROM letter WHERE letter_id = :letter_id")
# What could not be sent within a day is news no longer.
_UNSENT = text("""
    SELECT letter_id FROM letter
     WHERE sent_at IS NULL AND made_at > clock_timestamp() - interval '24 hours'
       AND made_at < clock_timestamp() - interval '10 seconds'
       AND (leased_until IS NULL OR leased_until <= clock_timestamp()) LIMIT 100
""")
_HELD_BACK = text(
    "SELECT count(*) FROM delivery WHERE client_id = :client_id AND held AND generation > acked_generation"
)
_FORGET = text("DELETE FROM letter WHERE made_at < clock_timestamp() - interval '400 days'")


class _Letter(NamedTuple):
    to: str
    subject: str
    body: str


def send(settings: Settings, letter_id: UUID) -> None:
    """Send one letter unless it is sent, another job has it, or what it is about is over.

    Raises `mail.MailNotSentError`; the letter then waits for its lease to run out.
    """
    with db.transaction(settings.database_url) as session:
        row = session.execute(_TAKE, {"letter_id": letter_id}).one_or_none()
        letter = _written(settings, session, row) if row else None
        if row and letter is None:
            session.execute(_DROP, {"letter_id": letter_id})
    # The database is not held while a mail server takes its time.
    if letter and mail.send(settings, **letter._asdict(), reference=letter_id.hex):
        with db.transaction(settings.database_url) as session:
            session.execute(_SENT, {"letter_id": letter_id})


def unsent(session: Session) -> list[UUID]:
    """Return letters that nobody is sending; what is older than any use of it is forgotten."""
    session.execute(_FORGET)
    return list(session.scalars(_UNSENT))


def _written(settings: Settings, session: Session, row: Row[Any]) -> _Letter | None:
    client, stream = companies.client(session, row.client_id), queries.stream_of(session, client_id=row.client_id)
    company = companies.company(session, slug=client.company_slug) if client else None
    if client is None or company is None or stream is None or client.ended:
        return None
    held = session.scalar(_HELD_BACK, {"client_id": row.client_id}) or 0
    if not _still_so(row, stream, held):
        return None
    template = {DISABLED: "endpoint_disabled", HELD: "messages_held"}.get(row.kind, "endpoint_failing")
    subject, body = mail.compose(
        template,
        app=client.name, since=f"{dates.day(row.about)}, {dates.clock(row.about)}", last=row.kind == _LAST_WARNING,
        problem=stream.reason if row.kind == DISABLED else stream.last_problem, held=held,
        page=f"{settings.url}/org/deliveries/endpoints/{client.client_id}",
        service_name=settings.service_name, url=settings.url,
    )  # fmt: skip
    return _Letter(company.contact_email, subject, body)


def _still_so(row: Row[Any], stream: Stream, held: int) -> bool:
    if row.kind == DISABLED:
        return stream.state == DISABLED
    return held > 0 if row.kind == HELD else stream.failing_since == row.about
