"""Going on with what is shared, and declaring void what should not have begun."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from portal.companies import queries as companies
from portal.consent import freezing, grants, queries, steps, terms
from portal.errors import InvalidError, RefusedError

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy.orm import Session

    from portal.consent.models import Grant
    from portal.consent.terms import Wanted

LONGEST_REASON: Final = 200


class SharedOnceError(RefusedError):
    """What was shared just this once cannot go on: it begins anew."""

    code = "shared-once"
    status = 409
    public = "You shared this just once. To share it again, start from the organisation’s own site."


class ReasonError(InvalidError):
    code = "reason-needed"
    public = f"Say why, in at most {LONGEST_REASON} characters."


class OwnConsentError(RefusedError):
    """Whoever is a party to a consent does not decide whether it stands."""

    code = "own-consent"
    public = "This consent is yours, or you act for this organisation: another operator decides."


def renew(
    session: Session,
    *,
    person_id: UUID,
    grant_id: UUID,
    level: int,
    shown: dict[str, Any],
    now: datetime,
    days: int | None = None,
    wanted: Wanted | None = None,
) -> Grant:
    """Keep that a person wants to go on sharing as they do: for `days` from now, or as long again as they chose last.

    What they share until they stop it stays so: that is the yearly confirmation.  Nothing else changes, and paused
    stays paused.  `wanted` is what they were last asked for (`asking.agreed`), and nobody renews for longer.
    Raises NotFoundError, StoppedError, SharedOnceError, TooLongError, FrozenError, and what `queries.offer` raises.
    """
    held = grants.lock(session, person_id, grant_id, now)
    freezing.check(session, person_id=person_id)
    if held.mode == terms.ONCE:
        raise SharedOnceError
    _client, purpose = queries.offer(session, held.client_id, held.purpose_id, version=held.purpose_version)
    asked = terms.within(wanted or terms.whole(purpose), purpose)
    content = {
        "expires_at": _until(held, asked, days, now),
        "level": max(level, held.level),
        "changed_at": now,
        **terms.stricter(asked, held),
    }
    return steps.take(session, held, "renewed", "person", content, shown=shown)


def lasted(held: Grant, longest_days: int) -> int | None:
    """Return for how many days a person chose to share when they last said so; None until they stop it."""
    if held.expires_at is None:
        return None
    return min(max((held.expires_at - held.changed_at + timedelta(hours=12)).days, 1), longest_days)


def invalidate(
    session: Session, *, person_id: UUID, grant_id: UUID, reason: str, now: datetime, operator_id: UUID | None = None
) -> Grant:
    """Declare void a consent that should not have begun: nothing more leaves, and what left is to be deleted.

    `reason` is a sentence of the operator's that the person and the company read: no detail of anybody's.  What is
    void already stays so.  `operator_id` is None for who works at the machine itself.  Raises NotFoundError,
    ReasonError and OwnConsentError.
    """
    reason = " ".join(reason.split())
    if not 0 < len(reason) <= LONGEST_REASON:
        raise ReasonError
    held = grants.locked(session, person_id, grant_id)
    if operator_id is not None and is_own(session, held, operator_id=operator_id):
        raise OwnConsentError
    if held.state == "invalidated" or held.state in steps.UNBORN:
        return held
    content: dict[str, Any] = {"state": "invalidated", "changed_at": now}
    if queries.holds(session, held):
        content["erasure_asked_at"] = held.erasure_asked_at or now
    return steps.take(session, held, "invalidated", "operator", content, shown={"reason": reason})


def is_own(session: Session, held: Grant, *, operator_id: UUID) -> bool:
    """Say whether an operator is a party to a consent: it is theirs, or they act for its company."""
    return operator_id == held.person_id or companies.acts_for(session, operator_id, company_id=held.company_id)


def _until(held: Grant, asked: Wanted, days: int | None, now: datetime) -> datetime | None:
    if days is None:
        days = lasted(held, asked.longest_days)
    return terms.expiry(
        mode=held.mode, days=days, longest_days=asked.longest_days, open_ended=asked.open_ended, now=now
    )
