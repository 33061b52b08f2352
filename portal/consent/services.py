"""Giving, changing, pausing and stopping: each step is kept for ever and announced.

Whoever comes second waits: a step locks its grant, and the database allows one live grant for a purpose.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert

from portal import faults
from portal.consent import freezing, grants, queries, steps, terms
from portal.consent.models import Grant, Subject
from portal.consent.terms import Effect
from portal.db import now as clock
from portal.errors import RefusedError

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy.orm import Session

    from portal.companies.queries import PurposeFacts
    from portal.consent.terms import Wanted

# A round is lost where another window's grant was kept first; the next one steps on that, unless it has ended as well.
# To lose five takes a person who gives and stops five times while this one answer is written: they are told.
_ROUNDS = 5
_EXPIRED_AT_ONCE = 500
# Whoever asks for a step knows what refuses it by this module.
StoppedError = grants.StoppedError


class StillSharingError(RefusedError):
    """What is shared cannot be asked back: stop it first."""

    code = "still-sharing"
    status = 409
    public = "You still share with this organisation. Stop sharing first, and ask them to delete what they have there."


class BusyError(RefusedError):
    """Several answers to the same question arrived at once."""

    code = "busy"
    status = 409
    public = "You answered in another window at the same time. Look at Sharing to see what holds."


@dataclass(frozen=True, kw_only=True)
class Reply:
    """A person's reply to a company's question: who replies to what, and when.

    `shown` is the exact text they answered, never a value; `wanted` what was asked where that is less than the
    purpose; `asked_at` when the company asked: a new grant begins with that.
    """

    person_id: UUID
    client_id: str
    purpose_id: UUID
    shown: dict[str, Any]
    now: datetime
    wanted: Wanted | None = None
    asked_at: datetime | None = None

    def asked(self, purpose: PurposeFacts) -> Wanted:
        """Return what was asked; raises what `terms.within` refuses."""
        return terms.within(self.wanted or terms.whole(purpose), purpose)


def give(
    session: Session,
    *,
    person_id: UUID,
    client_id: str,
    purpose_id: UUID,
    attributes: Collection[str],
    mode: str,
    days: int | None,
    level: int,
    shown: dict[str, Any],
    now: datetime,
    wanted: Wanted | None = None,
    effect: Effect = Effect.AMEND,
    grant_id: UUID | None = None,
    asked_at: datetime | None = None,
    version: int | None = None,
) -> Grant:
    """Keep a person's consent; a live grant for the same purpose becomes a new version of itself.

    `shown` is the exact text they answered, never a value; `level` how they have proved who they are.  `asked_at` is
    when the company asked: a new grant begins with that.  What they had offered for the purpose is taken back.
    `version` is that of the purpose that they read, by default the one that people are asked under now.
    `wanted` is what was asked where that is less than the purpose; `effect` says what becomes of what they share
    already, which is `grant_id` where it is merged with or replaced.  A merge adds details and leaves way, time
    and retention as they were, so `mode` and `days` count for nothing there.
    Raises what `terms` refuses, StoppedError when `grant_id` is no longer what they share, and FrozenError.
    """
    freezing.check_giving(session, person_id=person_id)
    client, purpose = queries.offer(session, client_id, purpose_id, version=version)
    asked = terms.within(wanted or terms.whole(purpose), purpose)
    subject(session, person_id=person_id, company_id=client.company_id)
    take_offer_back(session, person_id=person_id, purpose_id=purpose_id, now=now)
    for _ in range(_ROUNDS):
        held = _to_step_on(
            session, person_id=person_id, purpose_id=purpose_id, effect=effect, grant_id=grant_id, now=now
        )
        content = _content(purpose, asked, held, attributes=attributes, effect=effect, level=level)
        if effect is not Effect.MERGE:
            content |= _until(asked, mode, days, now)
        content |= {"state": "active", "changed_at": now}
        if held is not None:
            held.context_id = grants.context(session, client, purpose)
            return steps.take(session, held, "given", "person", content, shown=shown)
        made = grants.begin(session, person_id, client, purpose, content)
        if made is not None:
            steps.note_request(session, made, asked, at=asked_at)
            return steps.take(session, made, "given", "person", {}, shown=shown)
    raise BusyError


def refuse(session: Session, reply: Reply) -> Grant:
    """Record that a person declined; what they may already share for this purpose stays as it is.

    Nothing is announced: the company learns it from the answer to its own request.
    """
    take_offer_back(session, person_id=reply.person_id, purpose_id=reply.purpose_id, now=reply.now)
    return _say_no(session, "refused", reply)


def defer(session: Session, reply: Reply) -> Grant:
    """Record that a person put off their answer ("Not now"): nothing is shared, and they may be asked again."""
    return _say_no(session, "deferred", reply)


def take_offer_back(session: Session, *, person_id: UUID, purpose_id: UUID, now: datetime) -> Grant | None:
    """Take back what a person has offered for a purpose and its company has not answered, if anything."""
    held = grants.offered(session, person_id, purpose_id)
    return None if held is None else _take_back(session, held, now)


def change(
    session: Session,
    *,
    person_id: UUID,
    grant_id: UUID,
    attributes: Collection[str],
    mode: str,
    days: int | None,
    level: int,
    shown: dict[str, Any],
    now: datetime,
    wanted: Wanted | None = None,
    keep_end: bool = False,
) -> Grant:
    """Keep what a person now shares; paused stays paused.  `keep_end` leaves mode and end as they were.

    `wanted` is what they were last asked for: nobody changes into more than that, nor into a longer retention.
    """
    held = grants.lock(session, person_id, grant_id, now)
    freezing.check(session, person_id=person_id)
    client, purpose = queries.offer(session, held.client_id, held.purpose_id, version=held.purpose_version)
    asked = terms.within(wanted or terms.whole(purpose), purpose)
    content = _content(purpose, asked, held, attributes=attributes, effect=Effect.AMEND, level=level)
    content |= terms.stricter(asked, held)
    if not keep_end:
        content |= _until(asked, mode, days, now)
    held.context_id = grants.context(session, client, purpose)
    return steps.take(session, held, "changed", "person", content | {"changed_at": now}, shown=shown)


def pause(session: Session, *, person_id: UUID, grant_id: UUID, now: datetime) -> Grant:
    """Stop disclosures until the person resumes; pausing twice changes nothing."""
    held = grants.lock(session, person_id, grant_id, now)
    if held.state == "paused":
        return held
    return steps.take(session, held, "paused", "person", {"state": "paused", "changed_at": now})


def pause_with(session: Session, *, person_id: UUID, company_id: UUID) -> None:
    """Pause everything a person shares with a company; what is over or paused stays as it is.

    What they have offered is taken back: the company could begin with it by itself.
    """
    mine = select(Grant).where(Grant.person_id == person_id, Grant.company_id == company_id)
    theirs = mine.where(Grant.state.in_(("active", "countered"))).order_by(Grant.grant_id)
    held = session.scalars(theirs.with_for_update().execution_options(populate_existing=True)).all()
    # From the moment they are held nothing sets out any more, and that is the moment of the pause.
    moment = clock()
    for grant in held:
        if grant.state == "countered":
            _take_back(session, grant, moment)
    going_on = [grant for grant in held if grant.state == "active" and not queries.over(session, grant, now=moment)]
    steps.take_all(session, going_on, "paused", "person", {"state": "paused", "changed_at": moment})


def resume(session: Session, *, person_id: UUID, grant_id: UUID, now: datetime) -> Grant:
    """Let disclosures go on after a pause; resuming what is not paused changes nothing."""
    held = grants.lock(session, person_id, grant_id, now)
    if held.state == "active":
        return held
    freezing.check(session, person_id=person_id)
    return steps.take(session, held, "resumed", "person", {"state": "active", "changed_at": now})


def withdraw(
    session: Session,
    *,
    person_id: UUID,
    grant_id: UUID,
    now: datetime,
    erase: bool = False,
    shown: dict[str, Any] | None = None,
) -> Grant:
    """Stop sharing for good, as the person wishes; stopping what has stopped changes nothing.

    With `erase` the company is asked to delete what it holds, also where sharing ended while they read the page;
    `shown` is the exact text they answered.
    """
    held = grants.locked(session, person_id, grant_id)
    if erase and held.state not in queries.LIVE:
        return ask_erasure(session, person_id=person_id, grant_id=grant_id, shown=shown or {}, now=now)
    asked = {"erasure_asked_at": now} if erase and queries.holds(session, held) else {}
    stopped = _stop(session, held, "withdrawn", "person", now, content=asked, shown=shown)
    faults.reach("stop.stepped")
    return stopped


def ask_erasure(session: Session, *, person_id: UUID, grant_id: UUID, shown: dict[str, Any], now: datetime) -> Grant:
    """Ask for what a company holds under a sharing that is over to be deleted; asking again changes nothing.

    Raises StillSharingError.
    """
    held = grants.locked(session, person_id, grant_id)
    _close_if_over(session, held, now)
    if held.state in queries.LIVE:
        raise StillSharingError
    if held.erasure_asked_at is not None or not queries.holds(session, held):
        return held
    return steps.take(session, held, "erasure-asked", "person", {"erasure_asked_at": now}, shown=shown, at=now)


def end(session: Session, *, person_id: UUID, grant_id: UUID, now: datetime) -> Grant:
    """Stop sharing for good, as the company wishes."""
    return _stop(session, grants.locked(session, person_id, grant_id), "ended", "company", now)


def expire_due(session: Session, *, now: datetime) -> int:
    """Close grants whose time is over, at most 500 at once; return how many.

    `rules.decide` refuses them from the moment itself: this makes the pages and the company say so.
    """
    due = select(Grant).where(Grant.state.in_(queries.LIVE), Grant.expires_at <= now).order_by(Grant.expires_at)
    found = session.scalars(due.limit(_EXPIRED_AT_ONCE).with_for_update(skip_locked=True)).all()
    for held in found:
        steps.take(session, held, "expired", "portal", {"state": "expired", "changed_at": now})
    return len(found)


def subject(session: Session, *, person_id: UUID, company_id: UUID) -> str:
    """Return the identifier by which one company knows one person: 128 random bits, the same ever after."""
    fresh = insert(Subject).values(person_id=person_id, company_id=company_id, sub=secrets.token_urlsafe(16))
    session.execute(fresh.on_conflict_do_nothing(index_elements=["person_id", "company_id"]))
    mine = select(Subject.sub).where(Subject.person_id == person_id, Subject.company_id == company_id)
    return session.scalars(mine).one()


def _take_back(session: Session, held: Grant, now: datetime) -> Grant:
    return steps.take(session, held, "taken-back", "person", {"state": "refused", "changed_at": now})


def _say_no(session: Session, step: str, reply: Reply) -> Grant:
    client, purpose = queries.offer(session, reply.client_id, reply.purpose_id)
    asked = reply.asked(purpose)
    content: dict[str, Any] = {
        "state": step,
        "mode": purpose.mode,
        "attributes": [],
        "expires_at": None,
        "purpose_version": purpose.version,
        "retention_days": purpose.retention_days,
        "changed_at": reply.now,
    }
    made = grants.begin(session, reply.person_id, client, purpose, content)
    if made is None:  # Unreachable while only live grants and offers are unique; said so that nothing passes silently.
        raise BusyError
    steps.note_request(session, made, asked, at=reply.asked_at)
    return steps.take(session, made, step, "person", {}, shown=reply.shown, asked=asked.attributes)


def _to_step_on(
    session: Session, *, person_id: UUID, purpose_id: UUID, effect: Effect, grant_id: UUID | None, now: datetime
) -> Grant | None:
    """Return the live grant that an answer becomes a new version of; None where it begins a new one."""
    held = grants.live(session, person_id, purpose_id)
    if held is not None:
        _close_if_over(session, held, now)
        held = held if held.state in queries.LIVE else None
    if effect in {Effect.MERGE, Effect.REPLACE} and (held is None or held.grant_id != grant_id):
        raise StoppedError
    if effect is Effect.CREATE and held is not None:
        _stop(session, held, "ended", "company", now)
        return None
    return held


def _content(
    purpose: PurposeFacts,
    asked: Wanted,
    held: Grant | None,
    *,
    attributes: Collection[str],
    effect: Effect,
    level: int,
) -> dict[str, Any]:
    before = set(held.attributes) if held else set()
    purpose = terms.conceded(purpose, terms.concession(held.concession) if held else None)
    stays = before & set(purpose.attributes) if effect is Effect.MERGE else set()
    offered = set(asked.attributes) if effect is Effect.REPLACE else {*asked.attributes, *before}
    chosen = terms.attributes(
        required=[name for name, _ in purpose.required],
        optional=[name for name, _ in purpose.optional if name in offered],
        chosen={*attributes, *stays},
    )
    terms.check_proofs(set(chosen) - before, level=level)
    stands = held if held is not None and effect is Effect.MERGE else asked
    return {
        "attributes": chosen,
        "purpose_version": purpose.version,
        "level": max(level, held.level) if held else level,
        **terms.stricter(stands, purpose),
    }


def _until(asked: Wanted, mode: str, days: int | None, now: datetime) -> dict[str, Any]:
    mode = terms.check_mode(offered=asked.mode, wanted=mode)
    ends = terms.expiry(mode=mode, days=days, longest_days=asked.longest_days, open_ended=asked.open_ended, now=now)
    return {"mode": mode, "expires_at": ends}


def _close_if_over(session: Session, held: Grant, now: datetime) -> None:
    """Close a live grant that is over though nobody has said so: a new consent begins anew, with a new use."""
    if held.state in queries.LIVE and queries.over(session, held, now=now):
        steps.take(session, held, "expired", "portal", {"state": "expired", "changed_at": now})


def _stop(
    session: Session,
    held: Grant,
    state: str,
    actor: str,
    now: datetime,
    *,
    content: dict[str, Any] | None = None,
    shown: dict[str, Any] | None = None,
) -> Grant:
    if held.state not in queries.LIVE:
        return held
    return steps.take(session, held, state, actor, {"state": state, "changed_at": now, **(content or {})}, shown=shown)
