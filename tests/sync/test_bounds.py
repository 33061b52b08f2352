"""No value goes further than one consent: another person's, another purpose's, another app's, or one that is over."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from joserfc.jwk import ECKey
from sqlalchemy import update

from portal import db
from portal.companies import queries as companies
from portal.companies import services as registering
from portal.companies.models import Client, Company, Purpose
from portal.consent.models import Grant
from portal.consumer.catalogue import CATALOGUE
from portal.ledger import queries as ledger
from portal.oauth import tokens
from portal.oauth.models import AuthorizationCode
from portal.sync import jobs
from tests.sync.caller import Caller
from tests.sync.cast import Firm
from tests.sync.receiver import new_key, read

if TYPE_CHECKING:
    from collections.abc import Callable

    from flask.testing import FlaskClient
    from sqlalchemy import Update
    from sqlalchemy.orm import Session
    from werkzeug.test import TestResponse

    from tests.sync.cast import Shared, World


def persons_caller(http: FlaskClient, world: World, firm: Firm, shared: Shared) -> Caller:
    """Return a caller with a token that a person's consent gave, and no token of its own."""
    caller = Caller(http, world, firm)

    def issue(session: Session) -> str:
        client = companies.client(session, firm.client_id)
        assert client
        of = AuthorizationCode(person_id=shared.person_id, grant_id=shared.grant_id, code_hash=b"none")
        return tokens.issue_access(
            session, client=client, of=of, scope="openid", jkt=caller.key.thumbprint(), now=db.now()
        )

    caller.token = world.transact(issue)
    return caller


def another_purpose(world: World, firm: Firm) -> Firm:
    def declare(session: Session) -> Firm:
        made = registering.declare_purpose(
            session,
            client_id=firm.client_id, sentence="call about a delivery", dpv="DeliveryOfGoods", mode="kept-up-to-date",
            required=[("phone.mobile", "To call you")], optional=[], retention_days=1, catalogue=CATALOGUE,
            now=db.now(),
        )  # fmt: skip
        return Firm(firm.company_id, firm.client_id, made.purpose_id, firm.receiver, firm.name)

    other: Firm = world.transact(declare)
    return other


def another_app(world: World, firm: Firm) -> Firm:
    signing = ECKey.generate_key("P-256", {"kid": "sig-2", "use": "sig"})
    described = {
        "client_name": "Another app", "redirect_uris": ["https://example.org/other"],
        "jwks": {"keys": [signing.as_dict(private=False), new_key().as_dict(private=False)]},
    }  # fmt: skip

    def register(session: Session) -> Firm:
        client = companies.client(session, firm.client_id)
        assert client
        made = registering.register_client(session, company_slug=client.company_slug, metadata=described, now=db.now())
        return Firm(firm.company_id, made, firm.purpose_id, firm.receiver, firm.name)

    other: Firm = world.transact(register)
    return other


def reason(answer: TestResponse) -> str:
    assert answer.status_code == 403, answer.text
    return str(answer.get_json()["type"]).rpartition("/")[2]


def test_a_persons_token_opens_nobody_else(http: FlaskClient, world: World, firm: Firm) -> None:
    mine, other = (world.share(world.person(), firm) for _ in range(2))
    caller = persons_caller(http, world, firm, mine)
    assert caller.get(f"/api/v1/people/{mine.sub}").status_code == 200
    assert reason(caller.get(f"/api/v1/people/{other.sub}")) == "insufficient-scope"


def test_a_persons_token_opens_its_own_purpose_only(http: FlaskClient, world: World, firm: Firm) -> None:
    person_id = world.person(phone__mobile="+353871234567")
    bills = world.share(person_id, firm, attributes=["name.full"])
    calls = world.share(person_id, another_purpose(world, firm), attributes=["phone.mobile"])
    for shared, names in ((bills, {"name.full"}), (calls, {"phone.mobile"})):
        answer = persons_caller(http, world, firm, shared).get(f"/api/v1/people/{shared.sub}")
        message = read(answer.text, portal_keys=world.portal_keys(), key=firm.receiver.key)
        assert set(message.values) == names
    world.step("withdraw", bills)
    answer = persons_caller(http, world, firm, bills).get(f"/api/v1/people/{bills.sub}")
    assert reason(answer) == "consent-withdrawn"


def test_a_pause_of_one_purpose_does_not_hide_another(http: FlaskClient, world: World, firm: Firm) -> None:
    person_id = world.person(phone__mobile="+353871234567")
    bills = world.share(person_id, firm, attributes=["name.full"])
    calls = world.share(person_id, another_purpose(world, firm), attributes=["phone.mobile"])
    world.step("pause", calls)
    answer = Caller(http, world, firm).get(f"/api/v1/people/{bills.sub}")
    assert answer.status_code == 200, answer.text
    assert set(read(answer.text, portal_keys=world.portal_keys(), key=firm.receiver.key).values) == {"name.full"}


def test_another_app_of_the_same_company_gets_nothing(http: FlaskClient, world: World, firm: Firm) -> None:
    shared = world.share(world.person(), firm)
    answer = Caller(http, world, another_app(world, firm)).get(f"/api/v1/people/{shared.sub}")
    assert reason(answer) == "consent-absent"
    seen = world.transact(lambda session: ledger.of_person(session, person_id=shared.person_id))
    assert [(row.outcome, row.given) for row in seen if row.channel == "pull"] == [("denied", {})]


OVER: dict[str, tuple[Callable[[Firm], Update], str]] = {
    "client suspended": (
        lambda firm: update(Client).where(Client.client_id == firm.client_id).values(state="suspended"),
        "client-suspended",
    ),
    "company suspended": (
        lambda firm: update(Company).where(Company.company_id == firm.company_id).values(state="suspended"),
        "client-suspended",
    ),
    "purpose withdrawn": (
        lambda firm: update(Purpose).where(Purpose.purpose_id == firm.purpose_id).values(withdrawn_at=db.now()),
        "purpose-withdrawn",
    ),
    "purpose asks for less": (
        lambda firm: update(Purpose).where(Purpose.purpose_id == firm.purpose_id).values(attributes=[]),
        "field-not-shared",
    ),
    "expired a moment ago": (
        lambda firm: (
            update(Grant)
            .where(Grant.client_id == firm.client_id)
            .values(expires_at=db.now() - timedelta(milliseconds=1))
        ),
        "consent-expired",
    ),
}


@pytest.mark.parametrize("over", OVER)
def test_what_is_over_is_over_on_every_way(http: FlaskClient, world: World, firm: Firm, over: str) -> None:
    shared = world.share(world.person(), firm)
    jobs.drain()
    own, persons = Caller(http, world, firm), persons_caller(http, world, firm, shared)
    started = own.post("/api/v1/pulls", json={"subjects": [shared.sub]}).get_json()
    jobs.run_pull(started["id"])
    statement, word = OVER[over]
    world.transact(lambda session: session.execute(statement(firm)))
    for caller in (own, persons):
        assert reason(caller.get(f"/api/v1/people/{shared.sub}")) == word
    result = own.get(f"/api/v1/pulls/{started['id']}/result")
    assert "message" not in result.text
    world.save(shared.person_id, email__main="later@example.org")
    jobs.drain()
    assert all("later@example.org" not in str(message.values) for message in firm.receiver.journal)
    seen = world.transact(lambda session: ledger.of_person(session, person_id=shared.person_id))
    assert {row.outcome for row in seen if row.channel == "pull"} == {"denied"}
