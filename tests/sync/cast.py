"""Companies with a receiver each, and people who share with them: real rows by the slices' own services."""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from joserfc.jwk import ECKey
from sqlalchemy import select, update

from portal import config, db
from portal.companies import services as companies
from portal.companies.models import Purpose
from portal.consent import queries as consent_queries
from portal.consent import services as consent
from portal.consumer import services as consumer
from portal.consumer.catalogue import CATALOGUE
from portal.sync import queries, services
from portal.sync.models import Delivery, Flight, Stream
from portal.vault import persons, signing
from tests import possession
from tests.sync.receiver import Receiver, new_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from uuid import UUID

    from sqlalchemy.orm import Session

    from portal.config import Settings
    from portal.vault.keyring import Keyring

SHARED = ("name.full", "email.main", "phone.mobile")
_REASONS = [(name, "To reach you") for name in SHARED]


@dataclass
class Firm:
    """One company with one client, one purpose and one receiver."""

    company_id: UUID
    client_id: str
    purpose_id: UUID
    receiver: Any  # a Receiver, or what a bench puts in its place
    name: str
    strict: bool = False


@dataclass
class Shared:
    """One person's grant to one firm."""

    person_id: UUID
    grant_id: UUID
    sub: str


class World:
    """Everything a test needs to happen, each step in a transaction of its own."""

    def __init__(self, settings: Settings, keyring: Keyring) -> None:
        self.settings, self.keyring = settings, keyring
        self.firms: list[Firm] = []
        # A look for what is due takes five hundred clients: what other tests left owed is nobody's here.
        owed = update(Delivery).where(Delivery.generation > Delivery.acked_generation)
        self.transact(lambda session: session.execute(owed.values(acked_generation=Delivery.generation)))

    def transact(self, work: Callable[[Session], Any]) -> Any:  # noqa: ANN401 - whatever the work returns
        with db.transaction(self.settings.database_url) as session:
            return work(session)

    def portal_keys(self) -> dict[str, Any]:
        keys: dict[str, Any] = self.transact(signing.public_jwks)
        return keys

    def firm(self, *, mode: str = "kept-up-to-date", enabled: bool = True) -> Firm:
        key, receiver_key = ECKey.generate_key("P-256", {"kid": "sig-1", "use": "sig"}), new_key()
        receiver = Receiver(self.portal_keys, receiver_key)
        firm: Firm = self.transact(lambda session: register(session, key, receiver, mode))
        self.firms.append(firm)
        allow(f"127.0.0.1:{receiver.port}")
        if enabled:
            self.transact(lambda session: endpoint(session, firm))
        return firm

    def person(self, **values: Any) -> UUID:  # noqa: ANN401 - values of the catalogue
        person_id = db.new_id()
        self.transact(lambda session: persons.create(session, keyring=self.keyring, person_id=person_id))
        given = {"name.full": "Ada Byrne", "email.main": "ada@example.org"} | _named(values)
        self.transact(
            lambda session: consumer.save(
                session, keyring=self.keyring, person_id=person_id, changes=given, now=db.now()
            )
        )
        return person_id

    def share(self, person_id: UUID, firm: Firm, **terms: Any) -> Shared:  # noqa: ANN401 - arguments of `give`
        chosen: dict[str, Any] = {"attributes": SHARED, "mode": "kept-up-to-date", "days": None, "shown": {}}
        chosen |= {"level": 2} | terms

        def give(session: Session) -> Shared:
            grant = consent.give(
                session,
                person_id=person_id, client_id=firm.client_id, purpose_id=firm.purpose_id, now=db.now(), **chosen,
            )  # fmt: skip
            sub = consent_queries.sub_of(session, person_id=person_id, company_id=firm.company_id)
            return Shared(person_id, grant.grant_id, sub or "")

        shared: Shared = self.transact(give)
        return shared

    def save(self, person_id: UUID, **values: Any) -> int:  # noqa: ANN401 - values of the catalogue
        sequence: int = self.transact(
            lambda session: consumer.save(
                session, keyring=self.keyring, person_id=person_id, changes=_named(values), now=db.now()
            )
        )
        return sequence

    def step(self, verb: str, shared: Shared) -> None:
        act = getattr(consent, verb)
        self.transact(lambda session: act(session, person_id=shared.person_id, grant_id=shared.grant_id, now=db.now()))

    def delivery(self, shared: Shared) -> Delivery:
        found: Delivery = self.transact(lambda session: session.get(Delivery, (shared.person_id, shared.grant_id)))
        return found

    def endpoint(self, firm: Firm) -> Stream:
        found: Stream = self.transact(lambda session: queries.stream_of(session, client_id=firm.client_id))
        return found

    def set_stream(self, firm: Firm, **values: Any) -> None:  # noqa: ANN401 - columns of a stream
        change = update(Stream).where(Stream.client_id == firm.client_id).values(**values)
        self.transact(lambda session: session.execute(change))

    def employ(self, person_id: UUID, firm: Firm) -> None:
        """Let somebody be staff of the company."""
        self.transact(lambda session: companies.add_staff(session, company_id=firm.company_id, person_id=person_id))

    def make_strict(self, firm: Firm) -> None:
        """Hold the consent until a request to this firm is over."""
        firm.strict = True
        strict = update(Purpose).where(Purpose.purpose_id == firm.purpose_id).values(strict=True)
        self.transact(lambda session: session.execute(strict))

    def due_now(self) -> None:
        """Let time pass: what waits for its next try is due."""
        ours = Delivery.client_id.in_([firm.client_id for firm in self.firms])
        due = update(Delivery).where(ours).values(due_at=db.now(), leased_until=None)
        self.transact(lambda session: session.execute(due))

    def end_leases(self) -> None:
        """Let time pass: what a worker held that is gone is nobody's any more."""
        ours = select(Stream.stream_id).where(Stream.client_id.in_([firm.client_id for firm in self.firms]))
        held = update(Delivery).where(Delivery.client_id.in_([firm.client_id for firm in self.firms]))
        flown = update(Flight).where(Flight.stream_id.in_(ours)).values(leased_until=db.now())
        self.transact(lambda session: session.execute(held.values(leased_until=db.now())))
        self.transact(lambda session: session.execute(flown))

    def disable(self, firms: Iterable[Firm]) -> None:
        """Send nothing more to these firms."""
        ids = [firm.client_id for firm in firms]
        off = update(Stream).where(Stream.client_id.in_(ids)).values(state="disabled")
        self.transact(lambda session: session.execute(off))

    def close(self) -> None:
        self.disable(self.firms)
        for firm in self.firms:
            firm.receiver.close()


def allow(pair: str) -> None:
    """Let the process's client reach this loopback port, as the demo's settings do."""
    os.environ["EGRESS_ALLOW"] = ",".join({*config.current().egress_allow, pair})
    config.current.cache_clear()


def _named(values: dict[str, Any]) -> dict[str, Any]:
    return {name.replace("__", "."): value for name, value in values.items()}


def register(session: Session, key: ECKey, receiver: Any, mode: str) -> Firm:  # noqa: ANN401 - as in `Firm`
    """Register a company, its client with both public keys, the one to encrypt to proved, and its purpose."""
    name = f"Brightwell {secrets.token_hex(4)}"
    company = companies.register_company(
        session,
        legal_name=f"{name} Ltd", trading_name=name, registration_number=secrets.token_hex(4), country="IE",
        contact_email="privacy@example.org", privacy_url="https://example.org/privacy", now=db.now(), verified=True,
    )  # fmt: skip
    metadata = {
        "client_name": name,
        "redirect_uris": ["https://example.org/back"],
        "jwks": {"keys": [key.as_dict(private=False), receiver.key.as_dict(private=False)]},
    }
    client_id = companies.register_client(session, company_slug=company.slug, metadata=metadata, now=db.now())
    possession.prove(session, client_id, receiver.key)
    purpose = companies.declare_purpose(
        session,
        client_id=client_id, sentence="send bills to the right address", dpv="PaymentManagement", mode=mode,
        required=_REASONS[:1], optional=_REASONS[1:], retention_days=30, catalogue=CATALOGUE, now=db.now(),
    )  # fmt: skip
    return Firm(company.company_id, client_id, purpose.purpose_id, receiver, name)


def endpoint(session: Session, firm: Firm) -> None:
    services.enable_endpoint(session, client_id=firm.client_id, url=firm.receiver.url, now=db.now())
