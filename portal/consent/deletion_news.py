"""Letters to a person about what organisations say of details that they were asked to delete: one for all there is.

A row counts what was said since the last letter, which waits for an hour, so that a company that answers detail by
detail makes one of it, and for a day after the one before.  It names no organisation and no detail.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import text

from portal import tray
from portal.identity import queries as identity
from portal.tray import Letter, Tray

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy import Row
    from sqlalchemy.orm import Session

    from portal.config import Settings

GATHERED: Final = timedelta(hours=1)
_OWE = text("""
    INSERT INTO deletion_news AS n (person_id, deleted, held, due_at) VALUES (:person_id, :deleted, :held, :due_at)
        ON CONFLICT (person_id) DO UPDATE
       SET deleted = n.deleted + excluded.deleted, held = n.held + excluded.held,
           due_at = COALESCE(n.due_at, GREATEST(excluded.due_at, n.last_sent_at + interval '24 hours'))
""")
_PENDING = text("SELECT EXISTS (SELECT 1 FROM deletion_news WHERE due_at <= clock_timestamp())")
_TAKE = text("""
    UPDATE deletion_news SET due_at = clock_timestamp() + interval '5 minutes'
     WHERE person_id = (SELECT person_id FROM deletion_news WHERE due_at <= clock_timestamp()
                         ORDER BY due_at LIMIT 1 FOR UPDATE SKIP LOCKED)
    RETURNING person_id, deleted, held, last_sent_at
""")
# What was said while the letter was on its way is the next one's.
_DONE = text("""
    UPDATE deletion_news
       SET deleted = deleted - :deleted, held = held - :held,
           due_at = CASE WHEN deleted + held > :deleted + :held THEN clock_timestamp() + interval '24 hours' END,
           last_sent_at = CASE WHEN :sent THEN clock_timestamp() ELSE last_sent_at END
     WHERE person_id = :person_id
""")


def owe(session: Session, *, person_id: UUID, deleted: int, held: int, now: datetime) -> None:
    """Keep that a person is to be told of so many details that were deleted, or are held for a legal reason."""
    if deleted or held:
        said = {"person_id": person_id, "deleted": deleted, "held": held, "due_at": now + GATHERED}
        session.execute(_OWE, said)


def _worded(session: Session, settings: Settings, row: Row[Any]) -> Letter | None:
    email = identity.address_of(session, settings, person_id=row.person_id)
    if not email:
        return None
    # The same until it has been sent, and said nothing more is: a sender that died makes no second message.
    once = f"deletions {row.person_id} {row.last_sent_at} {row.deleted} {row.held}"
    return tray.letter(
        settings, to=email, template="deletions_answered", once=once, deleted=row.deleted, held=row.held
    )  # fmt: skip


def _done(session: Session, row: Row[Any], sent: bool) -> None:  # noqa: FBT001 - as a tray says it
    told = {"person_id": row.person_id, "deleted": row.deleted, "held": row.held}
    session.execute(_DONE, told | {"sent": sent})


TRAY: Final = Tray(
    job="portal.consent.jobs.send_deletion_news",
    about="a letter about deletions",
    pending=tray.any_of(_PENDING),
    take=tray.one_of(_TAKE),
    word=_worded,
    done=_done,
)
