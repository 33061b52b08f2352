"""One step in a grant's life: kept for ever in its chain, logged, and announced to whoever listens."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from portal import events
from portal.consent import letters, queries, versions
from portal.ledger import services as ledger

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from datetime import datetime

    from sqlalchemy.orm import Session

    from portal.consent.models import Grant
    from portal.consent.terms import Wanted

# Nothing has been shared yet under a grant in one of these, and the company knows nothing of it but the answer.
UNBORN: Final = frozenset({"refused", "deferred", "countered"})
DENIALS: Final = frozenset({"refused", "deferred"})


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
    before = grant.state
    _set(grant, content)
    session.flush()
    at = at or grant.changed_at
    kept = versions.keep(session, [grant], at=at, said={"step": step, "actor": actor, "shown": shown or {}})
    named = grant.attributes if asked is None else asked
    ledger.record(session, _row(grant, step, named, at, kept[grant.grant_id]))
    if before not in UNBORN or grant.state in queries.LIVE:
        events.announce(session, events.GrantChanged(person_id=grant.person_id, grant_id=grant.grant_id, at=at))
    letters.owe(session, grant, step, at=at)
    return grant


def note_request(session: Session, grant: Grant, asked: Wanted, *, at: datetime | None) -> None:
    """Keep what a company asked for, and when, as the first version of the grant that answers it.

    Nobody is told, and nothing is logged: the answer, which follows in the same transaction, is.  Without a moment
    nobody asked: the person began by themselves.
    """
    if at is None:
        return
    grant.version += 1
    session.flush()
    shown = {"terms": asdict(asked)}
    said: dict[str, Any] = {"step": "requested", "actor": "company", "state": "requested", "shown": shown}
    said |= {"expires_at": None, "level": None, "attributes": list(asked.attributes), "mode": asked.mode}
    said |= {"retention_days": asked.retention_days, "pulls_a_day": asked.pulls_a_day}
    versions.keep(session, [grant], at=at, said=said)


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
    kept = versions.keep(session, grants, at=at, said={"step": step, "actor": actor, "shown": shown or {}})
    ledger.record(session, *(_row(grant, step, grant.attributes, at, kept[grant.grant_id]) for grant in grants))
    grant_ids = tuple(grant.grant_id for grant in grants)
    events.announce(session, events.GrantsChanged(person_id=person_id, grant_ids=grant_ids, at=at))


def _set(grant: Grant, content: dict[str, Any]) -> None:
    for name, value in content.items():
        setattr(grant, name, value)
    grant.version += 1


def _row(grant: Grant, step: str, asked: Collection[str], at: datetime, version_hash: bytes) -> ledger.NewDisclosure:
    return ledger.NewDisclosure(
        person_id=grant.person_id,
        at=at,
        context_id=grant.context_id,
        channel="consent",
        outcome="denied" if step in DENIALS else "completed",
        asked=list(asked),
        given={},
        grant_id=grant.grant_id,
        grant_version=grant.version,
        reason=step,
        # What anybody can check stands in the log: that this version was there then, whoever has its key now.
        message_id=version_hash.hex(),
    )
