from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import func, select

from portal import db
from portal.companies import queries as companies
from portal.consent import queries as consents
from portal.consent.models import Grant
from portal.consumer import queries as records
from portal.demo import seed
from portal.demo.cast import BILLS, BRIGHTWELL, CAST, COMPANIES, DANA, MERIDIAN, OLU
from portal.demo.places import demo_company
from portal.demo.residents import COUNT
from portal.identity import queries as people
from portal.identity import services as identity

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy.orm import Session

    from portal.vault.keyring import Keyring

BRIGHTWELLS_OWN = sum(share.company == BRIGHTWELL for person in CAST for share in person.shares)


@pytest.fixture(scope="module")
def metadata(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folders = {company.slug: tmp_path_factory.mktemp(company.slug) for company in COMPANIES}
    for folder in folders.values():
        command = [sys.executable, str(demo_company() / "make_keys.py"), "--folder", str(folder)]
        subprocess.run([*command, "--redirect-uri", "http://localhost:8001/callback"], check=True, capture_output=True)
    return {slug: folder / "metadata.json" for slug, folder in folders.items()}


@pytest.fixture
def filled(session: Session, keys: Keyring, metadata: dict[str, Path]) -> Session:
    seed.fill(session, keyring=keys, metadata=metadata, now=db.now())
    session.flush()
    return session


def test_the_whole_cast_lives(filled: Session, keys: Keyring) -> None:
    now = db.now()
    for person in (*CAST, DANA, OLU):
        found = identity.check_password(filled, keyring=keys, email=person.email, password=person.password, now=now)
        assert found is not None
        held = records.current(filled, keyring=keys, person_id=found)
        assert set(held) == set(person.details)
        assert held["name.full"].value == person.name
    _test_companies(filled)
    _test_consents(filled)
    _test_staff(filled, keys)


def _test_companies(session: Session) -> None:
    for company in COMPANIES:
        facts = companies.company(session, slug=company.slug)
        assert facts is not None
        [client] = companies.clients_of(session, company_id=facts.company_id)
        assert companies.encryption_key(session, client.client_id) is not None
        codes = [purpose.code for purpose in companies.purposes_of(session, client.client_id)]
        assert sorted(codes) == sorted(purpose.code for purpose in company.purposes)


def _test_consents(session: Session) -> None:
    def shares(slug: str, *states: str) -> int:
        facts = companies.company(session, slug=slug)
        assert facts is not None
        counted = select(func.count()).where(Grant.company_id == facts.company_id)
        return session.scalar(counted.where(Grant.state.in_(states)) if states else counted) or 0

    assert shares(BRIGHTWELL) == COUNT + BRIGHTWELLS_OWN
    assert shares(BRIGHTWELL, "active") >= 200
    assert shares(BRIGHTWELL, "paused") == 1
    assert shares(BRIGHTWELL, "withdrawn") == 1
    assert shares(MERIDIAN) == 0


def _test_staff(session: Session, keys: Keyring) -> None:
    dana = people.find_person(session, keyring=keys, email=DANA.email)
    robin = people.find_person(session, keyring=keys, email="robin@people.example.org")
    assert dana is not None
    assert robin is not None
    assert [(each.company.slug, each.role) for each in companies.companies_of(session, dana)] == [(BRIGHTWELL, "owner")]
    assert consents.grants_of(session, person_id=robin) == []
    olu = people.find_person(session, keyring=keys, email=OLU.email)
    assert olu is not None
    assert people.is_operator(session, person_id=olu)
    assert not people.is_operator(session, person_id=dana)


def test_purposes_are_declared_as_the_demo_company_asks() -> None:
    [brightwell] = [company for company in COMPANIES if company.slug == BRIGHTWELL]
    assert [purpose.code for purpose in brightwell.purposes] == [BILLS]
