"""How the answer travels back: RFC 6749 section 4.1.2, RFC 9207, JARM, FAPI 2.0 Message Signing section 5.4."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest
from joserfc import jws
from joserfc.jwk import KeySet
from sqlalchemy import update

from portal import db
from portal.companies.models import Client
from portal.oauth import response_modes
from tests.oauth.rp import RelyingParty, query

if TYPE_CHECKING:
    from portal.config import Settings
    from tests.oauth.conftest import Person
    from tests.oauth.rp import Answer


def opened(rp: RelyingParty, back: Answer) -> dict[str, Any]:
    """Return the parameters of a signed response, checked as JARM section 2.4 says."""
    assert back.status_code == 303, back.text
    found = query(back)
    assert set(found) == {"response"}
    keys = KeySet.import_key_set(rp.get("/oauth/jwks").json)
    token = jws.deserialize_compact(found["response"], keys, algorithms=["ES256"])
    claims: dict[str, Any] = json.loads(token.payload)
    assert claims.pop("iss") == rp.issuer
    assert claims.pop("aud") == rp.client_id
    assert time.time() < claims.pop("exp") <= time.time() + 600
    return claims


def always_signed(settings: Settings, rp: RelyingParty) -> None:
    chosen = {"authorization_signed_response_alg": "ES256"}
    with db.transaction(settings.database_url) as session:
        session.execute(update(Client).where(Client.client_id == rp.client_id).values(settings=chosen))


@pytest.mark.parametrize("mode", ["jwt", "query.jwt"])
def test_a_signed_answer(rp: RelyingParty, person: Person, mode: str) -> None:
    claims = opened(rp, rp.answer(person.browser, rp.push(response_mode=mode)))
    assert claims["state"] == "st"
    assert set(claims) == {"code", "state"}
    assert rp.redeem(claims["code"]).status_code == 200


def test_a_signed_refusal(rp: RelyingParty, person: Person) -> None:
    claims = opened(rp, rp.answer(person.browser, rp.push(response_mode="jwt"), answer="decline"))
    assert claims["error"] == "access_denied"
    assert claims["state"] == "st"


def test_a_signed_answer_without_a_page(rp: RelyingParty, person: Person) -> None:
    back = person.browser.get(rp.address(rp.push(response_mode="jwt", prompt="none")))
    assert opened(rp, back) == {"error": "consent_required", "state": "st"}


def test_without_state_none_comes_back(rp: RelyingParty, person: Person) -> None:
    assert set(opened(rp, rp.answer(person.browser, rp.push(response_mode="jwt", state=None)))) == {"code"}


def test_an_address_with_a_query_keeps_it(rp: RelyingParty, person: Person) -> None:
    uri = rp.push(response_mode="jwt", redirect_uri="http://localhost:9/cb?fixed=1")
    back = rp.answer(person.browser, uri)
    assert back.headers["Location"].startswith("http://localhost:9/cb?fixed=1&response=")


def test_a_signature_is_for_one_client(rp: RelyingParty, other: RelyingParty, person: Person) -> None:
    first, second = (
        opened(one, one.answer(person.browser, one.push(response_mode="jwt")))["code"] for one in (rp, other)
    )
    assert other.redeem(first).json["error"] == "invalid_grant"
    assert rp.redeem(second).json["error"] == "invalid_grant"


def test_query_is_what_is_meant_without_a_word(rp: RelyingParty, person: Person) -> None:
    for mode in (None, "query"):
        back = query(rp.answer(person.browser, rp.push(response_mode=mode)))
        assert set(back) == {"code", "state", "iss"}


@pytest.mark.parametrize("mode", ["fragment", "form_post", "fragment.jwt", "form_post.jwt", "QUERY", "jwt jwt", "é"])
def test_other_modes(rp: RelyingParty, mode: str) -> None:
    answer = rp.post("/oauth/par", rp.request(response_mode=mode))
    assert answer.status_code == 400
    assert answer.json["error"] == "invalid_request"


def test_a_client_that_registered_signed_answers(rp: RelyingParty, person: Person, settings: Settings) -> None:
    always_signed(settings, rp)
    assert "code" in opened(rp, rp.answer(person.browser, rp.push()))
    assert "code" in opened(rp, rp.answer(person.browser, rp.push(response_mode="jwt")))
    assert rp.post("/oauth/par", rp.request(response_mode="query")).json["error"] == "invalid_request"
    packed = rp.push_object(rp.request_object(response_mode="query"))
    assert packed.json["error"] == "invalid_request"


def test_with_query() -> None:
    assert response_modes.with_query("https://a.example/b", {}) == "https://a.example/b"
    assert response_modes.with_query("https://a.example/b", {"state": "a&b="}) == "https://a.example/b?state=a%26b%3D"
    assert response_modes.with_query("https://a.example/b?c=d", {"e": "f"}) == "https://a.example/b?c=d&e=f"
