"""Freezing everything a person shares, and letting some of it go on again.

A freeze is a row of the person's own, and a step of every consent that was active: each is paused and bears the mark
`frozen_at`, so that whatever asks for a consent finds it refused.  Consents that were paused before are left as they
are.  Whoever gives, resumes or widens anything meanwhile is refused, and whoever does so at the same moment comes
before the freeze, which then pauses it too, or after it.  docs/decisions/0023-freezing-is-a-step-of-every-consent.md
says why.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import delete, select, text
from sqlalchemy.dialects.postgresql import insert

from portal.consent import queries, steps
from portal.consent.models import Freeze, Grant
from portal.errors import RefusedError

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy import ColumnElement
    from sqlalchemy.orm import Session

# Held together by whoever gives something new, and alone by whoever freezes or unfreezes: no row stands for "nothing
# is frozen" that they could wait for.
_GIVING = text("SELECT pg_advisory_xact_lock_shared(hashtextextended('freeze ' || CAST(:person_id AS text), 0))")
_FREEZING = text("SELECT pg_advisory_xact_lock(hashtextextended('freeze ' || CAST(:person_id AS text), 0))")


class FrozenError(RefusedError):
    """The person has frozen everything they share: nothing new is given until they unfreeze it."""

    code = "sharing-frozen"
    status = 409
    public = "All sharing is frozen. It has to be unfrozen under Sharing before anything new is shared."


class Unfrozen(NamedTuple):
    """How many consents go on, and how many stay paused."""

    resumed: int
    paused: int


def since(session: Session, *, person_id: UUID) -> datetime | None:
    """Return when a person froze everything; None when nothing is frozen."""
    return session.scalar(select(Freeze.frozen_at).where(Freeze.person_id == person_id))


def check(session: Session, *, person_id: UUID) -> None:
    """Raise FrozenError while everything is frozen; the caller holds the consent that it is about."""
    if since(session, person_id=person_id) is not None:
        raise FrozenError


def check_giving(session: Session, *, person_id: UUID) -> None:
    """Raise FrozenError while everything is frozen, and hold off a freeze until the transaction ends.

    For whoever begins a consent that does not exist yet, before it holds any other row.
    """
    session.execute(_GIVING, {"person_id": person_id})
    check(session, person_id=person_id)


def hold(session: Session, *, person_id: UUID) -> Sequence[Grant]:
    """Return the consents that a freeze would pause, all held still: whoever is sending now has been waited for.

    Paused ones are held too: who resumes one at this moment has either been waited for, or waits and is refused.
    """
    session.execute(_FREEZING, {"person_id": person_id})
    held = _held(session, Grant.person_id == person_id, Grant.state.in_(queries.LIVE))
    return [grant for grant in held if grant.state == "active"]


def freeze(session: Session, *, person_id: UUID, now: datetime) -> int:
    """Pause everything a person shares until they unfreeze it; return how many consents that paused.

    Freezing what is frozen changes nothing.  `now` is to be taken after `hold`.
    """
    active = hold(session, person_id=person_id)
    fresh = insert(Freeze).values(person_id=person_id, frozen_at=now).on_conflict_do_nothing()
    session.execute(fresh)
    steps.take_all(session, active, "frozen", "person", {"state": "paused", "frozen_at": now, "changed_at": now})
    return len(active)


def frozen(session: Session, *, person_id: UUID) -> list[Grant]:
    """Return the consents that were active when everything was frozen and have not ended since, newest first."""
    mine = select(Grant).where(Grant.person_id == person_id, Grant.state == "paused", Grant.frozen_at.is_not(None))
    return list(session.scalars(mine.order_by(Grant.given_at.desc(), Grant.grant_id)))


def unfreeze(session: Session, *, person_id: UUID, resume: Collection[UUID], now: datetime) -> Unfrozen:
    """End a freeze: those of the frozen consents named in `resume` go on, the others stay paused as any other pause.

    Names that are not among them count for nothing; without a freeze nothing changes.
    """
    session.execute(_FREEZING, {"person_id": person_id})
    ended = session.execute(delete(Freeze).where(Freeze.person_id == person_id).returning(Freeze.frozen_at))
    if ended.one_or_none() is None:
        return Unfrozen(0, 0)
    held = _held(session, Grant.person_id == person_id, Grant.state == "paused", Grant.frozen_at.is_not(None))
    goes_on = [grant for grant in held if grant.grant_id in resume]
    stays = [grant for grant in held if grant.grant_id not in resume]
    over = {"frozen_at": None, "changed_at": now}
    steps.take_all(session, goes_on, "resumed", "person", {"state": "active", **over})
    steps.take_all(session, stays, "paused", "person", over)
    return Unfrozen(len(goes_on), len(stays))


def _held(session: Session, *which: ColumnElement[bool]) -> Sequence[Grant]:
    # In the order in which whoever discloses holds them.
    mine = select(Grant).where(*which).order_by(Grant.person_id, Grant.grant_id)
    return session.scalars(mine.with_for_update().execution_options(populate_existing=True)).all()
