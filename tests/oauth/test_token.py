"""The token endpoint: codes once, PKCE, refresh rules, and requests that are no request."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier
from typing import TYPE_CHECKING, cast
from urllib.parse import urlencode

import pytest
from sqlalchemy import func, select, update

from portal import db
from portal.companies.models import Client
from portal.oauth import tokens
from portal.oauth.models import AccessToken, AuthorizationCode, RefreshToken
from tests.oauth.rp import FORM, VERIFIER, RelyingParty, ec_key

if TYPE_CHECKING:
    from apiflask import APIFlask

    from portal.config import Settings
    from tests.oauth.conftest import Person
    from tests.oauth.rp import Answer

PARALLEL = 12


def refused(answer: Answer, error: str, status: int = 400) -> None:
    assert answer.status_code == status, answer.text
    assert answer.json["error"] == error
    assert answer.headers["Cache-Control"] == "no-store"


def test_a_code_twice_ends_what_came_of_it(rp: RelyingParty, person: Person) -> None:
    code = rp.code(person.browser)
    first = rp.redeem(code).json
    assert rp.call("/oauth/userinfo", first["access_token"]).status_code == 200
    refused(rp.redeem(code), "invalid_grant")
    assert rp.call("/oauth/userinfo", first["access_token"]).status_code == 401
    refused(rp.token(grant_type="refresh_token", refresh_token=first["refresh_token"]), "invalid_grant")


def test_another_client_cannot_end_it(rp: RelyingParty, other: RelyingParty, person: Person) -> None:
    code = rp.code(person.browser)
    refused(other.redeem(code), "invalid_grant")
    first = rp.redeem(code).json
    refused(other.redeem(code), "invalid_grant")
    assert rp.call("/oauth/userinfo", first["access_token"]).status_code == 200


@pytest.mark.parametrize("_round", range(5))
def test_a_code_many_times_at_once(
    app: APIFlask, rp: RelyingParty, person: Person, settings: Settings, _round: int
) -> None:
    code = rp.code(person.browser)
    form = {"grant_type": "authorization_code", "code": code, "code_verifier": VERIFIER}
    sent = [(urlencode(rp.identified(**form)), rp.proof()) for _ in range(PARALLEL)]
    together = Barrier(PARALLEL)

    def redeem(body: str, proof: str) -> Answer:
        client = app.test_client(use_cookies=False)
        together.wait()
        return cast("Answer", client.post("/oauth/token", data=body, content_type=FORM, headers={"DPoP": proof}))

    with ThreadPoolExecutor(PARALLEL) as threads:
        answers = list(threads.map(redeem, *zip(*sent, strict=True)))
    assert sorted(answer.status_code for answer in answers) == [200] + [400] * (PARALLEL - 1)
    assert {answer.json["error"] for answer in answers if answer.status_code == 400} == {"invalid_grant"}
    with db.transaction(settings.database_url) as session:
        made = session.scalar(
            select(func.count()).select_from(AccessToken).where(AccessToken.code_hash == tokens.hash_of(code))
        )
    assert made == 1


def test_an_assertion_many_times_at_once(app: APIFlask, rp: RelyingParty) -> None:
    body = urlencode(rp.identified(grant_type="client_credentials"))
    together = Barrier(PARALLEL)

    def ask(proof: str) -> int:
        client = app.test_client(use_cookies=False)
        together.wait()
        return client.post("/oauth/token", data=body, content_type=FORM, headers={"DPoP": proof}).status_code

    with ThreadPoolExecutor(PARALLEL) as threads:
        statuses = sorted(threads.map(ask, [rp.proof() for _ in range(PARALLEL)]))
    assert statuses == [200] + [401] * (PARALLEL - 1)


def test_many_refreshes_at_once(app: APIFlask, rp: RelyingParty, person: Person) -> None:
    refresh = rp.redeem(rp.code(person.browser)).json["refresh_token"]
    sent = [(urlencode(rp.identified(grant_type="refresh_token", refresh_token=refresh)), rp.proof()) for _ in range(8)]

    def ask(body: str, proof: str) -> int:
        client = app.test_client(use_cookies=False)
        return client.post("/oauth/token", data=body, content_type=FORM, headers={"DPoP": proof}).status_code

    with ThreadPoolExecutor(8) as threads:
        assert set(threads.map(ask, *zip(*sent, strict=True))) == {200}


@pytest.mark.parametrize(
    ("name", "value"),
    [("code_verifier", "w" * 43), ("code_verifier", None), ("code_verifier", "v"), ("code_verifier", "é" * 43),
     ("redirect_uri", "https://client.example/other"), ("code", "unknown"), ("code", "é"), ("code", "c" * 9000)],
)  # fmt: skip
def test_what_does_not_belong_to_the_code(rp: RelyingParty, person: Person, name: str, value: str | None) -> None:
    form = {"code": rp.code(person.browser)} | {name: value}
    refused(rp.redeem(str(form.pop("code")), **form), "invalid_grant")


def test_the_redirect_uri_may_be_left_out(rp: RelyingParty, person: Person) -> None:
    assert rp.redeem(rp.code(person.browser), redirect_uri=None).status_code == 200


def test_a_code_is_bound_to_the_key_it_was_asked_for_with(rp: RelyingParty, person: Person) -> None:
    code = rp.code(person.browser, dpop_jkt=rp.dpop_key.thumbprint())
    refused(rp.redeem(code, dpop=rp.proof(key=ec_key())), "invalid_grant")
    assert rp.redeem(code).status_code == 200


def test_a_code_after_a_minute(rp: RelyingParty, person: Person, settings: Settings) -> None:
    code = rp.code(person.browser)
    with db.transaction(settings.database_url) as session:
        late = update(AuthorizationCode).where(AuthorizationCode.code_hash == tokens.hash_of(code))
        session.execute(late.values(expires_at=db.now() - timedelta(seconds=1)))
    refused(rp.redeem(code), "invalid_grant")


def test_tokens_are_kept_as_hashes_and_expire(rp: RelyingParty, person: Person, settings: Settings) -> None:
    token = rp.redeem(rp.code(person.browser)).json["access_token"]
    with db.transaction(settings.database_url) as session:
        row = session.get_one(AccessToken, tokens.hash_of(token))
        assert row.expires_at - row.issued_at == timedelta(minutes=10)
        row.expires_at = db.now() - timedelta(seconds=1)
    assert rp.call("/oauth/userinfo", token).status_code == 401


def test_refresh_tokens_are_their_clients(rp: RelyingParty, other: RelyingParty, person: Person) -> None:
    refresh = rp.redeem(rp.code(person.browser)).json["refresh_token"]
    form = {"grant_type": "refresh_token", "refresh_token": refresh}
    refused(other.token(**form), "invalid_grant")
    refused(rp.post("/oauth/token", form, DPoP=rp.proof()), "invalid_client", 401)
    refused(rp.post("/oauth/token", rp.identified(**form)), "invalid_request")
    refused(rp.token(**form, scope="openid email"), "invalid_scope")
    refused(rp.token(grant_type="refresh_token"), "invalid_request")
    refused(rp.token(grant_type="refresh_token", refresh_token="unknown"), "invalid_grant")
    assert rp.token(**form).status_code == 200


def test_a_refresh_may_be_narrower_once(rp: RelyingParty, person: Person) -> None:
    form = {"grant_type": "refresh_token"}
    form["refresh_token"] = rp.redeem(rp.code(person.browser, scope="openid email")).json["refresh_token"]
    assert rp.token(**form, scope="openid").json["scope"] == "openid"
    assert rp.token(**form).json["scope"] == "openid email"


def test_a_refresh_token_expires(rp: RelyingParty, person: Person, settings: Settings) -> None:
    refresh = rp.redeem(rp.code(person.browser)).json["refresh_token"]
    with db.transaction(settings.database_url) as session:
        row = session.get_one(RefreshToken, tokens.hash_of(refresh))
        assert row.expires_at - row.issued_at <= timedelta(days=365)
        row.expires_at = db.now() - timedelta(seconds=1)
    refused(rp.token(grant_type="refresh_token", refresh_token=refresh), "invalid_grant")


def test_wider_than_a_client_may(rp: RelyingParty) -> None:
    refused(rp.token(grant_type="client_credentials", scope="people:write"), "invalid_scope")
    refused(rp.token(grant_type="client_credentials", scope="openid"), "invalid_scope")


def test_there_is_one_resource(rp: RelyingParty) -> None:
    form = {"grant_type": "client_credentials"}
    refused(rp.token(**form, resource="https://elsewhere.example"), "invalid_target")
    assert rp.token(**form, resource=rp.issuer + "/api/v1").status_code == 200


def test_a_suspended_client_is_out_at_once(rp: RelyingParty, person: Person, settings: Settings) -> None:
    token = rp.redeem(rp.code(person.browser)).json["access_token"]
    with db.transaction(settings.database_url) as session:
        session.execute(update(Client).where(Client.client_id == rp.client_id).values(state="suspended"))
    assert rp.call("/oauth/userinfo", token).status_code == 401
    refused(rp.token(grant_type="client_credentials"), "invalid_client", 401)


def test_grant_types(rp: RelyingParty) -> None:
    refused(rp.token(grant_type="password"), "unsupported_grant_type")
    refused(rp.token(grant_type='"é'), "unsupported_grant_type")
    refused(rp.token(), "invalid_request")
    refused(rp.token(grant_type="authorization_code"), "invalid_request")


def test_only_forms_in_bodies(rp: RelyingParty) -> None:
    form = rp.identified(grant_type="client_credentials")
    assert rp.http.get("/oauth/token?" + urlencode(form)).status_code == 405
    refused(rp.raw("/oauth/token?" + urlencode(form)), "invalid_request")
    refused(rp.raw("/oauth/token", json=form), "invalid_request")
    refused(rp.post("/oauth/token", [*form.items(), ("grant_type", "client_credentials")]), "invalid_request")


def test_revocation(rp: RelyingParty, other: RelyingParty, person: Person) -> None:
    first = rp.redeem(rp.code(person.browser)).json
    access, refresh = first["access_token"], first["refresh_token"]
    refused(rp.post("/oauth/revoke", {"token": access}), "invalid_client", 401)
    refused(rp.post("/oauth/revoke", rp.identified()), "invalid_request")
    for party, token, hint in ((rp, "unknown", None), (rp, "é", "nonsense"), (other, access, None)):
        assert party.post("/oauth/revoke", party.identified(token=token, token_type_hint=hint)).status_code == 200
    assert rp.call("/oauth/userinfo", access).status_code == 200
    second = rp.token(grant_type="refresh_token", refresh_token=refresh).json["access_token"]
    rp.post("/oauth/revoke", rp.identified(token=access))
    assert rp.call("/oauth/userinfo", access).status_code == 401
    assert rp.call("/oauth/userinfo", second).status_code == 200
    rp.post("/oauth/revoke", rp.identified(token=refresh, token_type_hint="access_token"))
    assert rp.call("/oauth/userinfo", second).status_code == 401
    refused(rp.token(grant_type="refresh_token", refresh_token=refresh), "invalid_grant")
