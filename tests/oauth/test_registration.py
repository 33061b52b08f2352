"""Dynamic registration by its clauses (RFC 7591, RFC 7592, OpenID Connect Registration, FAPI 2.0)."""

from __future__ import annotations

import json
import re
import secrets
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID, uuid4

import pytest
from joserfc.jwk import OKPKey
from sqlalchemy import select, update

from portal import config, db
from portal.companies import key_source, registration
from portal.companies import queries as companies
from portal.companies import services as registering
from portal.companies.jobs import fetch_keys
from portal.companies.models import Client, Company, InitialAccessToken, Staff
from portal.consent import services as consent
from portal.consent.models import Grant
from portal.egress import client as outbound
from portal.oauth import registration as endpoint
from portal.sync import jobs
from tests.oauth.key_server import KeyServer, drip, reply
from tests.oauth.rp import RelyingParty, ec_key, metadata, signed
from tests.sync.cast import allow
from tests.timing import somebody_waits, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from flask.testing import FlaskClient
    from joserfc.jwk import ECKey

    from portal.config import Settings
    from tests.oauth.conftest import Person
    from tests.oauth.rp import Answer

DOCS = Path(__file__).parents[2] / "docs" / "companies" / "registration.md"
REDIRECT_URI = "https://app.linden.example/callback"
CIBA = "urn:openid:params:grant-type:ciba"
SECONDS = "portal.companies.key_source._SECONDS"


@dataclass
class Program:
    """A company's program that registers clients; `token` is its initial access token."""

    http: FlaskClient
    settings: Settings
    company_id: UUID
    made_by: UUID
    token: str = field(repr=False)

    def document(self, key: ECKey | None = None, **changes: Any) -> dict[str, Any]:  # noqa: ANN401 - any member
        described = metadata(key or ec_key(), [REDIRECT_URI]) | changes
        return {name: value for name, value in described.items() if value is not None}

    def post(self, body: object, *, token: str | None = None, **options: Any) -> Answer:  # noqa: ANN401 - Werkzeug's own
        headers = {"Authorization": f"Bearer {token or self.token}"}
        given = {"headers": headers, "content_type": "application/json"} | options
        data = body if isinstance(body, bytes) else json.dumps(body)
        return cast("Answer", self.http.post(endpoint.PATH, data=data, **given))

    def manage(self, method: str, made: dict[str, Any], body: object = None, *, token: str | None = None) -> Answer:
        headers = {"Authorization": f"Bearer {token or made['registration_access_token']}"}
        data = None if body is None else json.dumps(body)
        path = made["registration_client_uri"].removeprefix(self.settings.url)
        return cast("Answer", self.http.open(path, method=method, data=data, headers=headers,
                                             content_type="application/json" if data else None))  # fmt: skip

    def made(self, **changes: Any) -> dict[str, Any]:  # noqa: ANN401 - any member
        answer = self.post(self.document(**changes))
        assert answer.status_code == 201, answer.text
        return cast("dict[str, Any]", answer.json)

    def uses_left(self) -> int:
        with db.transaction(self.settings.database_url) as session:
            row = session.get_one(InitialAccessToken, registration.hash_of(self.token))
            return row.uses_left


@pytest.fixture
def program(http: FlaskClient, settings: Settings) -> Program:
    return make_program(http, settings)


def make_program(http: FlaskClient, settings: Settings, *, uses: int = 20, environment: str = "test") -> Program:
    person, now = uuid4(), db.now()
    with db.transaction(settings.database_url) as session:
        company = registering.register_company(
            session, legal_name="Linden Books Limited", trading_name=f"Linden {secrets.token_hex(6)}",
            registration_number="IE 1", country="IE", contact_email="privacy@linden.example", owner=person,
            privacy_url="https://linden.example/privacy", verified=environment == "live", now=now,
        )  # fmt: skip
        token = registration.make_token(
            session, company_id=company.company_id, made_by=person, name="Deployment", environment=environment,
            uses=uses, days=1, now=now,
        )  # fmt: skip
    return Program(http, settings, company.company_id, person, token)


@pytest.fixture
def server() -> Iterator[KeyServer]:
    made = KeyServer({"keys": metadata(ec_key(), [])["jwks"]["keys"]})
    allow(made.pair)
    yield made
    made.close()


def clients_of(program: Program) -> list[companies.ClientFacts]:
    with db.transaction(program.settings.database_url) as session:
        return companies.clients_of(session, company_id=program.company_id)


# RFC 7591 section 3: the client registration endpoint.


def test_registration_answers_with_all_that_is_registered_and_no_secret(program: Program) -> None:
    answer = program.post(program.document(contacts=["dev@linden.example"], client_uri="https://linden.example/"))
    assert answer.status_code == 201
    assert answer.headers["Cache-Control"] == "no-store"
    made = answer.json
    assert made["client_id"].startswith("test_")
    assert made["registration_access_token"].startswith("ucmrg_")
    assert made["registration_client_uri"] == f"{program.settings.issuer}/oauth/register/{made['client_id']}"
    assert abs(made["client_id_issued_at"] - db.now().timestamp()) < 60
    expected = {
        "client_name": "Test app", "redirect_uris": [REDIRECT_URI], "response_types": ["code"],
        "grant_types": ["authorization_code", "refresh_token", "client_credentials"],
        "token_endpoint_auth_method": "private_key_jwt", "subject_type": "pairwise",
        "require_pushed_authorization_requests": True, "dpop_bound_access_tokens": True,
        "contacts": ["dev@linden.example"], "client_uri": "https://linden.example/",
        "id_token_signed_response_alg": "ES256",
    }  # fmt: skip
    assert {name: made[name] for name in expected} == expected
    assert {key["kid"] for key in made["jwks"]["keys"]} == {"s1", "e1"}
    assert not [name for name in made if "secret" in name]


def test_a_registered_client_signs_in_at_once(program: Program) -> None:
    key = ec_key()
    made = program.post(program.document(key)).json
    rp = RelyingParty(program.http, program.settings.issuer, made["client_id"], REDIRECT_URI, "", key)
    assert rp.own_token().startswith("ucmat_")


@pytest.mark.parametrize(("registered", "status"), [("ES256", 200), ("PS256", 401), ("Ed25519", 401)])
def test_a_client_signs_in_by_the_algorithm_it_registered(program: Program, registered: str, status: int) -> None:
    # OpenID Connect Registration section 2, token_endpoint_auth_signing_alg.
    key = ec_key()
    made = program.post(program.document(key, token_endpoint_auth_signing_alg=registered)).json
    rp = RelyingParty(program.http, program.settings.issuer, made["client_id"], REDIRECT_URI, "", key)
    assert rp.token(grant_type="client_credentials", scope="people:read").status_code == status


def test_a_live_token_registers_live_clients(http: FlaskClient, settings: Settings) -> None:
    assert make_program(http, settings, environment="live").made()["client_id"].startswith("live_")


def test_metadata_nobody_understands_are_ignored(program: Program) -> None:
    made = program.made(software_id="x", tls_client_auth_subject_dn="CN=x", client_id="mine", client_secret="mine",
                        **{"client_name#ja": "x", "invented": {"deep": [1]}})  # fmt: skip
    assert made["client_id"] != "mine"
    assert not {"software_id", "invented", "client_secret"} & made.keys()


def test_members_that_are_null_count_as_left_out(program: Program) -> None:
    assert program.post(metadata(ec_key(), [REDIRECT_URI]) | {"logo_uri": None, "jwks_uri": None}).status_code == 201


GOOD: list[dict[str, Any]] = [
    {"redirect_uris": ["http://localhost:9/cb", "http://127.0.0.1/cb", REDIRECT_URI]},
    {"post_logout_redirect_uris": ["https://app.linden.example/bye", "http://localhost/bye"]},
    {"redirect_uris": None, "grant_types": ["client_credentials"], "response_types": []},
    {"grant_types": [CIBA, "refresh_token"], "redirect_uris": [], "backchannel_token_delivery_mode": "poll"},
    {"grant_types": ["authorization_code", CIBA], "backchannel_token_delivery_mode": "ping",
     "backchannel_client_notification_endpoint": "https://hooks.linden.example/ping"},
    {"userinfo_signed_response_alg": "ES256", "userinfo_encrypted_response_alg": "ECDH-ES+A256KW",
     "userinfo_encrypted_response_enc": "A256GCM", "id_token_encrypted_response_alg": "ECDH-ES+A256KW"},
    {"introspection_signed_response_alg": "ES256", "introspection_encrypted_response_alg": "ECDH-ES+A256KW"},
    {"require_signed_request_object": True, "request_object_signing_alg": "PS256",
     "authorization_signed_response_alg": "ES256", "token_endpoint_auth_signing_alg": "ES256"},
    {"default_max_age": 0, "logo_uri": "https://app.linden.example/l.png", "tos_uri": "https://linden.example/t",
     "policy_uri": "https://linden.example/p", "application_type": "web", "dpop_bound_access_tokens": True},
]  # fmt: skip


@pytest.mark.parametrize("changes", GOOD, ids=lambda changes: next(iter(changes)))
def test_what_is_registered_is_what_is_answered_and_read_again(program: Program, changes: dict[str, Any]) -> None:
    made = program.made(**changes)
    fixed = {"application_type"}
    assert {name: made.get(name) for name in changes if changes[name] is not None and name not in fixed} == {
        name: value for name, value in changes.items() if value is not None and name not in fixed
    }
    assert program.manage("GET", made).json == made


def test_encryption_without_enc_is_a256gcm_and_said_so(program: Program) -> None:
    # OpenID Connect Registration section 2 would mean A128CBC-HS256; RFC 7591 section 3.2.1 lets the server replace it.
    made = program.made(id_token_encrypted_response_alg="ECDH-ES+A256KW")
    assert made["id_token_encrypted_response_enc"] == "A256GCM"


_UNSAFE = [
    "http://www.linden.example/jwks", "https://10.0.0.1/jwks", "https://127.0.0.1/jwks", "https://[::1]/jwks",
    "https://169.254.169.254/jwks", "https://localhost/jwks", "https://2130706433/jwks", "https://0x7f.1/jwks",
    "https://u:p@linden.example/jwks", "https://linden.example:22/jwks", "https://linden.example/jwks#x",
    "ftp://linden.example/jwks", "file:///etc/passwd", "https://linden.example\\@10.0.0.1/", "//linden.example/jwks",
]  # fmt: skip
BAD: list[tuple[str, dict[str, Any], str]] = [
    # Row 22 and 73 of the checklist: FAPI 2.0 section 5.3.2.2-8, more than one host, a secret.
    *(("invalid_redirect_uri", {"redirect_uris": given}, "redirect_uris") for given in (
        None, [], "https://app.linden.example/", ["http://app.linden.example/cb"], [REDIRECT_URI, REDIRECT_URI],
        ["https://app.linden.example/cb#x"], ["https://app.linden.example/*"], ["com.linden:/cb"], [7],
        ["https://u@app.linden.example/cb"], ["javascript:alert(1)"],
        [REDIRECT_URI, "https://www.linden.example/cb"], [REDIRECT_URI, "https://evil.example/cb"],
    )),
    *(("invalid_client_metadata", {"token_endpoint_auth_method": method}, "token_endpoint_auth_method") for method in
      ("client_secret_basic", "client_secret_post", "client_secret_jwt", "none", "tls_client_auth", 1, ["x"])),
    *(("invalid_client_metadata", {"token_endpoint_auth_signing_alg": alg}, "alg") for alg in ("RS256", "none", 5)),
    *(("invalid_client_metadata", {"grant_types": given}, "grant_types") for given in (
        ["implicit"], ["password"], [], "authorization_code", [["authorization_code"]], ["refresh_token"],
        ["authorization_code", "authorization_code"], ["urn:ietf:params:oauth:grant-type:device_code"],
        ["client_credentials", "refresh_token"],
    )),
    *(("invalid_client_metadata", {"response_types": given}, "response_types") for given in
      (["token"], ["code", "id_token"], ["code id_token"], [], "code", ["code", "code"])),
    ("invalid_client_metadata", {"grant_types": ["client_credentials"], "response_types": ["code"]}, "response_types"),
    ("invalid_client_metadata", {"grant_types": [CIBA]}, "delivery_mode"),
    ("invalid_client_metadata", {"backchannel_token_delivery_mode": "poll"}, "delivery_mode"),
    ("invalid_client_metadata", {"grant_types": [CIBA], "backchannel_token_delivery_mode": "push"}, "delivery_mode"),
    ("invalid_client_metadata", {"grant_types": [CIBA], "backchannel_token_delivery_mode": "ping"}, "notification"),
    *(("invalid_client_metadata",
       {"grant_types": [CIBA], "backchannel_token_delivery_mode": "ping",
        "backchannel_client_notification_endpoint": address}, "notification") for address in _UNSAFE),
    *(("invalid_client_metadata", {"jwks": None, "jwks_uri": address}, "jwks_uri") for address in [*_UNSAFE, 7, ""]),
    ("invalid_client_metadata", {"jwks_uri": "https://linden.example/jwks"}, "jwks_uri"),
    ("invalid_client_metadata", {"jwks": None}, "jwks"),
    ("invalid_client_metadata", {"jwks": {"keys": []}}, "jwks"),
    ("invalid_client_metadata", {"jwks": "{}"}, "jwks"),
    ("invalid_client_metadata", {"jwks": {"keys": [ec_key().as_dict(private=True) | {"use": "sig"}]}}, "private key"),
    ("invalid_client_metadata", {"jwks": {"keys": [ec_key().as_dict(private=False) | {"use": "sig"}]}}, "enc"),
    *(("invalid_client_metadata", {name: False}, name) for name in
      ("require_pushed_authorization_requests", "dpop_bound_access_tokens")),
    *(("invalid_client_metadata", {name: "true"}, name) for name in
      ("require_pushed_authorization_requests", "require_signed_request_object")),
    ("invalid_client_metadata", {"tls_client_certificate_bound_access_tokens": True}, "tls_client_certificate"),
    ("invalid_client_metadata", {"backchannel_user_code_parameter": True}, "user_code"),
    ("invalid_client_metadata", {"subject_type": "public"}, "subject_type"),
    ("invalid_client_metadata", {"sector_identifier_uri": "https://linden.example/s"}, "sector_identifier_uri"),
    ("invalid_client_metadata", {"request_uris": ["https://linden.example/r"]}, "request_uris"),
    *(("invalid_client_metadata", {name: "RS256"}, name) for name in (
        "id_token_signed_response_alg", "userinfo_signed_response_alg", "introspection_signed_response_alg",
        "authorization_signed_response_alg", "request_object_signing_alg", "id_token_encrypted_response_alg",
        "request_object_encryption_alg", "authorization_encrypted_response_alg")),
    ("invalid_client_metadata", {"request_object_signing_alg": "none"}, "request_object_signing_alg"),
    ("invalid_client_metadata", {"id_token_encrypted_response_enc": "A256GCM"}, "id_token_encrypted_response_alg"),
    ("invalid_client_metadata", {"userinfo_encrypted_response_alg": "ECDH-ES+A256KW"}, "userinfo_signed"),
    ("invalid_client_metadata", {"id_token_encrypted_response_alg": "ECDH-ES+A256KW",
                                 "id_token_encrypted_response_enc": "A128CBC-HS256"}, "enc"),
    *(("invalid_client_metadata", {"post_logout_redirect_uris": given}, "post_logout") for given in
      (["http://app.linden.example/bye"], ["https://evil.example/bye"], "https://app.linden.example/", [5], [""])),
    *(("invalid_client_metadata", {name: given}, name) for name in ("client_uri", "logo_uri", "tos_uri", "policy_uri")
      for given in ("http://linden.example/", "https://evil.example/", "javascript:alert(1)", 7, "")),
    *(("invalid_client_metadata", {"contacts": given}, "contacts") for given in
      ("dev@linden.example", ["nobody"], [1], ["dev@linden.example\x00"], [f"d{n}@linden.example" for n in range(11)])),
    *(("invalid_client_metadata", {"client_name": given}, "name") for given in
      (None, "", " ", 5, "x" * 81, "a\x00b", "\u202eevil", "\ud800")),
    *(("invalid_client_metadata", {"default_max_age": given}, "default_max_age") for given in
      (-1, "5", True, 1.5, 2**31)),
    ("unapproved_software_statement", {"software_statement": "e30.e30.e30"}, "software_statement"),
    ("invalid_software_statement", {"software_statement": 5}, "software_statement"),
]  # fmt: skip


@pytest.mark.parametrize(("code", "changes", "named"), BAD, ids=lambda part: str(part)[:48])
def test_metadata_that_cannot_be_met_are_refused_and_nothing_is_called(
    monkeypatch: pytest.MonkeyPatch, program: Program, code: str, changes: dict[str, Any], named: str
) -> None:
    called: list[str] = []
    monkeypatch.setattr(outbound.Client, "_ask", lambda *given: called.append(given[2]))
    answer = program.post(program.document(**changes))
    assert (answer.status_code, answer.json["error"]) == (400, code)
    assert named in answer.json["error_description"]
    assert re.fullmatch(r"[ !#-\[\]-~]+", answer.json["error_description"])
    assert called == []
    assert clients_of(program) == []
    assert program.uses_left() == 20


@pytest.mark.parametrize(
    ("body", "options", "status"),
    [
        (b"", {}, 400), (b"{", {}, 400), (b"[]", {}, 400), (b'"x"', {}, 400), (b"null", {}, 400), (b"\xff", {}, 400),
        (b'{"client_name": "a", "client_name": "b"}', {}, 400), (b"[" * 30_000, {}, 400),
        (b'{"default_max_age": ' + b"9" * 5000 + b"}", {}, 400), (b'{"a": "' + b"x" * 66_000 + b'"}', {}, 413),
        (b"{}", {"content_type": "application/x-www-form-urlencoded"}, 400), (b"{}", {"content_type": None}, 400),
        (b"{}", {"query_string": "a=b"}, 400), (b"{}", {}, 400), (b'{"client_name": NaN}', {}, 400),
    ],
    ids=lambda part: str(part)[:24],
)  # fmt: skip
def test_a_body_that_is_no_metadata_is_refused(
    program: Program, body: bytes, options: dict[str, Any], status: int
) -> None:
    answer = program.post(body, **options)
    assert answer.status_code == status
    assert answer.json["error"] in {"invalid_request", "invalid_client_metadata", "invalid_redirect_uri"}
    assert clients_of(program) == []


# RFC 7591 section 1.2 and RFC 6750: the initial access token.


@pytest.mark.parametrize(
    "header",
    ["Bearer", "Bearer ", "Bearer ucmit_unknown", "DPoP {token}", "Basic {token}", "{token}", "Bearer {token} x",
     "Bearer  {token}x", "Bearer ucmit_" + "a" * 500, "Bearer \u00e9"],
)  # fmt: skip
def test_a_token_that_is_none_is_refused_with_a_challenge(program: Program, header: str) -> None:
    given = {"Authorization": header.format(token=program.token)}
    answer = program.post(program.document(), headers=given)
    assert (answer.status_code, answer.json["error"]) == (401, "invalid_token")
    assert answer.headers["WWW-Authenticate"] == 'Bearer error="invalid_token"'


def test_without_a_token_the_challenge_is_bare(program: Program) -> None:
    answer = program.post(program.document(), headers={})
    assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, "Bearer")


def _ended(row: InitialAccessToken) -> None:
    row.revoked_at = db.now()


def _expired(row: InitialAccessToken) -> None:
    row.expires_at = db.now() - timedelta(seconds=1)


def _used_up(row: InitialAccessToken) -> None:
    row.uses_left = 0


@pytest.mark.parametrize("spoil", [_ended, _expired, _used_up])
def test_a_token_that_is_over_is_refused(program: Program, spoil: Callable[[InitialAccessToken], None]) -> None:
    with db.transaction(program.settings.database_url) as session:
        spoil(session.get_one(InitialAccessToken, registration.hash_of(program.token)))
    answer = program.post(program.document())
    assert (answer.status_code, answer.json["error"]) == (401, "invalid_token")
    assert clients_of(program) == []


def test_a_token_goes_with_whoever_made_it_and_with_the_company(http: FlaskClient, settings: Settings) -> None:
    leaver, suspended, demoted = (make_program(http, settings, environment="live") for _ in range(3))
    with db.transaction(settings.database_url) as session:
        session.delete(session.get_one(Staff, (leaver.made_by, leaver.company_id)))
        for program, state in ((suspended, "suspended"), (demoted, "draft")):
            session.execute(update(Company).where(Company.company_id == program.company_id).values(state=state))
    for program in (leaver, suspended, demoted):
        assert program.post(program.document()).status_code == 401
        assert clients_of(program) == []


def test_each_registration_uses_the_token_once(http: FlaskClient, settings: Settings) -> None:
    program = make_program(http, settings, uses=2)
    assert [program.post(program.document()).status_code for _ in range(3)] == [201, 201, 401]
    assert len(clients_of(program)) == 2


def test_of_twelve_at_once_as_many_are_registered_as_the_token_is_good_for(
    http: FlaskClient, settings: Settings
) -> None:
    program = make_program(http, settings, uses=3)
    documents = [program.document() for _ in range(12)]
    with ThreadPoolExecutor(12) as threads:
        answers = list(threads.map(program.post, documents))
    assert sorted(answer.status_code for answer in answers) == [201] * 3 + [401] * 9
    assert len(clients_of(program)) == 3


def test_tokens_are_kept_as_their_hash_only(program: Program) -> None:
    made = program.made()
    with db.transaction(program.settings.database_url) as session:
        rows = [str(row) for table in (InitialAccessToken, Client) for row in session.execute(select(table.__table__))]
    for token in (program.token, made["registration_access_token"]):
        assert not [row for row in rows if token.partition("_")[2] in row]


# RFC 7592: the client configuration endpoint.


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_a_wrong_token_and_an_unknown_client_look_the_same(program: Program, method: str) -> None:
    made, other = program.made(), program.made()
    unknown = made | {"registration_client_uri": program.settings.url + "/oauth/register/test_unknown"}
    nobody = made | {"registration_client_uri": program.settings.url + "/oauth/register/%c3%a9"}
    answers = [
        program.manage(method, made, made, token="ucmrg_wrong"),
        program.manage(method, made, made, token=program.token),
        program.manage(method, made, made, token=other["registration_access_token"]),
        program.manage(method, unknown, made),
        program.manage(method, nobody, made),
    ]
    assert {(answer.status_code, answer.text) for answer in answers} == {(401, answers[0].text)}
    assert {answer.headers["WWW-Authenticate"] for answer in answers} == {'Bearer error="invalid_token"'}
    assert program.manage("GET", made).status_code == 200


def _resent(made: dict[str, Any], **changes: Any) -> dict[str, Any]:  # noqa: ANN401 - any member
    told = {"registration_access_token", "registration_client_uri", "client_id_issued_at"}
    merged = {name: value for name, value in made.items() if name not in told} | changes
    return {name: value for name, value in merged.items() if value is not None}


def test_put_takes_the_place_of_all_there_was(program: Program) -> None:
    made = program.made(contacts=["dev@linden.example"], authorization_signed_response_alg="ES256")
    again = _resent(made, client_name="Renamed", contacts=None, authorization_signed_response_alg=None)
    answer = program.manage("PUT", made, again)
    assert answer.status_code == 200, answer.text
    assert answer.json["client_name"] == "Renamed"
    assert not {"contacts", "authorization_signed_response_alg"} & answer.json.keys()
    assert answer.json["client_id"] == made["client_id"]
    assert program.manage("GET", made).json == answer.json


@pytest.mark.parametrize(
    "changes",
    [{"client_id": None}, {"client_id": "test_other"}, {"client_id": 5}, {"client_secret": "x"},
     {"registration_access_token": "x"}, {"registration_client_uri": "x"}, {"client_secret_expires_at": 0},
     {"client_id_issued_at": 1}, {"redirect_uris": ["http://linden.example/"]}, {"jwks": None},
     {"token_endpoint_auth_method": "client_secret_basic"}],
    ids=lambda changes: str(changes)[:40],
)  # fmt: skip
def test_put_that_says_too_much_or_too_little_changes_nothing(program: Program, changes: dict[str, Any]) -> None:
    made = program.made()
    answer = program.manage("PUT", made, _resent(made) | changes if None not in changes.values() else
                            _resent(made, **changes))  # fmt: skip
    assert answer.status_code == 400
    assert answer.json["error"] in {"invalid_client_metadata", "invalid_redirect_uri"}
    assert program.manage("GET", made).json == made


def test_put_retires_the_keys_that_are_gone(program: Program) -> None:
    old, new = ec_key(), ec_key()
    made = program.post(program.document(old)).json
    rp = RelyingParty(program.http, program.settings.issuer, made["client_id"], REDIRECT_URI, "", old)
    assert rp.own_token()
    kept = [key for key in made["jwks"]["keys"] if key["use"] == "enc"]
    fresh = {**new.as_dict(private=False), "use": "sig", "kid": "s2"}
    answer = program.manage("PUT", made, _resent(made, jwks={"keys": [fresh, *kept]}))
    assert {key["kid"] for key in answer.json["jwks"]["keys"]} == {"s2", "e1"}
    assert rp.token(grant_type="client_credentials", scope="people:read").status_code == 401
    rp.key = new
    assertion = signed({"alg": "ES256", "kid": "s2"}, json.loads(_claims(rp.assertion())), new)
    assert rp.token(grant_type="client_credentials", scope="people:read", client_assertion=assertion).status_code == 200


def _claims(token: str) -> bytes:
    from portal.vault import base64url  # noqa: PLC0415 - only here

    return base64url.decode(token.split(".")[1])


@pytest.mark.parametrize("left", ["sig", "enc"])
def test_the_last_key_of_a_kind_cannot_go(program: Program, left: str) -> None:
    made = program.made()
    keys = [key for key in made["jwks"]["keys"] if key["use"] == left]
    answer = program.manage("PUT", made, _resent(made, jwks={"keys": keys}))
    assert (answer.status_code, answer.json["error"]) == (400, "invalid_client_metadata")
    assert program.manage("GET", made).json == made


def test_a_kid_is_not_given_to_another_key(program: Program) -> None:
    made = program.made()
    other = [{**ec_key().as_dict(private=False), "use": "sig", "kid": "s1"}]
    keys = other + [key for key in made["jwks"]["keys"] if key["use"] == "enc"]
    assert program.manage("PUT", made, _resent(made, jwks={"keys": keys})).status_code == 400
    assert program.manage("GET", made).json == made


def test_delete_ends_the_client_and_its_own_token(program: Program) -> None:
    key = ec_key()
    made = program.post(program.document(key)).json
    rp = RelyingParty(program.http, program.settings.issuer, made["client_id"], REDIRECT_URI, "", key)
    token = rp.own_token()
    answer = program.manage("DELETE", made)
    assert (answer.status_code, answer.text) == (204, "")
    assert program.manage("GET", made).status_code == 401
    assert program.manage("DELETE", made).status_code == 401
    assert rp.token(grant_type="client_credentials", scope="people:read").json["error"] == "invalid_client"
    assert rp.call("/api/v1/people/x", token).status_code == 401


def test_delete_ends_what_people_share_and_they_see_it(rp: RelyingParty, person: Person, settings: Settings) -> None:
    tokens = rp.redeem(rp.code(person.browser)).json
    management = registration.client_token()
    with db.transaction(settings.database_url) as session:
        mine = update(Client).where(Client.client_id == rp.client_id)
        session.execute(mine.values(registration_token_hash=registration.hash_of(management)))
    answer = rp.http.delete(f"/oauth/register/{rp.client_id}", headers={"Authorization": f"Bearer {management}"})
    assert answer.status_code == 204
    assert rp.call("/oauth/userinfo", tokens["access_token"]).status_code == 401
    assert rp.token(grant_type="refresh_token", refresh_token=tokens["refresh_token"]).status_code == 401
    page = person.browser.get("/sharing?state=stopped").text
    assert "Linden" in page
    with db.transaction(settings.database_url) as session:
        assert endpoint.end_grants(session, now=db.now()) == 0


def test_delete_and_somebody_who_stops_sharing_wait_for_each_other_in_no_ring(
    rp: RelyingParty, person: Person, settings: Settings
) -> None:
    given, management = rp.redeem(rp.code(person.browser)).json, registration.client_token()
    with db.transaction(settings.database_url) as session:
        mine = update(Client).where(Client.client_id == rp.client_id)
        session.execute(mine.values(registration_token_hash=registration.hash_of(management)))

    def delete() -> int:
        headers = {"Authorization": f"Bearer {management}"}
        return rp.http.delete(f"/oauth/register/{rp.client_id}", headers=headers).status_code

    with ThreadPoolExecutor(1) as threads, db.transaction(settings.database_url) as session:
        held = Grant.person_id == person.person_id, Grant.grant_id == UUID(given["grant_id"])
        session.execute(select(Grant.version).where(*held).with_for_update())
        deleted = threads.submit(delete)
        until(lambda: somebody_waits(session))
        consent.withdraw(session, person_id=person.person_id, grant_id=UUID(given["grant_id"]), now=db.now())
    assert deleted.result() == 204


# Keys at a jwks_uri (row 73): guarded, and fetched before anything is kept.


def _by_address(program: Program, server: KeyServer, **changes: Any) -> dict[str, Any]:  # noqa: ANN401 - any member
    return program.document(jwks=None, jwks_uri=server.url, **changes)


def test_keys_are_read_from_the_jwks_uri(program: Program, server: KeyServer) -> None:
    answer = program.post(_by_address(program, server))
    assert answer.status_code == 201, answer.text
    assert answer.json["jwks_uri"] == server.url
    assert "jwks" not in answer.json
    with db.transaction(program.settings.database_url) as session:
        kids = {key.kid for key in companies.key_list(session, answer.json["client_id"], now=db.now())}
    assert kids == {"s1", "e1"}
    assert server.asked == 1


def test_keys_for_others_in_the_set_are_passed_over(program: Program, server: KeyServer) -> None:
    # RFC 7517 section 5.
    server.jwks["keys"] += [{"kty": "RSA", "use": "sig", "alg": "RS256", "n": "AQAB", "e": "AQAB"}, {"kty": "oct"}]
    assert program.post(_by_address(program, server)).status_code == 201


def _answers(body: bytes, **given: str) -> Callable[[Any], None]:
    return lambda line: line.sendall(reply(body, **given))


@pytest.mark.parametrize(
    "behave",
    [
        _answers(b"{}"), _answers(b"no json"), _answers(b"\xff"), _answers(b"", status="500 Oops"),
        _answers(b"", status="302 Found", more="Location: http://127.0.0.1:1/\r\n"),
        _answers(b'{"keys":["' + b"x" * 70_000 + b'"]}'), _answers(b'{"keys": [], "keys": []}'),
        _answers(json.dumps({"keys": [ec_key().as_dict(private=True) | {"use": "sig"}]}).encode()),
        _answers(json.dumps({"keys": [ec_key().as_dict(private=False) | {"use": "sig"}]}).encode()),
        lambda line: line.close(), drip,
    ],
    ids=["empty", "no json", "no utf-8", "500", "redirect", "huge", "twice", "private", "no enc", "closed", "slow"],
)  # fmt: skip
def test_a_set_that_cannot_be_read_registers_nothing(
    monkeypatch: pytest.MonkeyPatch, program: Program, server: KeyServer, behave: Callable[[Any], None]
) -> None:
    monkeypatch.setattr(SECONDS, 0.3)
    server.behave = behave
    answer = program.post(_by_address(program, server))
    assert (answer.status_code, answer.json["error"]) == (400, "invalid_client_metadata"), answer.text
    assert clients_of(program) == []
    assert program.uses_left() == 20
    assert server.asked == 1


@pytest.mark.parametrize("answers", [["10.0.0.1"], ["127.0.0.1"], ["169.254.169.254"], ["fd00::1"],
                                     ["::ffff:10.0.0.1"], ["93.184.216.34", "10.0.0.1"], []])  # fmt: skip
def test_a_name_that_leads_inside_is_not_called(
    monkeypatch: pytest.MonkeyPatch, program: Program, answers: list[str]
) -> None:
    # The address that was checked is the one that is called, so a name cannot change its mind in between.
    caller = outbound.Client(resolve=lambda _host, _port: answers)
    sent: list[object] = []
    monkeypatch.setattr(socket.socket, "connect_ex", lambda *given: sent.append(given))
    monkeypatch.setattr(outbound, "shared", lambda _allow: caller)
    answer = program.post(program.document(jwks=None, jwks_uri="https://keys.linden.example/jwks"))
    assert (answer.status_code, answer.json["error"]) == (400, "invalid_client_metadata")
    assert sent == []
    assert clients_of(program) == []


def test_no_transaction_is_open_while_keys_are_read(program: Program, server: KeyServer) -> None:
    seen: list[int] = []
    query = "SELECT count(*) FROM pg_stat_activity WHERE state = 'idle in transaction'"
    good = server.behave

    def look(line: Any) -> None:  # noqa: ANN401 - a socket
        with db.engine(program.settings.database_url).connect() as connection:
            seen.append(int(connection.exec_driver_sql(query).scalar_one()))
        good(line)

    server.behave = look
    assert program.post(_by_address(program, server)).status_code == 201
    assert seen == [0]


@dataclass
class Rotating:
    """A registered client whose keys are at an address."""

    rp: RelyingParty
    server: KeyServer
    settings: Settings

    def rotate(self, kid: str) -> None:
        self.rp.key = ec_key()
        encryption = [key for key in self.server.jwks["keys"] if key["use"] == "enc"]
        self.server.jwks = {"keys": [{**self.rp.key.as_dict(private=False), "use": "sig", "kid": kid}, *encryption]}

    def sign_in(self, kid: str) -> Answer:
        assertion = signed({"alg": "ES256", "kid": kid}, json.loads(_claims(self.rp.assertion())), self.rp.key)
        return self.rp.token(grant_type="client_credentials", scope="people:read", client_assertion=assertion)

    def last_read(self, ago: timedelta) -> None:
        with db.transaction(self.settings.database_url) as session:
            mine = update(Client).where(Client.client_id == self.rp.client_id)
            session.execute(mine.values(keys_fetched_at=db.now() - ago))

    def kids(self) -> set[str]:
        with db.transaction(self.settings.database_url) as session:
            return {key["kid"] for key in companies.keys(session, self.rp.client_id, "sig")}


@pytest.fixture
def rotating(program: Program, server: KeyServer) -> Rotating:
    key = ec_key()
    encryption = {**OKPKey.generate_key("X25519").as_dict(private=False), "use": "enc", "kid": "e1"}
    server.jwks = {"keys": [{**key.as_dict(private=False), "use": "sig", "kid": "s1"}, encryption]}
    made = program.post(_by_address(program, server)).json
    rp = RelyingParty(program.http, program.settings.issuer, made["client_id"], REDIRECT_URI, "", key)
    return Rotating(rp, server, program.settings)


def test_an_unknown_kid_has_the_keys_read_anew_and_the_request_succeeds(rotating: Rotating) -> None:
    assert rotating.sign_in("s1").status_code == 200
    assert rotating.server.asked == 1
    rotating.rotate("s2")
    rotating.last_read(timedelta(minutes=2))
    assert rotating.sign_in("s2").status_code == 200
    assert rotating.server.asked == 2
    assert rotating.kids() == {"s2"}


def test_it_is_read_at_most_once_a_minute(rotating: Rotating) -> None:
    rotating.last_read(timedelta(minutes=2))
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(rotating.sign_in, ["unknown"] * 8))
    assert {answer.status_code for answer in answers} == {401}
    assert {answer.json["error"] for answer in answers} == {"invalid_client"}
    assert rotating.server.asked == 2


def test_a_known_kid_with_a_bad_signature_has_nothing_read(rotating: Rotating) -> None:
    rotating.last_read(timedelta(minutes=2))
    rotating.rp.key = ec_key()
    assert rotating.sign_in("s1").status_code == 401
    assert rotating.server.asked == 1


def test_an_unknown_kid_of_a_client_with_keys_by_value_has_nothing_read(rp: RelyingParty) -> None:
    assertion = signed({"alg": "ES256", "kid": "s9"}, json.loads(_claims(rp.assertion())), rp.key)
    answer = rp.token(grant_type="client_credentials", scope="people:read", client_assertion=assertion)
    assert (answer.status_code, answer.json["error"]) == (401, "invalid_client")


def test_a_server_that_is_down_stops_nobody(rotating: Rotating) -> None:
    rotating.server.behave = lambda line: line.close()
    rotating.last_read(timedelta(minutes=30))
    assert not key_source.refresh(client_id=rotating.rp.client_id, now=db.now())
    assert rotating.sign_in("s1").status_code == 200


def test_keys_older_than_twenty_minutes_are_read_by_a_job(rotating: Rotating) -> None:
    with db.transaction(rotating.settings.database_url) as session:
        assert rotating.rp.client_id not in key_source.due(session, now=db.now())
    rotating.last_read(timedelta(minutes=21))
    with db.transaction(rotating.settings.database_url) as session:
        assert rotating.rp.client_id in key_source.due(session, now=db.now())
    rotating.rotate("s3")
    assert key_source.refresh(client_id=rotating.rp.client_id, now=db.now())
    assert rotating.kids() == {"s3"}
    with db.transaction(rotating.settings.database_url) as session:
        assert rotating.rp.client_id not in key_source.due(session, now=db.now())


def test_a_key_that_comes_back_is_taken_back(rotating: Rotating) -> None:
    # Two copies of a server may differ for a while.
    first = dict(rotating.server.jwks)
    rotating.rotate("s2")
    rotating.last_read(timedelta(hours=1))
    assert key_source.refresh(client_id=rotating.rp.client_id, now=db.now())
    rotating.server.jwks = first
    rotating.last_read(timedelta(hours=1))
    assert key_source.refresh(client_id=rotating.rp.client_id, now=db.now())
    assert rotating.kids() == {"s1"}


def test_a_set_without_a_key_to_encrypt_to_changes_nothing(rotating: Rotating) -> None:
    rotating.server.jwks = {"keys": [{**ec_key().as_dict(private=False), "use": "sig", "kid": "s2"}]}
    rotating.last_read(timedelta(hours=1))
    assert not key_source.refresh(client_id=rotating.rp.client_id, now=db.now())
    assert rotating.kids() == {"s1"}


def test_busy_with_another_set_asks_for_patience(program: Program, server: KeyServer) -> None:
    with key_source._turn(uuid4()):  # noqa: SLF001 - as another registration would
        answer = program.post(_by_address(program, server))
    assert (answer.status_code, answer.json["error"]) == (503, "temporarily_unavailable")
    assert answer.headers["Retry-After"] == "5"
    assert server.asked == 0


@pytest.fixture
def hanging(server: KeyServer, monkeypatch: pytest.MonkeyPatch) -> KeyServer:
    """A company's server that lets others wait, so long that they lose patience at the second time."""
    monkeypatch.setattr(SECONDS, 0.2)
    monkeypatch.setattr(key_source, "_DEBT_SECONDS", 1.5)
    monkeypatch.setattr(key_source, "_rests", {})
    server.behave = drip
    return server


def test_who_names_servers_that_hang_leaves_time_for_others(
    program: Program, hanging: KeyServer, http: FlaskClient, settings: Settings
) -> None:
    hung = [program.post(_by_address(program, hanging)).json["error"] for _ in range(2)]
    assert hung == ["invalid_client_metadata"] * 2
    answer = program.post(_by_address(program, hanging))
    assert (answer.status_code, answer.json["error"]) == (503, "temporarily_unavailable")
    assert "took long" in answer.json["error_description"]
    assert answer.headers["Retry-After"] == "30"
    assert hanging.asked == 2
    hanging.behave = lambda line: line.sendall(reply(json.dumps(hanging.jwks).encode()))
    other = make_program(http, settings)
    assert other.post(_by_address(other, hanging)).status_code == 201


def test_a_client_whose_turn_was_put_off_is_due_still(rotating: Rotating, hanging: KeyServer) -> None:
    company = company_of(rotating)
    key_source._rests[company] = time.monotonic() + 60  # noqa: SLF001 - as its other clients' servers would have it
    rotating.last_read(timedelta(hours=1))
    assert not key_source.refresh(client_id=rotating.rp.client_id, now=db.now())
    with db.transaction(rotating.settings.database_url) as session:
        assert rotating.rp.client_id in key_source.due(session, now=db.now())
    assert hanging.asked == 1


def test_a_company_with_many_clients_does_not_stand_before_others(
    rotating: Rotating, monkeypatch: pytest.MonkeyPatch
) -> None:
    rotating.last_read(timedelta(minutes=21))
    with db.transaction(rotating.settings.database_url) as session:
        found = session.get_one(Client, rotating.rp.client_id)
        crowd = make_program(rotating.rp.http, rotating.settings).company_id
        for _ in range(5):
            session.add(
                Client(
                    client_id=uuid4().hex, company_id=crowd, name="Crowd", environment="test", redirect_uris=[],
                    created_at=db.now(), settings=found.settings, keys_fetched_at=db.now() - timedelta(days=1),
                )
            )  # fmt: skip
        session.flush()
        everybody = key_source.due(session, now=db.now())
        monkeypatch.setattr(key_source, "_DUE_AT_ONCE", everybody.index(rotating.rp.client_id) + 1)
        first = key_source.due(session, now=db.now())
        of_crowd = session.scalars(select(Client.client_id).where(Client.company_id == crowd)).all()
        session.rollback()
    assert len(set(first) & set(of_crowd)) == 1


def company_of(rotating: Rotating) -> UUID:
    with db.transaction(rotating.settings.database_url) as session:
        return session.get_one(Client, rotating.rp.client_id).company_id


# Housekeeping, and the document for engineers.


def test_old_tokens_are_forgotten(program: Program) -> None:
    with db.transaction(program.settings.database_url) as session:
        registration.forget(session, now=db.now() + timedelta(days=7))
        assert session.get(InitialAccessToken, registration.hash_of(program.token))
        registration.forget(session, now=db.now() + timedelta(days=9))
        assert session.get(InitialAccessToken, registration.hash_of(program.token)) is None
        session.rollback()


def test_the_reconciler_rings_for_stale_keys(rotating: Rotating) -> None:
    rotating.last_read(timedelta(minutes=21))
    jobs.tidy(config.current(), now=db.now())
    assert [one for one in _rung(rotating.settings) if rotating.rp.client_id in one]


def _rung(settings: Settings) -> list[str]:
    from portal import queue  # noqa: PLC0415 - only here

    # Not beside the codes people wait for to sign in: a stranger's server may take its time with each.
    return [str(job.args) for job in queue.queue(settings.redis_url, queue.CALLS).get_jobs()]


def test_a_job_that_was_rung_twice_reads_once(rotating: Rotating) -> None:
    rotating.last_read(timedelta(minutes=21))
    fetch_keys(rotating.rp.client_id)
    rotating.last_read(timedelta(minutes=2))
    fetch_keys(rotating.rp.client_id)
    assert rotating.server.asked == 2


def test_the_example_in_the_document_registers_a_client(program: Program) -> None:
    text = DOCS.read_text()
    found = re.search(r"```json\n(\{\n  \"client_name\".*?\n\})\n```", text, re.DOTALL)
    assert found
    document = json.loads(found[1])
    keys = metadata(ec_key(), [])["jwks"]
    assert program.post(document | {"jwks": keys} if "jwks" in document else document).status_code == 201
    curl = re.search(r"^curl .*?$(?:\n  .*$)*", text, re.MULTILINE)
    assert curl
    assert endpoint.PATH in curl[0]
    assert "Authorization: Bearer ucmit_" in curl[0]
    assert "Content-Type: application/json" in curl[0]
