"""The whole way of a company to a person's details and back, as a strict client walks it."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Any

from joserfc import jws
from joserfc.jwk import KeySet
from sqlalchemy import select

from portal import db
from portal.consent import queries as consents
from portal.consent import services as consent
from portal.consent.models import Grant, GrantVersion
from portal.ledger import queries as ledger
from tests.oauth.rp import RelyingParty, query

if TYPE_CHECKING:
    from portal.config import Settings
    from portal.ledger.queries import Entry
    from tests.oauth.conftest import Person


def test_from_request_to_tokens(rp: RelyingParty, person: Person) -> None:
    back = rp.answer(person.browser, rp.push(), attributes=["address.home"])
    assert back.status_code == 303
    assert back.headers["Location"].startswith(rp.redirect_uri + "?")
    assert {"state": "st", "iss": rp.issuer}.items() <= query(back).items()
    answer = rp.redeem(query(back)["code"])
    assert answer.status_code == 200, answer.text
    assert answer.headers["Cache-Control"] == "no-store"
    body = answer.json
    assert body["token_type"] == "DPoP"
    assert body["expires_in"] == 600
    assert body["access_token"].startswith("ucmat_")
    assert body["refresh_token"].startswith("ucmrt_")
    [details] = body["authorization_details"]
    assert details["attributes"] == ["name.full", "address.home"]
    assert (details["type"], details["purpose"]) == ("ucm_profile", "orders")
    assert body["grant_id"]


def test_id_token(rp: RelyingParty, person: Person) -> None:
    body = rp.redeem(rp.code(person.browser, nonce="n" * 64)).json
    header, claims = verified(rp, body["id_token"])
    assert header["alg"] == "ES256"
    assert claims["iss"] == rp.issuer
    assert claims["aud"] == rp.client_id
    assert claims["nonce"] == "n" * 64
    assert claims["sub"] == body["sub"]
    assert claims["exp"] - claims["iat"] == 600
    assert claims["auth_time"] <= time.time()


def test_no_id_token_without_openid(rp: RelyingParty, person: Person) -> None:
    assert "id_token" not in rp.redeem(rp.code(person.browser, scope=None)).json


def test_subjects_are_pairwise_and_stable(rp: RelyingParty, other: RelyingParty, person: Person) -> None:
    first, again = (rp.redeem(rp.code(person.browser)).json["sub"] for _ in range(2))
    assert first == again
    assert first != other.redeem(other.code(person.browser)).json["sub"]


def test_declining_is_recorded_and_told(rp: RelyingParty, person: Person, settings: Settings) -> None:
    back = rp.answer(person.browser, rp.push(), answer="decline")
    assert back.status_code == 303
    assert query(back)["error"] == "access_denied"
    assert query(back)["state"] == "st"
    assert query(back)["iss"] == rp.issuer
    with db.transaction(settings.database_url) as session:
        states = session.scalars(select(Grant.state).where(Grant.person_id == person.person_id)).all()
    assert states == ["refused"]


def test_what_is_shared_already_is_confirmed(rp: RelyingParty, person: Person, settings: Settings) -> None:
    narrow = '[{"type":"ucm_profile","purpose":"orders","attributes":["name.full"]}]'
    first = rp.redeem(rp.code(person.browser)).json
    screen = person.browser.get(rp.address(rp.push(authorization_details=narrow)))
    assert "Continue with Linden" in screen.text
    again = rp.redeem(rp.code(person.browser, authorization_details=narrow)).json
    assert again["grant_id"] == first["grant_id"]
    with db.transaction(settings.database_url) as session:
        [grant] = consents.grants_of(session, person_id=person.person_id)
    assert grant.version == 2  # asked, and given


def test_confirming_can_be_declined(rp: RelyingParty, person: Person, settings: Settings) -> None:
    narrow = '[{"type":"ucm_profile","purpose":"orders","attributes":["name.full"]}]'
    rp.code(person.browser)
    back = rp.answer(person.browser, rp.push(authorization_details=narrow), answer="decline")
    assert query(back)["error"] == "access_denied"
    with db.transaction(settings.database_url) as session:
        states = [grant.state for grant in consents.grants_of(session, person_id=person.person_id)]
        assert sorted(states) == ["active", "refused"]
        steps = select(GrantVersion.shown).where(GrantVersion.person_id == person.person_id)
        shown = session.scalars(steps.where(GrantVersion.step == "refused")).one()
    assert shown["title"].startswith("Continue with Linden")


def test_the_clients_own_token(rp: RelyingParty) -> None:
    answer = rp.token(grant_type="client_credentials", scope="people:read")
    assert answer.json["scope"] == "people:read"
    assert "refresh_token" not in answer.json
    assert rp.token(grant_type="client_credentials").json["scope"] == "people:read"


def test_refreshing(rp: RelyingParty, person: Person) -> None:
    first = rp.redeem(rp.code(person.browser)).json
    answers = [rp.token(grant_type="refresh_token", refresh_token=first["refresh_token"]) for _ in range(2)]
    for answer in answers:
        assert answer.status_code == 200, answer.text
        assert "refresh_token" not in answer.json
        assert answer.json["access_token"] != first["access_token"]
        assert answer.json["grant_id"] == first["grant_id"]
        assert answer.json["sub"] == first["sub"]


def test_userinfo_tells_what_scopes_and_consent_cover(rp: RelyingParty, person: Person, settings: Settings) -> None:
    code = query(rp.answer(person.browser, rp.push(scope="openid profile email"), attributes=["email.main"]))["code"]
    body = rp.redeem(code).json
    answer = rp.call("/oauth/userinfo", body["access_token"])
    assert answer.status_code == 200, answer.text
    assert answer.json == {"sub": body["sub"], "name": "Aoife Byrne", "email": "aoife@example.org"}
    with db.transaction(settings.database_url) as session:
        consent.withdraw(session, person_id=person.person_id, grant_id=_grant_id(session, person), now=db.now())
    refused = rp.call("/oauth/userinfo", body["access_token"])
    assert refused.status_code == 401
    assert refused.json["type"].endswith("invalid-token")
    assert [entry.outcome for entry in userinfo_entries(settings, person)] == ["completed"]


def test_userinfo_waits_for_somebody_who_is_stopping(rp: RelyingParty, person: Person, settings: Settings) -> None:
    code = query(rp.answer(person.browser, rp.push(scope="openid profile")))["code"]
    token = rp.redeem(code).json["access_token"]
    with ThreadPoolExecutor(1) as other, db.sessions(settings.database_url)() as stopping:
        consent.withdraw(stopping, person_id=person.person_id, grant_id=_grant_id(stopping, person), now=db.now())
        asking = other.submit(rp.call, "/oauth/userinfo", token)
        wait([asking], timeout=0.5)
        stopping.commit()
        assert asking.result().status_code in {401, 403}


def test_one_use_is_one_use_whatever_way_it_is_asked(rp: RelyingParty, person: Person, settings: Settings) -> None:
    code = query(rp.answer(person.browser, rp.push(scope="openid profile"), duration="once"))["code"]
    token = rp.redeem(code).json["access_token"]
    with ThreadPoolExecutor(2) as both:
        asked = [both.submit(rp.call, "/oauth/userinfo", token) for _ in range(2)]
        assert sorted(one.result().status_code for one in asked) == [200, 403]
    assert len([entry for entry in userinfo_entries(settings, person) if entry.given]) == 1


def test_once_again_is_a_new_question_and_a_new_use(rp: RelyingParty, person: Person) -> None:
    bodies = []
    for _ in range(2):
        code = query(rp.answer(person.browser, rp.push(scope="openid profile"), duration="once"))["code"]
        bodies.append(rp.redeem(code).json)
        assert rp.call("/oauth/userinfo", bodies[-1]["access_token"]).status_code == 200
    assert bodies[0]["grant_id"] != bodies[1]["grant_id"]
    answers = [rp.call("/oauth/userinfo", body["access_token"]).status_code for body in bodies]
    # The first is over since the second began, and its tokens with it; the second is used up.
    assert answers == [401, 403]


def test_stopping_acts_on_the_next_call(rp: RelyingParty, person: Person, settings: Settings) -> None:
    code = rp.code(person.browser)
    body = rp.redeem(code).json
    waiting = rp.code(person.browser)
    with db.transaction(settings.database_url) as session:
        consent.withdraw(session, person_id=person.person_id, grant_id=_grant_id(session, person), now=db.now())
    for answer in (
        rp.token(grant_type="refresh_token", refresh_token=body["refresh_token"]),
        rp.redeem(waiting),
    ):
        assert answer.status_code == 400
        assert answer.json["error"] == "invalid_grant"


def userinfo_entries(settings: Settings, person: Person) -> list[Entry]:
    with db.transaction(settings.database_url) as session:
        found = ledger.of_person(session, person_id=person.person_id)
    return [entry for entry in found if entry.channel == "userinfo"]


def verified(rp: RelyingParty, token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    keys = KeySet.import_key_set(rp.get("/oauth/jwks").json)
    found = jws.deserialize_compact(token, keys, algorithms=["ES256"])
    return dict(found.headers()), json.loads(found.payload)


def _grant_id(session: Any, person: Person) -> Any:  # noqa: ANN401 - what the session gives
    return session.scalars(select(Grant.grant_id).where(Grant.person_id == person.person_id)).one()
