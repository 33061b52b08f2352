"""Checklist rows 22 and 70 to 75: approval from afar, what becomes of consents, registration, and too many tries."""

from __future__ import annotations

import json
import re
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from sqlalchemy import update

from portal import db
from portal.companies.metadata import CIBA, GRANT_TYPES
from portal.consent import services as consent
from portal.oauth import tokens
from portal.oauth.models import BackchannelRequest
from tests.fapi import cast as casting
from tests.oauth.rp import csrf, ec_key, query

if TYPE_CHECKING:
    from portal.config import Settings
    from portal.vault.keyring import Keyring
    from tests.fapi.cast import Party, Person
    from tests.fapi.server import Server
    from tests.fapi.wire import Trap, Wire
    from tests.oauth.rp import Answer

FROM_AFAR: dict[str, Any] = {"grant_types": [*GRANT_TYPES, CIBA], "backchannel_token_delivery_mode": "poll"}


def refused(answer: Answer, *errors: str) -> None:
    assert answer.status_code in {400, 401, 403}, answer.text
    assert answer.json["error"] in errors, answer.text
    assert "access_token" not in answer.json


# --- Approval away from the browser -------------------------------------------------------------------------


@pytest.fixture
def afar(wire: Wire, here: Settings) -> Party:
    return casting.party(wire, here, **FROM_AFAR)


@pytest.fixture
def sub(afar: Party, person: Person) -> str:
    """What the company knows the person by."""
    return str(afar.tokens(person)["sub"])


def asked(rp: Party, sub: str, **changes: str | None) -> str:
    answer = rp.ask(login_hint=sub, **changes)
    assert answer.status_code == 200, answer.text
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.json["interval"] >= 1
    return str(answer.json["auth_req_id"])


def decide(person: Person, answer: str) -> None:
    """Answer the newest request that waits for the person."""
    listed = person.wire.get("/sharing/requests").text
    address = listed.split('class="btn" href="', 1)[1].split('"', 1)[0]
    page = person.wire.get(address)
    form = {"answer": answer, "csrf_token": csrf(page.text)}
    form |= {"duration": "year"} if 'name="duration"' in page.text else {}
    assert person.wire.post(address, data=form).status_code == 303


def waited(here: Settings, auth_req_id: str) -> None:
    """Let the time between two polls pass."""
    mine = update(BackchannelRequest).where(BackchannelRequest.request_hash == tokens.hash_of(auth_req_id))
    with db.transaction(here.database_url) as session:
        session.execute(mine.values(polled_at=db.now() - timedelta(minutes=1)))


def test_row_70_exactly_one_hint__ciba_7_1(afar: Party, sub: str) -> None:
    refused(afar.ask(), "invalid_request")
    refused(afar.ask(login_hint=sub, id_token_hint="a.b.c"), "invalid_request")
    refused(afar.ask(login_hint=sub, login_hint_token="a.b.c"), "invalid_request")
    refused(afar.ask(login_hint_token="a.b.c"), "invalid_request", "expired_login_hint_token")


def test_row_70_somebody_unknown__ciba_13(afar: Party, other: Party, person: Person, sub: str) -> None:
    assert sub
    foreign = other.tokens(person)["sub"]
    answers = [afar.ask(login_hint=hint) for hint in (foreign, "nobody", "\u00e9", str(person.person_id), "a\\b")]
    for answer in answers:
        refused(answer, "unknown_user_id")
    assert len({answer.text for answer in answers}) == 1


def test_row_70_without_openid__ciba_7_1(afar: Party, sub: str) -> None:
    for scope in (None, "profile", "openid\tprofile", "openid everything"):
        refused(afar.ask(login_hint=sub, scope=scope), "invalid_scope", "invalid_request")


def test_row_70_a_client_that_may_not__ciba_13(rp: Party, person: Person) -> None:
    refused(rp.ask(login_hint=rp.tokens(person)["sub"]), "unauthorized_client")
    refused(rp.poll("made-up"), "unauthorized_client")


def test_row_70_a_message_that_could_mislead__ciba_13(afar: Party, sub: str) -> None:
    for message in ("x" * 500, "a\nb", "\u202egnp", "\u200b", "a\u0000b"):
        refused(afar.ask(login_hint=sub, binding_message=message), "invalid_binding_message", "invalid_request")


def test_row_70_pending_then_slow_down__ciba_11(afar: Party, sub: str, here: Settings) -> None:
    request = asked(afar, sub)
    refused(afar.poll(request), "authorization_pending")
    refused(afar.poll(request), "slow_down")
    waited(here, request)
    refused(afar.poll(request), "authorization_pending")


def test_row_70_approved_is_answered_once_and_bound__ciba_10_1(
    afar: Party, person: Person, sub: str, here: Settings
) -> None:
    request = asked(afar, sub, binding_message="W4SCT")
    refused(afar.poll(request), "authorization_pending")
    decide(person, "share")
    waited(here, request)
    unproven = afar.identified(grant_type=CIBA, auth_req_id=request)
    refused(afar.post("/oauth/token", unproven), "invalid_request")
    answer = afar.poll(request)
    assert answer.status_code == 200, answer.text
    assert answer.json["token_type"] == "DPoP"
    assert answer.json["sub"] == sub
    refused(afar.poll(request), "invalid_grant")
    assert afar.userinfo(answer.json["access_token"]).status_code == 200
    afar.dpop_key = ec_key()
    assert afar.userinfo(answer.json["access_token"]).status_code == 401


def test_row_70_denied__ciba_11(afar: Party, person: Person, sub: str) -> None:
    request = asked(afar, sub)
    decide(person, "decline")
    refused(afar.poll(request), "access_denied")


def test_row_70_expired__ciba_11(afar: Party, sub: str, here: Settings) -> None:
    request = asked(afar, sub)
    mine = update(BackchannelRequest).where(BackchannelRequest.request_hash == tokens.hash_of(request))
    with db.transaction(here.database_url) as session:
        session.execute(mine.values(expires_at=db.now()))
    refused(afar.poll(request), "expired_token")


def test_row_70_polled_by_another_client_or_made_up__ciba_11(afar: Party, sub: str, wire: Wire, here: Settings) -> None:
    request = asked(afar, sub)
    refused(casting.party(wire, here, **FROM_AFAR).poll(request), "invalid_grant")
    for made_up in ("made-up", "\u00e9", "x" * 5000):
        refused(afar.poll(made_up), "invalid_grant")
    refused(afar.poll(None), "invalid_request")


# --- Consents -----------------------------------------------------------------------------------------------


def managed(rp: Party, method: str, grant_id: str, scope: str) -> Answer:
    token = rp.token(grant_type="client_credentials", scope=scope).json["access_token"]
    path = f"/oauth/grants/{grant_id}"
    proof = rp.proof(path, method=method, token=token)
    return rp.wire.send(method, path, headers=[("Authorization", f"DPoP {token}"), ("DPoP", proof)])


def test_row_71_made_looked_at_and_ended__grant_management_6(rp: Party, person: Person) -> None:
    body = rp.tokens(person)
    grant_id = body["grant_id"]
    found = managed(rp, "GET", grant_id, "grant_management_query")
    assert found.status_code == 200, found.text
    assert found.json["authorization_details"] == body["authorization_details"]
    assert "Aoife" not in found.text
    assert managed(rp, "DELETE", grant_id, "grant_management_revoke").status_code == 204
    assert rp.userinfo(body["access_token"]).status_code == 401
    refused(rp.refresh(body["refresh_token"]), "invalid_grant")
    assert rp.introspect(body["access_token"]).json == {"active": False}
    for method, scope in (("GET", "grant_management_query"), ("DELETE", "grant_management_revoke")):
        assert managed(rp, method, grant_id, scope).status_code in {404, 410}


def test_row_71_only_ones_own_and_only_with_the_scope__grant_management_6(
    rp: Party, other: Party, person: Person
) -> None:
    grant_id = rp.tokens(person)["grant_id"]
    theirs = managed(other, "GET", grant_id, "grant_management_query")
    unknown = managed(other, "GET", str(person.person_id), "grant_management_query")
    assert (theirs.status_code, unknown.status_code) == (404, 404)
    assert managed(other, "DELETE", grant_id, "grant_management_revoke").status_code == 404
    assert managed(rp, "GET", grant_id, "people:read").status_code == 403
    assert managed(rp, "DELETE", grant_id, "grant_management_query").status_code == 403
    for odd in ("nobody", "..", "%00", grant_id.upper() + "x"):
        assert managed(rp, "GET", odd, "grant_management_query").status_code in {400, 401, 404}
    assert managed(rp, "GET", grant_id, "grant_management_query").status_code == 200


def test_row_71_create_merge_replace__grant_management_5(rp: Party, person: Person) -> None:
    first = rp.tokens(person)
    merged = again(rp, person, grant_management_action="merge", grant_id=first["grant_id"])
    assert merged["grant_id"] == first["grant_id"]
    replaced = again(rp, person, grant_management_action="replace", grant_id=first["grant_id"])
    assert replaced["grant_id"] == first["grant_id"]
    created = again(rp, person, grant_management_action="create")
    assert created["grant_id"] != first["grant_id"]
    for token in (first, merged, replaced):
        assert rp.userinfo(token["access_token"]).status_code == 401


def again(rp: Party, person: Person, **changes: str) -> dict[str, Any]:
    """Ask once more; the person takes the first duration that the page offers."""
    uri = rp.push(**changes)
    offered = re.search(r'name="duration"><option[^>]* value="([^"]+)"', rp.open(person, uri).text)
    back = rp.press(person, uri, **({"duration": offered[1]} if offered else {}))
    assert back.status_code == 303, back.text
    body: dict[str, Any] = rp.redeem(query(back)["code"]).json
    return body


def test_row_71_a_consent_that_cannot_be_meant__grant_management_5(rp: Party, other: Party, person: Person) -> None:
    theirs = other.tokens(person)["grant_id"]
    for changes in (
        {"grant_management_action": "merge"}, {"grant_management_action": "replace", "grant_id": theirs},
        {"grant_management_action": "create", "grant_id": theirs}, {"grant_id": theirs},
        {"grant_management_action": "delete", "grant_id": theirs},
        {"grant_management_action": "merge", "grant_id": "x"},
    ):  # fmt: skip
        refused(rp.post("/oauth/par", rp.request(**changes)), "invalid_request", "invalid_grant_id")


def test_row_72_a_sensitive_detail_needs_two_proofs__rfc9470_3(
    wire: Wire, here: Settings, keys: Keyring, person: Person
) -> None:
    assert keys
    wished = [*casting.WISHED, ("birth.date", "to wish you a happy birthday")]
    rp = casting.party(wire, here, wished=wished)
    casting.sign_in(person, here, level=2)
    sure = rp.redeem(query(rp.press(person, rp.push(scope="openid profile"), attributes=["birth.date"]))["code"]).json
    assert rp.userinfo(sure["access_token"]).json["birthdate"] == "1990-02-03"
    casting.sign_in(person, here, level=1)
    token = rp.tokens(person, scope="openid profile")["access_token"]
    answer = rp.userinfo(token)
    assert answer.status_code == 401, answer.text
    challenge = answer.headers["WWW-Authenticate"]
    assert 'error="insufficient_user_authentication"' in challenge
    assert 'acr_values="urn:ucm:acr:2"' in challenge
    assert "max_age=" in challenge
    assert "1990" not in answer.text


@pytest.fixture
def ended(rp: Party, person: Person, here: Settings) -> dict[str, Any]:
    body = rp.tokens(person)
    with db.transaction(here.database_url) as session:
        consent.withdraw(session, person_id=person.person_id, grant_id=UUID(body["grant_id"]), now=db.now())
    return body


def test_row_74_a_consent_that_ends_takes_everything_along__caep_3_2(rp: Party, ended: dict[str, Any]) -> None:
    refused(rp.refresh(ended["refresh_token"]), "invalid_grant")
    assert rp.introspect(ended["access_token"]).json == {"active": False}
    assert rp.introspect(ended["refresh_token"]).json == {"active": False}
    assert rp.call(f"/api/v1/people/{ended['sub']}", rp.own_token()).status_code == 403
    assert rp.userinfo(ended["access_token"]).status_code in {401, 403}


# --- Registration -------------------------------------------------------------------------------------------


def registered(rp: Party, token: str, **changes: Any) -> Answer:  # noqa: ANN401 - members of any kind
    described = {
        "client_name": "By a program", "redirect_uris": [casting.REDIRECT_URI], "jwks": {"keys": rp.keys()}, **changes,
    }  # fmt: skip
    described = {name: value for name, value in described.items() if value is not None}
    headers = {"Authorization": f"Bearer {token}"}
    return rp.wire.post(
        "/oauth/register", data=json.dumps(described).encode(), content_type="application/json", headers=headers
    )


@pytest.fixture
def initial(rp: Party, person: Person, here: Settings) -> str:
    return casting.initial_token(here, rp, person, uses=2)


@pytest.mark.parametrize(
    "address",
    [
        "http://client.example/callback", "http://127.0.0.1.evil.example/", "javascript:alert(1)", "client:/callback",
        "https://client.example/#fragment", "https://me@client.example/", "https://*.example/", "//client.example/", "",
        "https://client.example/\u00e9", "https://client.example/a b", "https://client.example/a\\b", 7, None,
    ],
)  # fmt: skip
def test_row_22_redirect_addresses_that_are_not_safe__fapi2_5_3_2_2_8(rp: Party, initial: str, address: object) -> None:
    refused(registered(rp, initial, redirect_uris=[address]), "invalid_redirect_uri")


def test_row_73_registered_and_managed__rfc7591_3_2_1(rp: Party, initial: str) -> None:
    answer = registered(rp, initial)
    assert answer.status_code == 201, answer.text
    assert answer.headers["Cache-Control"] == "no-store"
    assert "client_secret" not in answer.json
    path = answer.json["registration_client_uri"].removeprefix(rp.issuer)
    mine = {"Authorization": f"Bearer {answer.json['registration_access_token']}"}
    assert rp.wire.get(path, headers=mine).json["client_id"] == answer.json["client_id"]
    for token in (initial, "ucmrg_x", rp.own_token()):
        assert rp.wire.get(path, headers={"Authorization": f"Bearer {token}"}).status_code == 401
    assert rp.wire.get("/oauth/register/test_nobody", headers=mine).status_code == 401
    ended = rp.wire.send("DELETE", path, headers=list(mine.items()))
    assert ended.status_code == 204
    assert rp.wire.get(path, headers=mine).status_code == 401


@pytest.mark.parametrize(
    "changes",
    [
        {"token_endpoint_auth_method": "client_secret_basic"}, {"token_endpoint_auth_method": "client_secret_post"},
        {"token_endpoint_auth_method": "none"}, {"token_endpoint_auth_method": "client_secret_jwt"},
        {"grant_types": ["password"]}, {"grant_types": ["implicit"]}, {"response_types": ["token"]},
        {"jwks": None}, {"jwks": {"keys": []}}, {"jwks": {"keys": [{"kty": "oct", "k": "AAAA"}]}},
        {"jwks_uri": "https://client.example/jwks"}, {"jwks": None, "jwks_uri": "http://client.example/jwks"},
        {"jwks": None, "jwks_uri": "http://127.0.0.1:1/jwks"}, {"jwks": None, "jwks_uri": "https://127.0.0.1:1/jwks"},
        {"jwks": None, "jwks_uri": "https://169.254.169.254/latest"}, {"jwks": None, "jwks_uri": "https://[::1]/jwks"},
        {"jwks": None, "jwks_uri": "https://localhost/jwks"}, {"jwks": None, "jwks_uri": "https://10.0.0.1/jwks"},
        {"jwks": None, "jwks_uri": "file:///etc/passwd"}, {"jwks": None, "jwks_uri": ["https://client.example/"]},
        {"grant_types": ["authorization_code", None]}, {"response_types": [None, "code"]},
        {"id_token_signed_response_alg": "none"}, {"request_object_signing_alg": "none"},
        {"request_object_signing_alg": "RS256"}, {"userinfo_signed_response_alg": "HS256"},
    ],
)  # fmt: skip
def test_row_73_metadata_that_is_weak_or_reaches_inside__rfc7591_5(
    rp: Party, initial: str, changes: dict[str, object]
) -> None:
    refused(registered(rp, initial, **changes), "invalid_client_metadata")


def test_row_73_more_than_one_host__rfc7591_5(rp: Party, initial: str) -> None:
    elsewhere = {"logo_uri": "https://evil.example/logo.png", "client_uri": "https://client.example/"}
    answer = registered(rp, initial, **elsewhere)
    refused(answer, "invalid_client_metadata")


def test_row_73_nobody_reaches_an_inner_address__rfc7591_5(rp: Party, initial: str, trap: Trap) -> None:
    for host in ("127.0.0.1", "localhost", "[::1]", "[::]", "127.1", "2130706433"):
        refused(registered(rp, initial, jwks=None, jwks_uri=f"https://{host}:{trap.port}/"), "invalid_client_metadata")
    assert trap.calls() == 0


def test_row_73_registering_needs_the_token__rfc7591_3(rp: Party, initial: str) -> None:
    for token in ("", "made-up", "ucmit_" + "x" * 43, rp.own_token(), initial + "x"):
        assert registered(rp, token).status_code == 401
    assert [registered(rp, initial).status_code for _ in range(3)] == [201, 201, 401]


# --- Too many tries -----------------------------------------------------------------------------------------


def test_row_75_whoever_keeps_failing_waits__rfc6585_4(server: Server, rp: Party) -> None:
    wire = type(rp.wire)(server.port, address="127.77.7.7")
    seen: list[Answer] = []
    for number in range(200):
        form = {"client_assertion": "a.b.c", "grant_type": "client_credentials"}
        # No proxy of ours stands in front, so what this header says is anybody's invention.
        seen.append(wire.post("/oauth/token", data=form, headers={"X-Forwarded-For": f"198.51.100.{number}"}))
        if seen[-1].status_code == 429:
            break
    assert seen[-1].status_code == 429
    assert len({answer.text for answer in seen[:-1]}) == 1
    assert 0 < int(seen[-1].headers["Retry-After"]) <= 3600
    assert wire.post("/oauth/par", data={}).status_code == 429
    assert rp.token(grant_type="client_credentials").status_code == 200


def test_row_75_people_who_keep_guessing_wait__asvs5_6_3(server: Server, person: Person) -> None:
    assert person
    wire = type(person.wire)(server.port, {}, address="127.78.7.7")
    token = csrf(wire.get("/account/sign-in").text)
    statuses: list[int] = []
    until = time.monotonic() + 30
    while time.monotonic() < until and (not statuses or statuses[-1] != 429):
        form = {"email": f"nobody{len(statuses)}@example.org", "password": "wrong horse", "csrf_token": token}
        statuses.append(wire.post("/account/sign-in", data=form).status_code)
    assert statuses[-1] == 429, statuses
    assert len(set(statuses[:-1])) == 1
