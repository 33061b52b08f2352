"""Asking once more for details that somebody left out: seldom, answered under Sharing, and a no stays a no.

The question is one of `approvals`, about the grant that lives: yes adds to it, no leaves it as it is and is kept as a
step of it.  How often is settled by one row for each person and purpose, whoever asks at the same moment.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from sqlalchemy import update
from sqlalchemy.dialects.postgresql import insert

from portal.consent import approvals, queries, steps, terms, unwanted
from portal.consent.models import LaterRequest
from portal.consumer.catalogue import CATALOGUE
from portal.db import new_id
from portal.errors import InvalidError, NotFoundError, RefusedError, TooManyError

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from datetime import datetime

    from sqlalchemy.orm import Session

    from portal.companies.queries import PurposeFacts
    from portal.consent.models import ApprovalRequest, Grant
    from portal.consent.services import Reply
    from portal.events import GrantChanged
    from portal.vault.keyring import Keyring

# Between two questions of this kind about the same purpose, whatever was answered to the first.
ASKED_AFTER: Final = timedelta(days=30)
# Nobody is in a hurry: the company has what it cannot do without.
WAITS: Final = timedelta(days=14)
LEFT_OUT: Final = "left-out"


class NotActiveError(RefusedError):
    """The person does not share at this moment, so there is nothing to add to."""

    code = "grant-not-active"
    status = 409
    public = "This person does not share with you under this consent at the moment."


class NotLeftOutError(InvalidError):
    code = "detail-not-left-out"
    public = "Ask only for optional details of your purpose that this person does not share."


class DeclinedBeforeError(RefusedError):
    """The person was asked so before and said no."""

    code = "detail-declined"
    status = 409
    public = "This person said no when you asked for this detail once more. They can add it themselves at any time."


class AskedLatelyError(TooManyError):
    """One question of this kind about one purpose in thirty days."""

    code = "asked-lately"
    public = "You asked this person for more not long ago. Wait as many seconds as Retry-After says."


def ask(
    session: Session, *, keyring: Keyring, client_id: str, grant_id: UUID, attributes: Sequence[str], now: datetime
) -> UUID:
    """Put it to a person whether they also share `attributes`, which they left out; return the question's id.

    Raises NotFoundError, ClientSuspendedError, PurposeWithdrawnError, NotActiveError, NotLeftOutError (with a pointer),
    DeclinedBeforeError, `unwanted.NotWantedError`, AskedLatelyError and `approvals.TooManyQuestionsError`.
    """
    held = _held(session, client_id, grant_id, now)
    client, purpose = queries.offer(session, client_id, held.purpose_id)
    _check_left_out(held, purpose, attributes)
    _check_wanted(session, held, attributes)
    _take_turn(session, held, attributes, now)
    request_id = approvals.ask(
        session,
        keyring=keyring,
        person_id=held.person_id,
        client=client,
        purpose_id=held.purpose_id,
        asked=_asked(held, purpose, attributes) | {"level": 1, "grant_id": str(grant_id), "left_out": list(attributes)},
        message=None,
        expires_at=now + WAITS,
        now=now,
    )
    session.execute(_mine(held.person_id, held.purpose_id).values(request_id=request_id))
    return request_id


def on_grant_changed(session: Session, fact: GrantChanged) -> None:
    """Take back what waits about a grant that has ended: there is nothing to add to; hears `events.GrantChanged`."""
    held = queries.grant(session, person_id=fact.person_id, grant_id=fact.grant_id)
    if held is None or held.state in queries.LIVE:
        return
    last = of_grant(session, held)
    if last is not None:
        approvals.take_back(session, person_id=held.person_id, request_id=last.request_id, now=fact.at)


def of_grant(session: Session, held: Grant) -> LaterRequest | None:
    """Return the last question of this kind that was put under a grant."""
    row = session.get(LaterRequest, (held.person_id, held.purpose_id), populate_existing=True)
    return row if row is not None and row.grant_id == held.grant_id else None


def next_at(session: Session, held: Grant) -> datetime | None:
    """Return when its company may ask again; None when it may now."""
    row = session.get(LaterRequest, (held.person_id, held.purpose_id), populate_existing=True)
    return row.asked_at + ASKED_AFTER if row is not None else None


def left_out(held: Grant, purpose: PurposeFacts) -> list[str]:
    """Return the optional details that a person does not share, in the purpose's order."""
    return [name for name, _reason in purpose.optional if name not in held.attributes]


def grant_of(row: ApprovalRequest) -> UUID | None:
    """Return the grant that a question would add to; None for one that is of another kind."""
    named = row.asked.get("grant_id")
    return UUID(named) if named else None


def asked_for(row: ApprovalRequest) -> list[str]:
    """Return the details that a question of this kind is about."""
    return list(row.asked.get("left_out", ()))


def decline(session: Session, *, request_id: UUID, reply: Reply) -> None:
    """Settle a question of this kind with no, and keep that as a step; raises `approvals.AnsweredError`."""
    person_id, now = reply.person_id, reply.now
    row = approvals.take(session, person_id=person_id, request_id=request_id, state=approvals.DENIED, now=now)
    held = queries.hold(session, person_id=person_id, grant_id=grant_of(row) or new_id())
    if held is None:
        return
    names = _note(session, row, held)
    steps.take(session, held, LEFT_OUT, "person", {}, shown=reply.shown, asked=names, at=now)


def answered(session: Session, *, row: ApprovalRequest, held: Grant) -> None:
    """Remember what a person left out once more when they said yes; nothing for questions of another kind."""
    if grant_of(row) == held.grant_id:
        _note(session, row, held)


def _held(session: Session, client_id: str, grant_id: UUID, now: datetime) -> Grant:
    known = queries.of_client(session, client_id=client_id, grant_id=grant_id)
    held = queries.hold(session, person_id=known.person_id, grant_id=grant_id) if known else None
    if held is None:
        raise NotFoundError
    if held.state != "active" or queries.over(session, held, now=now):
        raise NotActiveError
    return held


def _check_left_out(held: Grant, purpose: PurposeFacts, attributes: Sequence[str]) -> None:
    there = left_out(held, purpose)
    for place, name in enumerate(attributes):
        if name not in there:
            raise NotLeftOutError(pointer=f"/attributes/{place}")


def _check_wanted(session: Session, held: Grant, attributes: Sequence[str]) -> None:
    unwanted.check(session, person_id=held.person_id, purpose_id=held.purpose_id)
    before = of_grant(session, held)
    for place, name in enumerate(attributes):
        if before is not None and name in before.declined:
            raise DeclinedBeforeError(pointer=f"/attributes/{place}")


def _take_turn(session: Session, held: Grant, attributes: Sequence[str], now: datetime) -> None:
    # Whoever asks at the same moment waits for the row, and then finds that it is not a month old.
    before = of_grant(session, held)
    kept = {"grant_id": held.grant_id, "request_id": new_id(), "attributes": list(attributes), "asked_at": now}
    kept["declined"] = before.declined if before else []
    row = insert(LaterRequest).values(person_id=held.person_id, purpose_id=held.purpose_id, **kept)
    turn = row.on_conflict_do_update(
        index_elements=["person_id", "purpose_id"], set_=kept, where=LaterRequest.asked_at <= now - ASKED_AFTER
    )
    if session.scalar(turn.returning(LaterRequest.person_id)) is None:
        again = next_at(session, held) or now
        raise AskedLatelyError(max(1, int((again - now).total_seconds())))


def _asked(held: Grant, purpose: PurposeFacts, attributes: Collection[str]) -> dict[str, Any]:
    needed = terms.conceded(purpose, terms.concession(held.concession)).required
    names = {*attributes, *(name for name, _reason in needed)}
    wanted = replace(terms.whole(purpose), attributes=tuple(name for name in CATALOGUE if name in names))
    return asdict(wanted) | {"attributes": list(wanted.attributes)}


def _note(session: Session, row: ApprovalRequest, held: Grant) -> list[str]:
    """Remember which of the details that were asked for are not shared; return them."""
    names, last = [name for name in asked_for(row) if name not in held.attributes], of_grant(session, held)
    if last is not None and names:
        declined = [name for name in CATALOGUE if name in {*last.declined, *names}]
        session.execute(_mine(held.person_id, held.purpose_id).values(declined=declined))
    return names


def _mine(person_id: UUID, purpose_id: UUID) -> Any:  # noqa: ANN401 - an update, which SQLAlchemy types by its values
    mine = update(LaterRequest).where(LaterRequest.person_id == person_id, LaterRequest.purpose_id == purpose_id)
    return mine.execution_options(synchronize_session=False)
