"""One step in a grant's life: kept for ever in its chain, logged, and announced to whoever listens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import insert, select, tuple_

from portal import events
from portal.consent import chain
from portal.consent.models import GrantVersion
from portal.ledger import services as ledger

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
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
    _set(grant, content)
    session.flush()
    at = at or grant.changed_at
    _keep_versions(session, [grant], step=step, actor=actor, shown=shown or {}, at=at)
    ledger.record(session, _row(grant, step, grant.attributes if asked is None else asked, at))
    if grant.state != "refused":
        fact = events.GrantChanged(person_id=grant.person_id, grant_id=grant.grant_id, at=at)
        events.announce(session, fact)
    return grant


def take_all(
    session: Session,
    grants: Sequence[Grant],
    step: str,
    actor: str,
    content: dict[str, Any],
    *,
    shown: dict[str, Any] | None = None,
) -> None:
    """Take the same step with many grants of one person, all of which stay live: a few statements, however many.

    `content` has `changed_at`, which is when.
    """
    if not grants:
        return
    for grant in grants:
        _set(grant, content)
    session.flush()
    person_id, at = grants[0].person_id, grants[0].changed_at
    _keep_versions(session, grants, step=step, actor=actor, shown=shown or {}, at=at)
    ledger.record(session, *(_row(grant, step, grant.attributes, at) for grant in grants))
    grant_ids = tuple(grant.grant_id for grant in grants)
    events.announce(session, events.GrantsChanged(person_id=person_id, grant_ids=grant_ids, at=at))


def _set(grant: Grant, content: dict[str, Any]) -> None:
    for name, value in content.items():
        setattr(grant, name, value)
    grant.version += 1


def _keep_versions(
    session: Session, grants: Sequence[Grant], *, step: str, actor: str, shown: dict[str, Any], at: datetime
) -> None:
    before = [(grant.grant_id, grant.version - 1) for grant in grants]
    earlier = select(GrantVersion.grant_id, GrantVersion.hash).where(
        GrantVersion.person_id == grants[0].person_id,
        tuple_(GrantVersion.grant_id, GrantVersion.version).in_(before),
    )
    previous = {row.grant_id: row.hash for row in session.execute(earlier)}
    said = {"at": at, "step": step, "actor": actor, "shown": shown}
    rows = [_version(grant, previous.get(grant.grant_id, chain.START), said) for grant in grants]
    session.execute(insert(GrantVersion), rows)


def _version(grant: Grant, previous: bytes, said: dict[str, Any]) -> dict[str, Any]:
    members = said | {
        "grant_id": grant.grant_id,
        "version": grant.version,
        "state": grant.state,
        "mode": grant.mode,
        "attributes": list(grant.attributes),
        "expires_at": grant.expires_at,
        "retention_days": grant.retention_days,
        "level": grant.level,
        "pulls_a_day": grant.pulls_a_day,
    }
    digest = chain.digest(members, previous=previous)
    return members | {"person_id": grant.person_id, "previous_hash": previous, "hash": digest}


def _row(grant: Grant, step: str, asked: Collection[str], at: datetime) -> ledger.NewDisclosure:
    return ledger.NewDisclosure(
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
