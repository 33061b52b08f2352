"""Filling an empty database with the cast: through the same services that pages and machines use, all or nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from portal import db
from portal.companies import proofs, versions
from portal.companies import queries as companies
from portal.companies import services as registering
from portal.consent import asking
from portal.consent import queries as consents
from portal.consent import services as consenting
from portal.consumer import formats
from portal.consumer import services as keeping
from portal.consumer.catalogue import CATALOGUE
from portal.demo.cast import BRIGHTWELL, CAST, COMPANIES, DANA, OLU, TEST_CLIENT_COMPANY
from portal.demo.places import demo_company
from portal.demo.processes import stranger_environment
from portal.demo.residents import residents
from portal.errors import MisconfiguredError
from portal.identity import levels, operators
from portal.identity import queries as identities
from portal.identity import services as identity
from portal.ledger import services as ledger
from portal.vault import keyring as keyrings

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from pathlib import Path
    from uuid import UUID

    from sqlalchemy.orm import Session

    from portal.companies.queries import PurposeFacts
    from portal.config import Settings
    from portal.demo.cast import DemoCompany, DemoPerson, DemoPurpose, Share
    from portal.vault.keyring import Keyring

_SINCE_DETAILS = timedelta(days=27)
_SINCE_SHARING = timedelta(days=25)
_SINCE_SECOND_STEP = timedelta(days=2)
_EXPIRING_DAYS = 30
_ENVIRONMENTS = {TEST_CLIENT_COMPANY: "test"}


@dataclass(frozen=True)
class Seeded:
    """What the launcher has to know of the database's content.

    `clients` maps a company's slug to its client_id, `test_client_subjects` a person's sign-in address to the
    identifier the test client's company knows them by.
    """

    clients: Mapping[str, str]
    test_client_purposes: tuple[str, ...]
    test_client_subjects: Mapping[str, str]


def ensure(settings: Settings, *, metadata: Mapping[str, Path], now: datetime) -> Seeded:
    """Fill the database unless it holds the demo already; `metadata` maps a slug to its client's RFC 7591 file."""
    keyring = keyrings.load(settings.keyring_file)
    with db.transaction(settings.database_url) as session:
        if companies.company(session, slug=BRIGHTWELL) is None:
            fill(session, keyring=keyring, metadata=metadata, now=now)
        else:
            _operator(session, keyring, now)
    with db.transaction(settings.database_url) as session:
        return _describe(session, keyring)


def fill(session: Session, *, keyring: Keyring, metadata: Mapping[str, Path], now: datetime) -> None:
    """Add companies, people, details and consents, as if the last month had happened."""
    ledger.open_months(session, now=now - _SINCE_DETAILS)
    offers = _Offers(operator=_operator(session, keyring, now))
    for company in COMPANIES:
        _add_company(session, company, metadata[company.slug], offers, now - _SINCE_DETAILS)
    dana = _add_person(session, keyring, DANA, now)
    registering.add_staff(session, company_id=offers.company_ids[BRIGHTWELL], person_id=dana, role="owner")
    for person in (*CAST, *residents()):
        person_id = _add_person(session, keyring, person, now)
        for share in person.shares:
            _share(session, keyring, offers, person_id, share, now=now)


def _operator(session: Session, keyring: Keyring, now: datetime) -> UUID:
    """Return who looks after the portal: a demo of an earlier release has nobody yet."""
    known = identities.find_person(session, keyring=keyring, email=OLU.email)
    if known is None:
        known = _add_person(session, keyring, OLU, now)
        operators.add(session, keyring=keyring, email=OLU.email, now=now)
    return known


class _Offers:
    """What has been declared so far, who put it live, and the words people are shown for it."""

    def __init__(self, operator: UUID) -> None:
        self.operator = operator
        self.company_ids: dict[str, UUID] = {}
        self.purposes: dict[tuple[str, str], PurposeFacts] = {}
        self._shown: dict[UUID, dict[str, Any]] = {}

    def shown(self, session: Session, keyring: Keyring, person_id: UUID, purpose: PurposeFacts) -> dict[str, Any]:
        # The words of a first consent hold no values and are the same for everybody, so one asking does.
        if purpose.purpose_id not in self._shown:
            ask = asking.build(
                session,
                keyring=keyring,
                person_id=person_id,
                client_id=purpose.client_id,
                purpose_id=purpose.purpose_id,
            )
            self._shown[purpose.purpose_id] = asking.shown(ask)
        return self._shown[purpose.purpose_id]


def _add_company(session: Session, company: DemoCompany, metadata_file: Path, offers: _Offers, now: datetime) -> None:
    metadata: dict[str, Any] = json.loads(metadata_file.read_text())
    facts = registering.register_company(
        session,
        legal_name=company.legal_name,
        trading_name=company.trading_name,
        registration_number=company.registration_number,
        country=company.country,
        contact_email=f"{company.slug}@companies.example.org",
        privacy_url=f"https://{company.slug}.example/privacy",
        stop_effect=company.stop_effect,
        verified=True,
        now=now,
    )
    offers.company_ids[company.slug] = facts.company_id
    client_id = registering.register_client(
        session,
        company_slug=facts.slug,
        metadata=metadata | {"client_name": company.client_name},
        environment=_ENVIRONMENTS.get(company.slug, "live"),
        now=now,
    )
    _prove(session, client_id, metadata_file.parent, now)
    for purpose in company.purposes:
        offers.purposes[company.slug, purpose.code] = _declare(session, client_id, purpose, offers.operator, now)


def _prove(session: Session, client_id: str, folder: Path, now: datetime) -> None:
    """Have the company open the challenge to its key by its own program: the portal never sees the private half."""
    [key] = [key for key in companies.key_list(session, client_id, now=now) if key.use == "enc"]
    asked = proofs.challenge(session, client_id=client_id, kid=key.kid, now=now)
    command = [sys.executable, str(demo_company() / "open_challenge.py"), "--folder", str(folder)]
    done = subprocess.run(  # noqa: S603 - our own program
        command, input=asked.text, env=stranger_environment(), capture_output=True, text=True, check=False
    )
    answer = done.stdout.strip()
    if done.returncode or not proofs.prove(session, client_id=client_id, kid=key.kid, answer=answer, now=now):
        raise MisconfiguredError("A demo company's key does not open what is sealed to it: empty the folder by reset.")


def _declare(session: Session, client_id: str, purpose: DemoPurpose, operator: UUID, now: datetime) -> PurposeFacts:
    made = registering.declare_purpose(
        session,
        client_id=client_id,
        code=purpose.code,
        sentence=purpose.sentence,
        dpv=purpose.dpv,
        mode=purpose.mode,
        required=purpose.required.items(),
        optional=purpose.optional.items(),
        retention_days=purpose.retention_days,
        catalogue=CATALOGUE,
        now=now,
    )
    if client_id.startswith("live_"):
        versions.send(session, client_id=client_id, code=made.code, now=now)
        which: dict[str, Any] = {"purpose_id": made.purpose_id, "version": made.version}
        versions.put_live(session, **which, by=operator, words="", now=now)
    return made


def _add_person(session: Session, keyring: Keyring, person: DemoPerson, now: datetime) -> UUID:
    since = now - _SINCE_DETAILS
    person_id = identity.register(session, keyring=keyring, email=person.email, now=since).person_id
    identity.confirm(session, keyring=keyring, person_id=person_id)
    if person.password:
        identity.set_password(session, keyring=keyring, person_id=person_id, password=person.password, now=since)
    changes = {name: formats.parse(CATALOGUE[name], form) for name, form in person.details.items()}
    keeping.save(session, keyring=keyring, person_id=person_id, changes=changes, now=since)
    return person_id


def _share(
    session: Session, keyring: Keyring, offers: _Offers, person_id: UUID, share: Share, *, now: datetime
) -> None:
    purpose = offers.purposes[share.company, share.purpose]
    grant = consenting.give(
        session,
        person_id=person_id,
        client_id=purpose.client_id,
        purpose_id=purpose.purpose_id,
        attributes=[*(name for name, _reason in purpose.required), *share.optional],
        mode=purpose.mode,
        days=_EXPIRING_DAYS if share.then == "expiring" else None,
        level=levels.TWO_PROOFS,
        shown=offers.shown(session, keyring, person_id, purpose),
        now=now - _SINCE_SHARING,
    )
    step = {"paused": consenting.pause, "withdrawn": consenting.withdraw}.get(share.then)
    if step is not None:
        step(session, person_id=person_id, grant_id=grant.grant_id, now=now - _SINCE_SECOND_STEP)


def _describe(session: Session, keyring: Keyring) -> Seeded:
    clients: dict[str, str] = {}
    for company in COMPANIES:
        facts = companies.company(session, slug=company.slug)
        if facts is not None:
            clients[company.slug] = companies.clients_of(session, company_id=facts.company_id)[0].client_id
    client_id = clients[TEST_CLIENT_COMPANY]
    purposes = tuple(purpose.code for purpose in companies.purposes_of(session, client_id))
    return Seeded(clients, purposes, _subjects(session, keyring))


def _subjects(session: Session, keyring: Keyring) -> dict[str, str]:
    company = companies.company(session, slug=TEST_CLIENT_COMPANY)
    found: dict[str, str] = {}
    for person in CAST:
        person_id = identities.find_person(session, keyring=keyring, email=person.email)
        if company is None or person_id is None:
            continue
        if sub := consents.sub_of(session, person_id=person_id, company_id=company.company_id):
            found[person.email] = sub
    return found
