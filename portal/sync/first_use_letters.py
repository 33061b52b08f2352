"""Letters to people whose details reached an organisation for the first time: at once, and about each one once.

Which organisation it is stands in the portal, and in no letter.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from portal import tray
from portal.identity import queries as identity
from portal.ledger import first_uses
from portal.tray import Letter, Tray

if TYPE_CHECKING:
    from uuid import UUID

    from sqlalchemy.orm import Session

    from portal.config import Settings


def _worded(session: Session, settings: Settings, person_id: UUID) -> Letter | None:
    email = identity.address_of(session, settings, person_id=person_id)
    return tray.letter(settings, to=email, template="first_use") if email else None


def _done(session: Session, person_id: UUID, _sent: bool) -> None:  # noqa: FBT001 - as a tray says it
    first_uses.told(session, person_id=person_id)


TRAY: Final = Tray(
    job="portal.sync.jobs.tell_of_first_uses",
    about="a letter about a first use",
    pending=first_uses.pending,
    take=first_uses.take,
    word=_worded,
    done=_done,
)
