"""What others ask about consent: where a grant stands, who receives what, who somebody is to a company."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

from sqlalchemy import Text, cast, func, literal_column, select

from portal.companies import queries as companies
from portal.consent import numbers, rules, terms
from portal.consent.models import Grant, GrantVersion, Subject, UnwantedRequest
from portal.db import now as clock
from portal.errors import NotFoundError
from portal.ledger import queries as ledger

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from datetime import datetime

    from sqlalchemy.orm import Session

    from portal.companies.queries import ClientFacts, PurposeFacts

LIVE = ("active", "paused")


@dataclass(frozen=True, kw_only=True)
class Recipient:
    """A company that may have every edit of `attributes`; whether it can be told at once, sync knows."""

    company_name: str
    client_id: str
    grant_id: UUID
    attributes: Sequence[str]
    mode: str


def grant(session: Session, *, person_id: UUID, grant_id: UUID) -> Grant | None:
    """Return one of a person's grants; None when it is not theirs."""
    return session.get(Grant, (person_id, grant_id))


def by_id(session: Session, *, grant_id: UUID) -> Grant:
    """Return a grant by its id alone, for an operator who was shown it; raise NotFoundError."""
    held = session.scalars(select(Grant).where(Grant.grant_id == grant_id)).one_or_none()
    if held is None:
        raise NotFoundError
    return held


def quoted(session: Session, *, words: str) -> Grant | None:
    """Return the grant that somebody quotes to an operator, by its id or the number of a receipt (`numbers.of`).

    None where there is none, or a number, which is shorter than an id, is that of two.
    """
    try:
        by = Grant.grant_id == UUID(words)
    except ValueError:
        tail = numbers.tail(words)
        if tail is None:
            return None
        by = func.right(cast(Grant.grant_id, Text), literal_column("8")) == tail
    found = session.scalars(select(Grant).where(by).limit(2)).all()
    return found[0] if len(found) == 1 else None


def of_client(session: Session, *, client_id: str, grant_id: UUID) -> Grant | None:
    """Return a client's grant by its id alone, whoever gave it and whatever its state; None when it is not its own."""
    theirs = select(Grant).where(Grant.grant_id == grant_id, Grant.client_id == client_id)
    return session.scalars(theirs).one_or_none()


def hold(session: Session, *, person_id: UUID, grant_id: UUID) -> Grant | None:
    """Return one of a person's grants as it stands now, held still until the transaction ends.

    For whoever discloses: somebody who stops at this moment, or asks for a single use, comes before or after.
    """
    mine = select(Grant).where(Grant.person_id == person_id, Grant.grant_id == grant_id)
    held = mine.with_for_update(key_share=True).execution_options(populate_existing=True)
    return session.scalars(held).one_or_none()


def live_for_purpose(session: Session, *, person_id: UUID, purpose_id: UUID) -> Grant | None:
    """Return the live grant of a person for a purpose; there is at most one."""
    mine = select(Grant).where(Grant.person_id == person_id, Grant.purpose_id == purpose_id, Grant.state.in_(LIVE))
    return session.scalars(mine).one_or_none()


def live_purposes(session: Session, *, person_id: UUID) -> frozenset[UUID]:
    """Return the purposes that a person shares for now, paused ones too."""
    mine = select(Grant.purpose_id).where(Grant.person_id == person_id, Grant.state.in_(LIVE))
    return frozenset(session.scalars(mine))


def unwanted_purposes(session: Session, *, person_id: UUID) -> frozenset[UUID]:
    """Return the purposes that a person does not want to be asked for again."""
    return frozenset(session.scalars(select(UnwantedRequest.purpose_id).where(UnwantedRequest.person_id == person_id)))


def sharing(session: Session, *, client_id: str, purpose_id: UUID, most: int) -> int:
    """Return how many people share for a purpose of a client now; nobody is counted beyond `most`."""
    theirs = Grant.client_id == client_id, Grant.purpose_id == purpose_id, Grant.state.in_(LIVE)
    found = select(Grant.grant_id).where(*theirs).limit(most).subquery()
    return session.scalars(select(func.count()).select_from(found)).one()


def grants_of(session: Session, *, person_id: UUID) -> list[Grant]:
    """Return all of a person's grants, newest first, whatever their state."""
    mine = select(Grant).where(Grant.person_id == person_id)
    return list(session.scalars(mine.order_by(Grant.changed_at.desc(), Grant.grant_id.desc())))


def versions(session: Session, *, person_id: UUID, grant_id: UUID) -> list[GrantVersion]:
    """Return every step of a grant, oldest first."""
    mine = select(GrantVersion).where(GrantVersion.person_id == person_id, GrantVersion.grant_id == grant_id)
    return list(session.scalars(mine.order_by(GrantVersion.version)))


def offer(
    session: Session, client_id: str, purpose_id: UUID, *, version: int | None = None
) -> tuple[ClientFacts, PurposeFacts]:
    """Return who asks and what for: as people are asked now, or by an earlier `version` that somebody agreed to.

    Raises NotFoundError, ClientSuspendedError or PurposeWithdrawnError.
    """
    client, purpose = companies.client(session, client_id), companies.purpose(session, purpose_id, version=version)
    if client is None or purpose is None or purpose.client_id != client_id:
        raise NotFoundError
    if not client.active:
        raise terms.ClientSuspendedError
    if purpose.withdrawn:
        raise terms.PurposeWithdrawnError
    return client, purpose


def over(session: Session, held: Grant, *, now: datetime) -> bool:
    """Say whether a live grant is over though nobody has said so: its time, or its one use."""
    if held.expires_at is not None and held.expires_at <= now:
        return True
    return held.mode == terms.ONCE and ledger.was_used(session, person_id=held.person_id, grant_id=held.grant_id)


def holds(session: Session, held: Grant) -> bool:
    """Say whether the company may hold something of the person by this grant: something was sent under it."""
    return ledger.was_used(session, person_id=held.person_id, grant_id=held.grant_id)


def standing(session: Session, *, person_id: UUID, grant_id: UUID) -> rules.Standing | None:
    """Return what `rules.decide` decides by; None when there is no such grant of this person."""
    held = grant(session, person_id=person_id, grant_id=grant_id)
    return None if held is None else standing_of(session, held)


def standing_of(session: Session, held: Grant) -> rules.Standing:
    """Return where a grant stands together with its client and purpose."""
    client = companies.client(session, held.client_id)
    purpose = companies.purpose(session, held.purpose_id, version=held.purpose_version)
    return _standing(session, held, client, purpose)


def recipients(
    session: Session, *, person_id: UUID, attributes: Collection[str], now: datetime | None = None
) -> list[Recipient]:
    """Return who is kept up to date about `attributes`, by name: the same decision the worker takes.

    Three queries, however many organisations there are.
    """
    mine = select(Grant).where(Grant.person_id == person_id, Grant.state == "active", Grant.mode == terms.UPDATED)
    grants = session.scalars(mine).all()
    clients = companies.clients(session, {held.client_id for held in grants})
    purposes = companies.purposes_at(session, {(held.purpose_id, held.purpose_version) for held in grants})
    found = []
    for held in grants:
        client = clients.get(held.client_id)
        stands = _standing(session, held, client, purposes.get((held.purpose_id, held.purpose_version)))
        found.append(_recipient(held, client, stands, attributes, now or clock()))
    return sorted((one for one in found if one is not None), key=lambda one: one.company_name.casefold())


def _standing(
    session: Session, held: Grant, client: ClientFacts | None, purpose: PurposeFacts | None
) -> rules.Standing:
    once = held.mode == terms.ONCE
    return rules.Standing(
        client_id=held.client_id,
        state=held.state,
        mode=held.mode,
        attributes=held.attributes,
        expires_at=held.expires_at,
        purpose_attributes=() if purpose is None else purpose.attributes,
        purpose_withdrawn=purpose is None or purpose.withdrawn,
        client_active=client is not None and client.active,
        used=once and ledger.was_used(session, person_id=held.person_id, grant_id=held.grant_id),
        frozen=held.frozen_at is not None,
    )


def _recipient(
    held: Grant, client: ClientFacts | None, standing: rules.Standing, attributes: Collection[str], now: datetime
) -> Recipient | None:
    decision = rules.decide(
        standing,
        client_id=held.client_id,
        channel=rules.Channel.PUSH,
        requested=attributes,
        now=now,
    )
    if client is None or not decision.allowed:
        return None
    return Recipient(
        company_name=client.company_name,
        client_id=held.client_id,
        grant_id=held.grant_id,
        attributes=decision.attributes,
        mode=held.mode,
    )


def person_of(session: Session, *, company_id: UUID, sub: str) -> UUID | None:
    """Return whom a company means by `sub`; another company's identifier means nobody."""
    # PostgreSQL holds no text with this character.
    if "\0" in sub:
        return None
    theirs = select(Subject.person_id).where(Subject.sub == sub, Subject.company_id == company_id)
    return session.scalars(theirs).one_or_none()


def sub_of(session: Session, *, person_id: UUID, company_id: UUID) -> str | None:
    """Return the identifier by which a company knows a person, if it has one."""
    return session.scalars(
        select(Subject.sub).where(Subject.person_id == person_id, Subject.company_id == company_id)
    ).one_or_none()


def subs_of(session: Session, *, person_ids: Collection[UUID], company_id: UUID) -> dict[UUID, str]:
    """Return the identifiers by which a company knows these people, by person, in one query."""
    known = select(Subject.person_id, Subject.sub).where(
        Subject.person_id.in_(person_ids), Subject.company_id == company_id
    )
    return {person_id: sub for person_id, sub in session.execute(known)}  # noqa: C416 - a row is no pair to mypy
