"""Offers of less: a person answers with less than was asked, and the company takes it or leaves it.

Until the company has taken it nothing is shared.  An offer is a grant that waits, so that its id, its steps and its
receipt are those of what comes of it.  What the company takes it can do without from then on (`terms.Concession`).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import or_, select
from sqlalchemy.exc import IntegrityError

from portal.consent import freezing, grants, queries, services, steps, terms
from portal.consent.models import Grant
from portal.errors import InvalidError, NotFoundError, RefusedError

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy.orm import Session

    from portal.companies.queries import PurposeFacts
    from portal.consent.services import Reply
    from portal.consent.terms import Wanted

ANSWER_WITHIN: Final = timedelta(days=30)
STATE: Final = "countered"
_BATCH = 500
_LISTED = 100


class NothingOfferedError(InvalidError):
    """An offer without a single detail is a refusal."""

    code = "nothing-offered"
    public = "Choose at least one detail to offer, or choose “Do not share”."


class NothingLessError(InvalidError):
    """What is offered is all that was asked: it can be shared at once."""

    code = "nothing-less"
    public = "This is all they ask for, so there is nothing to offer: you can share it at once."


class SharedAlreadyError(RefusedError):
    """Whoever shares for a purpose already changes that by themselves, and need not ask anybody."""

    code = "shared-already"
    status = 409
    public = "You share with this organisation already. Change what they get under Sharing."


class OfferOverError(RefusedError):
    """The offer was answered, was taken back, is too old, or is about a purpose that has changed since."""

    code = "offer-over"
    status = 409
    public = "This offer can no longer be answered: it was settled, has lapsed, or your purpose has changed since."


@dataclass(frozen=True, kw_only=True)
class Less:
    """What a person would share instead: which details, in which way, and for how many days (None: until they stop it).

    `level` is how surely they have proved who they are.
    """

    attributes: Collection[str]
    mode: str
    days: int | None
    level: int


def counter(session: Session, reply: Reply, less: Less) -> Grant:
    """Keep what a person offers instead of what was asked; it takes the place of an earlier offer for the purpose.

    They may leave out what the purpose requires, choose a lesser way or a shorter time.  Raises what `terms` refuses,
    FrozenError, NothingOfferedError, NothingLessError and SharedAlreadyError.
    """
    person_id, purpose_id, now = reply.person_id, reply.purpose_id, reply.now
    freezing.check_giving(session, person_id=person_id)
    client, purpose = queries.offer(session, reply.client_id, purpose_id)
    asked = reply.asked(purpose)
    services.subject(session, person_id=person_id, company_id=client.company_id)
    held = grants.live(session, person_id, purpose_id)
    if held is not None and not queries.over(session, held, now=now):
        raise SharedAlreadyError
    content = _content(purpose, asked, less, now)
    services.take_offer_back(session, person_id=person_id, purpose_id=purpose_id, now=now)
    made = grants.begin(session, person_id, client, purpose, content)
    if made is None:
        raise services.BusyError
    steps.note_request(session, made, asked, at=reply.asked_at)
    return steps.take(session, made, "countered", "person", {}, shown=reply.shown)


def accept(session: Session, *, client_id: str, grant_id: UUID, now: datetime) -> Grant:
    """Begin the sharing that a person offered, as the company wishes.

    Raises NotFoundError for what is not this client's, OfferOverError, and FrozenError while the person has frozen
    everything: the offer then waits.
    """
    held = _locked(session, client_id, grant_id)
    freezing.check_giving(session, person_id=held.person_id)
    purpose = _still_asked(session, held)
    if purpose is None or not waits(held, now=now):
        raise OfferOverError
    without = tuple(name for name, _reason in purpose.required if name not in held.attributes)
    agreed = terms.Concession(without=without, mode=held.mode)
    content = {
        "state": "active", "given_at": now, "changed_at": now,
        "concession": asdict(agreed) | {"without": list(without)},
    }  # fmt: skip
    try:
        with session.begin_nested():
            return steps.take(session, held, "accepted", "company", content)
    except IntegrityError as error:
        # They have begun to share for this purpose in another way: the database allows one live grant.
        raise OfferOverError from error


def decline(session: Session, *, client_id: str, grant_id: UUID, now: datetime) -> Grant:
    """Leave what a person offered, as the company wishes; nothing was shared, and nothing is."""
    held = _locked(session, client_id, grant_id)
    if held.state != STATE:
        raise OfferOverError
    return steps.take(session, held, "declined", "company", {"state": "refused", "changed_at": now})


def take_back(session: Session, *, person_id: UUID, grant_id: UUID, now: datetime) -> Grant:
    """Take an offer back, as the person wishes; what is settled stays as it is."""
    held = grants.locked(session, person_id, grant_id)
    if held.state != STATE:
        return held
    return services.take_offer_back(session, person_id=person_id, purpose_id=held.purpose_id, now=now) or held


def lapse_due(session: Session, *, now: datetime) -> int:
    """Close offers that nobody answered in time, at most 500 at once; return how many."""
    too_old = or_(Grant.changed_at <= now - ANSWER_WITHIN, Grant.expires_at <= now)
    due = select(Grant).where(Grant.state == STATE, too_old).limit(_BATCH).with_for_update(skip_locked=True)
    found = session.scalars(due).all()
    for held in found:
        steps.take(session, held, "lapsed", "portal", {"state": "refused", "changed_at": now})
    return len(found)


def waiting(session: Session, *, client_ids: Collection[str], now: datetime) -> Sequence[Grant]:
    """Return the offers to some clients that can be answered, the oldest first; at most a hundred."""
    theirs = select(Grant).where(Grant.client_id.in_(client_ids), *_open(now))
    return session.scalars(theirs.order_by(Grant.changed_at, Grant.grant_id).limit(_LISTED)).all()


def of_client(session: Session, *, client_id: str, grant_id: UUID, now: datetime) -> Grant:
    """Return an offer to a client that can be answered; raise NotFoundError."""
    held = queries.of_client(session, client_id=client_id, grant_id=grant_id)
    if held is None or not waits(held, now=now):
        raise NotFoundError
    return held


def waits(held: Grant, *, now: datetime) -> bool:
    """Say whether an offer can still be answered."""
    in_time = held.expires_at is None or held.expires_at > now
    return held.state == STATE and in_time and answer_by(held) > now


def answer_by(held: Grant) -> datetime:
    """Return until when the company can answer an offer."""
    latest = held.changed_at + ANSWER_WITHIN
    return min(latest, held.expires_at or latest)


def left_out(held: Grant, purpose: PurposeFacts) -> list[str]:
    """Return which details that the purpose requires an offer leaves out."""
    return [name for name, _reason in purpose.required if name not in held.attributes]


def _content(purpose: PurposeFacts, asked: Wanted, less: Less, now: datetime) -> dict[str, Any]:
    offered = [name for name, _ in (*purpose.required, *purpose.optional) if name in set(less.attributes)]
    if set(less.attributes) - set(asked.attributes):
        raise terms.NotAskedError
    if not offered:
        raise NothingOfferedError
    mode, days = terms.check_mode(offered=asked.mode, wanted=less.mode), less.days
    ends = terms.expiry(mode=mode, days=days, longest_days=asked.longest_days, open_ended=asked.open_ended, now=now)
    shorter = days is not None and days < asked.longest_days
    if {name for name, _ in purpose.required} <= set(offered) and mode == asked.mode and not shorter:
        raise NothingLessError
    terms.check_proofs(offered, level=less.level)
    return {
        "state": STATE,
        "mode": mode,
        "attributes": offered,
        "expires_at": ends,
        "purpose_version": purpose.version,
        "level": less.level,
        "changed_at": now,
        **terms.stricter(asked, purpose),
    }


def _locked(session: Session, client_id: str, grant_id: UUID) -> Grant:
    held = queries.of_client(session, client_id=client_id, grant_id=grant_id)
    if held is None:
        raise NotFoundError
    return grants.locked(session, held.person_id, grant_id)


def _still_asked(session: Session, held: Grant) -> PurposeFacts | None:
    """Return the purpose that was offered for, where it still says what the person read."""
    try:
        _client, purpose = queries.offer(session, held.client_id, held.purpose_id)
    except (NotFoundError, terms.ClientSuspendedError, terms.PurposeWithdrawnError):
        return None
    return purpose if purpose.version == held.purpose_version else None


def _open(now: datetime) -> tuple[Any, ...]:
    in_time = or_(Grant.expires_at.is_(None), Grant.expires_at > now)
    return Grant.state == STATE, Grant.changed_at > now - ANSWER_WITHIN, in_time
