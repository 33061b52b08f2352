"""One step in a grant's life: kept for ever in its chain, logged, and announced to whoever listens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert

from portal import events
from portal.consent import chain
from portal.consent.models import GrantVersion
from portal.ledger import services as ledger

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime

    from sqlalchemy.orm import Session

    from portal.consent.models import Grant


def take(
    session: Session,
    grant: Grant,
    step: str,
    actor: str,
    content: dict[str, Any],
    *,
    shown: dict[str, Any] | None = None,
    asked: Collection[str] | None = None,
    at: datetime | None = None,
) -> Grant:
    """Take one step in a grant's life: set `content`, keep the version, log it, announce it; return the grant.

    `shown` is the exact text the person answered, `asked` the details a refusal was about.  A step that leaves the
    grant's state as it was says by `at` when it was taken.
    """
    for name, value in content.items():
        setattr(grant, name, value)
    grant.version += 1
    session.flush()
    at = at or grant.changed_at
    _keep_version(session, grant, step=step, actor=actor, shown=shown or {}, at=at)
    _log(session, grant, step, grant.attributes if asked is None else asked, at)
    if grant.state != "refused":
        fact = events.GrantChanged(person_id=grant.person_id, grant_id=grant.grant_id, at=at)
        events.announce(session, fact)
    return grant


def _keep_version(
    session: Session, grant: Grant, *, step: str, actor: str, shown: dict[str, Any], at: datetime
) -> None:
    earlier = select(GrantVersion.hash).where(
        GrantVersion.person_id == grant.person_id,
        GrantVersion.grant_id == grant.grant_id,
        GrantVersion.version == grant.version - 1,
    )
    previous = session.scalars(earlier).one_or_none() or chain.START
    members = {
        "grant_id": grant.grant_id,
        "version": grant.version,
        "at": at,
        "step": step,
        "actor": actor,
        "state": grant.state,
        "mode": grant.mode,
        "attributes": list(grant.attributes),
        "expires_at": grant.expires_at,
        "retention_days": grant.retention_days,
        "level": grant.level,
        "pulls_a_day": grant.pulls_a_day,
        "shown": shown,
    }
    row = insert(GrantVersion).values(
        person_id=grant.person_id,
        previous_hash=previous,
        hash=chain.digest(members, previous=previous),
        **members,
    )
    session.execute(row)


def _log(session: Session, grant: Grant, step: str, asked: Collection[str], at: datetime) -> None:
    row = ledger.NewDisclosure(
        person_id=grant.person_id,
        at=at,
        context_id=grant.context_id,
        channel="consent",
        outcome="denied" if step == "refused" else "completed",
        asked=list(asked),
        given={},
        grant_id=grant.grant_id,
        grant_version=grant.version,
        reason=step,
    )
    ledger.record(session, row)
