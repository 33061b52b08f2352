"""What a careful attacker tries besides the checklist: one token passed off as another, odd framing, false headers."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import pytest
from sqlalchemy import update

from portal import db
from portal.companies import client_keys
from portal.companies.models import Client
from tests.fapi import cast as casting
from tests.fapi.forgery import claims_of
from tests.fapi.test_rows_70_to_75_grants import registered
from tests.fapi.wire import FORM
from tests.oauth.rp import VERIFIER, query, signed

if TYPE_CHECKING:
    from portal.config import Settings
    from portal.vault.keyring import Keyring
    from tests.fapi.cast import Party, Person
    from tests.fapi.wire import Wire


def test_a_client_without_the_grant_type_does_not_get_to_ask__rfc7591_2(wire: Wire, here: Settings) -> None:
    rp = casting.party(wire, here, grant_types=["client_credentials"])
    answer = rp.post("/oauth/par", rp.request())
    assert (answer.status_code, answer.json["error"]) == (400, "unauthorized_client")


def test_what_the_server_signed_for_one_use_is_of_no_other__rfc8725_3_11(rp: Party, person: Person) -> None:
    """An ID token, a signed answer or a signed look: each comes from the same key and from the same server."""
    body = rp.tokens(person)
    response = query(rp.press(person, rp.push(response_mode="jwt")))["response"]
    looked = rp.introspect(body["access_token"], Accept="application/token-introspection+jwt").text
    for token in (response, looked):
        answer = rp.post("/oauth/par", rp.request(id_token_hint=token))
        assert (answer.status_code, answer.json["error"]) == (400, "invalid_request")
        leaving = rp.get("/oauth/end-session?" + urlencode({"id_token_hint": token}))
        assert 400 <= leaving.status_code < 500
    for token in (body["id_token"], response, looked):
        assert rp.userinfo(token).status_code == 401
        assert rp.introspect(token).json == {"active": False}
        assert rp.refresh(token).json["error"] == "invalid_grant"
        assert rp.post("/oauth/par", rp.request(client_assertion=token)).json["error"] == "invalid_client"
        assert rp.push_object(token).status_code == 400


def test_an_id_token_of_another_client_is_no_hint__oidc_core_3_1_2_1(rp: Party, other: Party, person: Person) -> None:
    theirs = other.tokens(person)["id_token"]
    answer = rp.post("/oauth/par", rp.request(id_token_hint=theirs))
    assert (answer.status_code, answer.json["error"]) == (400, "invalid_request")


def test_headers_that_only_a_proxy_may_send_say_nothing__rfc7239_8(asker: Party) -> None:
    false = {
        "X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "https", "X-HTTP-Method-Override": "GET",
        "X-Original-URL": "/oauth/jwks", "Forwarded": "host=evil.example;proto=https",
    }  # fmt: skip
    form = asker.identified(grant_type="client_credentials")
    assert asker.post("/oauth/token", form, DPoP=asker.proof(), **false).status_code == 200
    foreign = asker.proof(htu="https://evil.example/oauth/token")
    form = asker.identified(grant_type="client_credentials")
    assert asker.post("/oauth/token", form, DPoP=foreign, **false).json["error"] == "invalid_dpop_proof"
    found = asker.get("/.well-known/openid-configuration", **false).json
    assert found["issuer"] == asker.issuer
    assert "evil" not in json.dumps(found)


@pytest.mark.parametrize("host", ["evil.example", "localhost:1", "", "localhost@evil.example"])
def test_the_host_header_decides_nothing__rfc9110_7_2(asker: Party, host: str) -> None:
    uri = asker.push()
    head = f"GET {asker.address(uri)} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
    status, answer = asker.wire.say(head.encode())
    assert status < 500
    assert b"evil.example/account" not in answer
    head = f"GET /.well-known/oauth-authorization-server HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
    assert b"evil" not in asker.wire.say(head.encode())[1]


def _raw(asker: Party, headers: str, body: bytes) -> tuple[int, bytes]:
    head = f"POST /oauth/par HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: {FORM}\r\n{headers}\r\n"
    return asker.wire.say(head.encode() + body)


def test_a_body_without_end_is_cut_off__rfc9112_7_1(asker: Party) -> None:
    chunk = b"2000\r\n" + b"a" * 0x2000 + b"\r\n"
    status, _ = _raw(asker, "Transfer-Encoding: chunked\r\n", chunk * 60 + b"0\r\n\r\n")
    assert status in {400, 413}


def test_chunks_are_read_as_any_body__rfc9112_7_1(asker: Party) -> None:
    form = urlencode(asker.request()).encode()
    parts = b"".join(b"%x\r\n%s\r\n" % (len(form[at : at + 99]), form[at : at + 99]) for at in range(0, len(form), 99))
    status, answer = _raw(asker, "Transfer-Encoding: chunked\r\n", parts + b"0\r\n\r\n")
    assert status in {201, 400, 411}
    assert status != 201 or b"request_uri" in answer


@pytest.mark.parametrize(
    "framing",
    [
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Content-Length: 5\r\nContent-Length: 0\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Content-Length: -1\r\n",
    ],
)
def test_nothing_is_smuggled_behind_a_request__rfc9112_6_3(asker: Party, framing: str) -> None:
    hidden = b"0\r\n\r\nGET /oauth/jwks HTTP/1.1\r\nHost: localhost\r\n\r\n"
    status, answer = _raw(asker, framing, hidden)
    assert status < 500
    assert b'"keys"' not in answer
    assert asker.wire.get("/oauth/jwks").status_code == 200


@pytest.mark.parametrize(
    "address",
    [
        "https://client.example:8443;script-src/", "https://client.example;script-src *", "https://a.example,b.example/",
        "https://client.example:80 80/", "https://client.example:/x y", "https://'self'/", "https://client.example\t/",
    ],
)  # fmt: skip
def test_no_address_bends_the_pages_policy__csp3_4(rp: Party, person: Person, here: Settings, address: str) -> None:
    token = casting.initial_token(here, rp, person)
    answer = registered(rp, token, redirect_uris=[address])
    assert (answer.status_code, answer.json["error"]) == (400, "invalid_redirect_uri")


@pytest.mark.parametrize("name", ["Bank\u202eknaB", "\u200b", "", " ", "x" * 500, "\u0000", 7, None])
def test_no_app_gets_a_name_that_misleads__oauth21_7(rp: Party, person: Person, here: Settings, name: object) -> None:
    answer = registered(rp, casting.initial_token(here, rp, person), client_name=name)
    assert (answer.status_code, answer.json["error"]) == (400, "invalid_client_metadata")


def test_a_suspended_client_is_turned_away_everywhere__rfc6749_5_2(rp: Party, person: Person, here: Settings) -> None:
    body, code, uri = rp.tokens(person), rp.code(person.browser), rp.push()
    own = rp.own_token()
    with db.transaction(here.database_url) as session:
        session.execute(update(Client).where(Client.client_id == rp.client_id).values(state="suspended"))
    assert rp.userinfo(body["access_token"]).status_code in {401, 403}
    assert rp.call(f"/api/v1/people/{body['sub']}", own).status_code in {401, 403}
    assert rp.redeem(code).json["error"] == "invalid_client"
    assert rp.refresh(body["refresh_token"]).json["error"] == "invalid_client"
    assert rp.post("/oauth/par", rp.request()).json["error"] == "invalid_client"
    opened = rp.open(person, uri)
    assert 400 <= opened.status_code < 500
    assert "Location" not in opened.headers


def test_a_retired_key_signs_nothing_from_the_next_call_on__rfc7517(rp: Party, here: Settings) -> None:
    proofs = [rp.token(grant_type="client_credentials").status_code for _ in range(12)]
    assert set(proofs) == {200}
    with db.transaction(here.database_url) as session:
        client_keys.retire(session, client_id=rp.client_id, kid="s1", now=db.now())
    answers = [rp.token(grant_type="client_credentials") for _ in range(12)]
    assert {(answer.status_code, answer.json["error"]) for answer in answers} == {(401, "invalid_client")}
    assert rp.push_object(rp.request_object()).json["error"] == "invalid_client"
    again = signed({"alg": "EdDSA", "kid": "s3"}, claims_of(rp), rp.ed_key)
    assert rp.post("/oauth/par", rp.request(client_assertion=again)).status_code == 201


def test_a_retired_key_signs_no_request_either__rfc9101_6_3(rp: Party, here: Settings) -> None:
    with db.transaction(here.database_url) as session:
        client_keys.retire(session, client_id=rp.client_id, kid="s2", now=db.now())
    taken = rp.request_object(key=rp.rsa_key, header={"alg": "PS256", "kid": "s2"})
    assert rp.push_object(taken).status_code == 400
    assert rp.push_object(rp.request_object()).status_code == 201


def test_a_code_is_of_no_use_where_it_was_not_made_for__rfc9700_4_5(rp: Party, other: Party, person: Person) -> None:
    """Whoever reads a code in somebody's address bar has neither the verifier nor the client's keys."""
    code = rp.code(person.browser)
    stolen = {"grant_type": "authorization_code", "code": code, "code_verifier": VERIFIER}
    for form in (stolen, stolen | {"client_id": rp.client_id}, stolen | {"client_secret": "x"}):
        assert rp.post("/oauth/token", form, DPoP=rp.proof()).status_code in {400, 401}
    assert other.redeem(code).json["error"] == "invalid_grant"
    assert rp.redeem(code).status_code == 200


def test_a_persons_token_reaches_nobody_else__rfc6750_3_1(
    rp: Party, person: Person, wire: Wire, here: Settings, keys: Keyring
) -> None:
    mine, theirs = rp.tokens(person), rp.tokens(casting.person(wire, here, keys))
    assert rp.call(f"/api/v1/people/{mine['sub']}", mine["access_token"]).status_code == 200
    for path in (f"/api/v1/people/{theirs['sub']}", f"/oauth/grants/{mine['grant_id']}"):
        answer = rp.call(path, mine["access_token"])
        assert answer.status_code == 403, path
        assert 'error="insufficient_scope"' in answer.headers["WWW-Authenticate"]


def test_a_clients_own_token_is_nobody__oidc_core_5_3(rp: Party) -> None:
    assert rp.userinfo(rp.own_token()).status_code in {401, 403}
