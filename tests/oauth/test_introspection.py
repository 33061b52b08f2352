"""Introspection: live tokens are described to their own client, and nothing else is, not even by a hint."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from joserfc import jwe, jwt
from joserfc.jwk import KeySet, OKPKey
from sqlalchemy import update

from portal import db
from portal.companies.models import Client, ClientKey, Company
from portal.consent.models import Grant
from portal.oauth import introspection
from portal.oauth.models import AccessToken, RefreshToken
from tests.counting import prepared, statements

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import ColumnElement

    from portal.config import Settings
    from tests.oauth.conftest import Person
    from tests.oauth.rp import Answer, RelyingParty

INACTIVE = {"active": False}
PATH = "/oauth/introspect"
PERSONAL = {"sub", "grant_id", "authorization_details", "acr", "auth_time"}
ALWAYS = {"active", "iss", "aud", "client_id", "scope", "iat", "exp"}


def ask(rp: RelyingParty, token: str, *, accept: str = "application/json", **form: str) -> Answer:
    return rp.post(PATH, rp.identified(token=token, **form), Accept=accept)


def tokens(rp: RelyingParty, person: Person) -> dict[str, Any]:
    answer = rp.redeem(rp.code(person.browser, scope="openid profile"))
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json
    return found


def change(at: Settings, table: type[db.Base], which: ColumnElement[bool], **values: object) -> None:
    with db.transaction(at.database_url) as session:
        session.execute(update(table).where(which).values(**values))


def test_a_live_access_token_says_what_it_is_good_for(rp: RelyingParty, person: Person) -> None:
    # RFC 7662 section 2.2, RFC 9449 section 6.2, RFC 9396 section 9.2.
    given = tokens(rp, person)
    answer = ask(rp, given["access_token"])
    said = answer.json
    assert answer.status_code == 200
    assert answer.headers["Cache-Control"] == "no-store"
    assert said.keys() == ALWAYS | PERSONAL | {"token_type", "cnf"}
    assert said["token_type"] == "DPoP"
    assert said["cnf"] == {"jkt": rp.dpop_key.thumbprint()}
    assert (said["iss"], said["aud"]) == (rp.issuer, f"{rp.issuer}/api/v1")
    assert said["exp"] - said["iat"] == given["expires_in"] == 600
    for same in ("sub", "scope", "grant_id", "authorization_details"):
        assert said[same] == given[same]
    assert said["acr"] == "urn:ucm:acr:1"
    assert said["auth_time"] <= said["iat"]


def test_a_refresh_token_has_no_type_and_no_key(rp: RelyingParty, person: Person) -> None:
    given = tokens(rp, person)
    said = ask(rp, given["refresh_token"]).json
    assert said.keys() == ALWAYS | PERSONAL
    assert said["sub"] == given["sub"]


def test_the_clients_own_token_stands_for_nobody(rp: RelyingParty) -> None:
    said = ask(rp, rp.own_token()).json
    assert said.keys() == ALWAYS | {"token_type", "cnf"}
    assert said["scope"] == "people:read"


@pytest.mark.parametrize("hint", ["access_token", "refresh_token", "made-up"])
def test_a_hint_changes_nothing(rp: RelyingParty, person: Person, hint: str) -> None:
    given = tokens(rp, person)
    for name in ("access_token", "refresh_token"):
        assert ask(rp, given[name], token_type_hint=hint).json["active"] is True


@pytest.mark.parametrize("token", ["ucmat_x", "ucmrt_x", "x" * 4000, "né", "a b", "🎈"])
def test_what_is_no_token_is_inactive(rp: RelyingParty, token: str) -> None:
    answer = ask(rp, token)
    assert (answer.status_code, answer.json) == (200, INACTIVE)


def test_another_clients_token_is_inactive(rp: RelyingParty, other: RelyingParty, person: Person) -> None:
    given = tokens(rp, person)
    for name in ("access_token", "refresh_token"):
        assert ask(other, given[name]).json == INACTIVE


ENDS: dict[str, Callable[[Settings, dict[str, Any]], None]] = {
    "access token expired": lambda settings, given: change(
        settings, AccessToken, AccessToken.grant_id == given["grant_id"], expires_at=db.now()
    ),
    "access token revoked": lambda settings, given: change(
        settings, AccessToken, AccessToken.grant_id == given["grant_id"], revoked_at=db.now()
    ),
    "refresh token expired": lambda settings, given: change(
        settings, RefreshToken, RefreshToken.grant_id == given["grant_id"], expires_at=db.now()
    ),
    "refresh token revoked": lambda settings, given: change(
        settings, RefreshToken, RefreshToken.grant_id == given["grant_id"], revoked_at=db.now()
    ),
    "refresh token not used for 90 days": lambda settings, given: change(
        settings, RefreshToken, RefreshToken.grant_id == given["grant_id"], used_at=db.now() - timedelta(days=90)
    ),
    "consent withdrawn": lambda settings, given: change(
        settings, Grant, Grant.grant_id == given["grant_id"], state="withdrawn"
    ),
    "consent over": lambda settings, given: change(
        settings, Grant, Grant.grant_id == given["grant_id"], expires_at=db.now() - timedelta(seconds=1)
    ),
}


@pytest.mark.parametrize("end", ENDS)
def test_what_has_ended_is_inactive(rp: RelyingParty, person: Person, settings: Settings, end: str) -> None:
    given = tokens(rp, person)
    ENDS[end](settings, given)
    for name in ("access_token", "refresh_token"):
        dead = end.startswith(("consent", name.replace("_", " ")))
        assert (ask(rp, given[name]).json == INACTIVE) is dead, name


def test_a_paused_consent_keeps_its_tokens(rp: RelyingParty, person: Person, settings: Settings) -> None:
    given = tokens(rp, person)
    change(settings, Grant, Grant.grant_id == given["grant_id"], state="paused")
    assert ask(rp, given["access_token"]).json["active"] is True


@pytest.mark.parametrize("which", ["client", "company"])
def test_a_suspended_client_is_told_nothing(rp: RelyingParty, settings: Settings, which: str) -> None:
    token = rp.own_token()
    if which == "client":
        change(settings, Client, Client.client_id == rp.client_id, state="suspended")
    else:
        with db.transaction(settings.database_url) as session:
            client = session.get_one(Client, rp.client_id)
            session.get_one(Company, client.company_id).state = "suspended"
    answer = ask(rp, token)
    assert (answer.status_code, answer.json["error"]) == (401, "invalid_client")


def test_whoever_does_not_authenticate_is_refused(rp: RelyingParty) -> None:
    answer = rp.post(PATH, {"token": "x"})
    assert (answer.status_code, answer.json["error"]) == (401, "invalid_client")
    assert rp.http.get(PATH).status_code == 405


def test_a_question_without_a_token_is_malformed(rp: RelyingParty) -> None:
    for form in ({}, {"token": ""}, {"token": "\x00"}):
        answer = rp.post(PATH, rp.identified(**form))
        assert (answer.status_code, answer.json["error"]) == (400, "invalid_request")


def test_an_assertion_answers_one_question(rp: RelyingParty) -> None:
    form = rp.identified(token="x")
    assert rp.post(PATH, form).status_code == 200
    assert rp.post(PATH, form).status_code == 401


def test_it_costs_two_statements(rp: RelyingParty, person: Person, settings: Settings) -> None:
    # One looks whether the client is as it was, one uses its assertion up and reads everything.
    given = tokens(rp, person)
    ask(rp, given["access_token"])
    with statements(settings) as others, prepared() as seen:
        assert ask(rp, given["access_token"]).json["active"] is True
    assert (len(seen), others) == (2, [])


def verified(rp: RelyingParty, text: str) -> jwt.Token:
    keys = KeySet.import_key_set(rp.get("/oauth/jwks").json)
    return jwt.decode(text, keys, algorithms=["ES256"])


@pytest.mark.parametrize(
    "accept",
    [
        introspection.MEDIA_TYPE,
        f"application/json;q=0.5, {introspection.MEDIA_TYPE}",
        introspection.MEDIA_TYPE.upper(),
        f"{introspection.MEDIA_TYPE};profile=x;q=0.1",
    ],
)
def test_a_signed_answer_to_whoever_accepts_one(rp: RelyingParty, person: Person, accept: str) -> None:
    # RFC 9701 sections 4 and 5.
    given = tokens(rp, person)
    answer = ask(rp, given["access_token"], accept=accept)
    assert answer.headers["Content-Type"] == "application/token-introspection+jwt"
    token = verified(rp, answer.text)
    assert token.header["typ"] == "token-introspection+jwt"
    assert token.claims.keys() == {"iss", "aud", "iat", "token_introspection"}
    assert (token.claims["iss"], token.claims["aud"]) == (rp.issuer, rp.client_id)
    assert token.claims["token_introspection"] == ask(rp, given["access_token"]).json


def test_a_signed_answer_about_no_token(rp: RelyingParty) -> None:
    answer = ask(rp, "x", accept=introspection.MEDIA_TYPE)
    assert verified(rp, answer.text).claims["token_introspection"] == INACTIVE


@pytest.mark.parametrize("accept", ["*/*", "application/*", "", f"{introspection.MEDIA_TYPE};q=0", ";;q=x,,"])
def test_json_to_everybody_else(rp: RelyingParty, accept: str) -> None:
    assert ask(rp, "x", accept=accept).json == INACTIVE


def test_a_client_that_registered_for_it_gets_it_signed_and_sealed(rp: RelyingParty, settings: Settings) -> None:
    chosen = {
        "introspection_signed_response_alg": "ES256",
        "introspection_encrypted_response_alg": "ECDH-ES+A256KW",
        "introspection_encrypted_response_enc": "A256GCM",
    }
    key = OKPKey.generate_key("X25519")
    change(settings, Client, Client.client_id == rp.client_id, settings=chosen)
    change(
        settings, ClientKey, (ClientKey.client_id == rp.client_id) & (ClientKey.use == "enc"),
        jwk={**key.as_dict(private=False), "use": "enc", "kid": "e1"},
    )  # fmt: skip
    answer = ask(rp, rp.own_token())
    assert answer.headers["Content-Type"] == "application/token-introspection+jwt"
    opened = jwe.decrypt_compact(answer.text, key, algorithms=["ECDH-ES+A256KW", "A256GCM"])
    assert opened.plaintext is not None
    assert verified(rp, opened.plaintext.decode()).claims["token_introspection"]["active"] is True


def test_a_client_that_wants_it_sealed_and_has_no_key_is_told_so(rp: RelyingParty, settings: Settings) -> None:
    chosen = {"introspection_signed_response_alg": "ES256", "introspection_encrypted_response_alg": "ECDH-ES+A256KW"}
    change(settings, Client, Client.client_id == rp.client_id, settings=chosen)
    mine = (ClientKey.client_id == rp.client_id) & (ClientKey.use == "enc")
    change(settings, ClientKey, mine, retired_at=db.now())
    answer = ask(rp, rp.own_token())
    assert (answer.status_code, answer.json["error"]) == (400, "invalid_request")
