"""Whatever the metadata claims is done, and what they do not claim is not: each value of each list is tried.

Members that need a story of their own are exercised by the tests that `ELSEWHERE` names.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from joserfc.jwk import ECKey, OKPKey, RSAKey

from portal import db
from portal.companies.models import ClientKey
from portal.consumer.catalogue import CATALOGUE
from portal.oauth import metadata
from portal.vault import base64url
from tests.oauth.conftest import make_rp
from tests.oauth.rp import signed
from tests.oauth.test_authentication_request import sign_in

if TYPE_CHECKING:
    from flask.testing import FlaskClient
    from joserfc.jwk import Key

    from portal.config import Settings
    from tests.oauth.conftest import Person
    from tests.oauth.rp import RelyingParty

HERE = Path(__file__).parent
SAID = metadata.authorization_server("http://localhost:8000")
OF_API = metadata.protected_resource("http://localhost:8000")
CLIENT_SCOPES = set(OF_API["scopes_supported"])
KEYS: dict[str, Key] = {
    "ES256": ECKey.generate_key("P-256"),
    "PS256": RSAKey.generate_key(3072),
    "EdDSA": OKPKey.generate_key("Ed25519"),
    "Ed25519": OKPKey.generate_key("Ed25519"),
}
UNCLAIMED: dict[str, Key] = {"RS256": RSAKey.generate_key(2048), "ES384": ECKey.generate_key("P-384")}
ENDPOINTS = {"token": "/oauth/token", "revocation": "/oauth/revoke", "introspection": "/oauth/introspect"}
FORM = {"grant_type": "client_credentials", "token": "unknown"}
# A member whose values need a whole story, or another party: the test files in which every value occurs.
ELSEWHERE = {
    "issuer": "test_metadata.py",
    "protected_resources": "test_metadata.py",
    "authorization_response_iss_parameter_supported": "test_authorize.py",
    "authorization_signing_alg_values_supported": "test_response_modes.py",
    "grant_management_actions_supported": "test_grant_management.py",
    "grant_management_action_required": "test_grant_management.py",
    "backchannel_token_delivery_modes_supported": "test_backchannel.py",
    "backchannel_user_code_parameter_supported": "test_backchannel.py",
    "authorization_details_types_supported": "test_rich_authorization.py",
    "subject_types_supported": "test_pairwise.py",
    "id_token_signing_alg_values_supported": "test_flow.py",
    "id_token_encryption_alg_values_supported": "test_id_token.py",
    "id_token_encryption_enc_values_supported": "test_id_token.py",
    "userinfo_signing_alg_values_supported": "test_userinfo.py",
    "userinfo_encryption_alg_values_supported": "test_userinfo.py",
    "userinfo_encryption_enc_values_supported": "test_userinfo.py",
    "introspection_signing_alg_values_supported": "test_introspection.py",
    "introspection_encryption_alg_values_supported": "test_introspection.py",
    "introspection_encryption_enc_values_supported": "test_introspection.py",
    "require_signed_request_object": "test_request_object.py",
}
SPOKEN_OTHERWISE = {"pairwise", True, False, "query", "revoke"}


@pytest.fixture
def armed(rp: RelyingParty, settings: Settings) -> RelyingParty:
    """A client with a key for every algorithm there is, named like it."""
    with db.transaction(settings.database_url) as session:
        for name, key in (KEYS | UNCLAIMED).items():
            jwk: dict[str, Any] = {**key.as_dict(private=False), "use": "sig", "kid": name}
            session.add(
                ClientKey(
                    client_id=rp.client_id, kid=name, use="sig", jwk=jwk, thumbprint=key.thumbprint(),
                    added_at=db.now(), retired_at=None,
                )
            )  # fmt: skip
    return rp


def assertion(rp: RelyingParty, algorithm: str) -> str:
    """Return a good assertion, signed with `algorithm`."""
    payload = rp.assertion().split(".")[1]
    claims = json.loads(base64url.decode(payload))
    return signed({"alg": algorithm, "kid": algorithm}, claims, (KEYS | UNCLAIMED)[algorithm])


@pytest.mark.parametrize("endpoint", ENDPOINTS)
@pytest.mark.parametrize("algorithm", [*KEYS, *UNCLAIMED])
def test_clients_authenticate_with_what_is_claimed(armed: RelyingParty, endpoint: str, algorithm: str) -> None:
    claimed = algorithm in SAID[f"{endpoint}_endpoint_auth_signing_alg_values_supported"]
    assert SAID[f"{endpoint}_endpoint_auth_methods_supported"] == ["private_key_jwt"]
    form = armed.identified(client_assertion=assertion(armed, algorithm), **FORM)
    answer = armed.post(ENDPOINTS[endpoint], form, DPoP=armed.proof())
    assert answer.status_code == (200 if claimed else 401), answer.text


@pytest.mark.parametrize("algorithm", [*KEYS, *UNCLAIMED])
def test_proofs_are_signed_with_what_is_claimed(rp: RelyingParty, algorithm: str) -> None:
    claimed = algorithm in SAID["dpop_signing_alg_values_supported"]
    assert (algorithm in OF_API["dpop_signing_alg_values_supported"]) is claimed
    proof = rp.proof(key=(KEYS | UNCLAIMED)[algorithm], header={"alg": algorithm})
    answer = rp.token(grant_type="client_credentials", dpop=proof)
    assert answer.status_code == (200 if claimed else 400), answer.text


@pytest.mark.parametrize("algorithm", [*KEYS, *UNCLAIMED])
def test_requests_are_signed_with_what_is_claimed(armed: RelyingParty, algorithm: str) -> None:
    claimed = algorithm in SAID["request_object_signing_alg_values_supported"]
    key = (KEYS | UNCLAIMED)[algorithm]
    request = armed.request_object(key=key, header={"alg": algorithm, "kid": algorithm})
    assert armed.push_object(request).status_code == (201 if claimed else 400)


PUSHED = {
    "response_types_supported": ("response_type", ["token", "code id_token"]),
    "response_modes_supported": ("response_mode", ["fragment", "form_post", "form_post.jwt"]),
    "code_challenge_methods_supported": ("code_challenge_method", ["plain"]),
    "prompt_values_supported": ("prompt", ["create"]),
    "acr_values_supported": ("acr_values", []),
    "ui_locales_supported": ("ui_locales", []),
}
TRIED = [
    (parameter, value, value in SAID[member])
    for member, (parameter, others) in PUSHED.items()
    for value in (*SAID[member], *others)
]


@pytest.mark.parametrize(("parameter", "value", "claimed"), TRIED)
def test_a_request_may_say_what_is_claimed(rp: RelyingParty, parameter: str, value: str, *, claimed: bool) -> None:
    answer = rp.post("/oauth/par", rp.request(**{parameter: value}))
    assert answer.status_code == (201 if claimed else 400), answer.text


@pytest.mark.parametrize("scope", [*SAID["scopes_supported"], "made-up"])
def test_a_scope_is_for_somebody(http: FlaskClient, settings: Settings, scope: str) -> None:
    wished = [(name, "to reach you") for name in ("address.home", "email.main", "phone.mobile")]
    rp = make_rp(http, settings, optional=wished)
    of_client = rp.token(grant_type="client_credentials", scope=scope).status_code == 200
    of_person = rp.post("/oauth/par", rp.request(scope=f"openid {scope}")).status_code == 201
    assert of_client is (scope in CLIENT_SCOPES)
    assert of_person is (scope in set(SAID["scopes_supported"]) - CLIENT_SCOPES)


@pytest.mark.parametrize("grant_type", [*SAID["grant_types_supported"], "password", "implicit"])
def test_a_grant_type_is_known(rp: RelyingParty, grant_type: str) -> None:
    answer = rp.token(grant_type=grant_type)
    unknown = answer.status_code == 400 and answer.json["error"] == "unsupported_grant_type"
    assert unknown is (grant_type not in SAID["grant_types_supported"])


@pytest.mark.parametrize("member", ["request_uri", "claims"])
def test_what_is_not_supported_is_not(rp: RelyingParty, person: Person, member: str) -> None:
    assert SAID[f"{member}_parameter_supported"] is False
    answer = rp.post("/oauth/par", rp.request(**{member: '{"userinfo":{"email":null}}'}))
    if member == "request_uri":
        assert answer.status_code == 400
        return
    # OpenID Connect Core section 5.5: where it is not supported it is passed over.
    given = rp.redeem(rp.code(person.browser, claims='{"userinfo":{"email":null}}')).json
    assert rp.call("/oauth/userinfo", given["access_token"]).json.keys() == {"sub"}


def test_without_a_pushed_request_nothing_begins(rp: RelyingParty, person: Person) -> None:
    assert SAID["require_pushed_authorization_requests"] is True
    assert person.browser.get("/oauth/authorize", query_string=rp.asked()).status_code == 400


def test_every_claim_is_told_by_somebody(rp: RelyingParty, person: Person, settings: Settings) -> None:
    sign_in(settings, person, level=2)
    token = rp.redeem(rp.code(person.browser)).json["id_token"]
    of_token = json.loads(base64url.decode(token.split(".")[1]))
    assert SAID["claim_types_supported"] == ["normal"]
    told = of_token.keys() | {entry.claim for entry in CATALOGUE.values()}
    assert set(SAID["claims_supported"]) <= told


@pytest.mark.parametrize("name", [name for name in SAID if name.endswith("_endpoint")])
def test_an_endpoint_takes_its_method(rp: RelyingParty, name: str) -> None:
    path = urlsplit(SAID[name]).path
    if name in {"authorization_endpoint", "userinfo_endpoint", "end_session_endpoint"}:
        assert rp.get(path).status_code not in {404, 405}
    elif name == "grant_management_endpoint":
        assert rp.get(f"{path}/00000000-0000-7000-8000-000000000000").status_code == 401
    else:
        assert rp.post(path, {}).status_code in {400, 401}


@pytest.mark.parametrize("name", ["service_documentation", "op_policy_uri", "jwks_uri"])
def test_a_page_that_is_named_is_there(rp: RelyingParty, name: str) -> None:
    assert rp.get(urlsplit(SAID[name]).path).status_code == 200


@pytest.mark.parametrize("member", ELSEWHERE)
def test_the_rest_is_told_in_a_story_of_its_own(member: str) -> None:
    told = (HERE / ELSEWHERE[member]).read_text()
    values = SAID[member] if isinstance(SAID[member], list) else [SAID[member]]
    words = [value for value in values if value not in SPOKEN_OTHERWISE and "://" not in str(value)]
    assert [word for word in words if str(word) not in told] == []


def test_no_member_is_left_out() -> None:
    here = Path(__file__).read_text()
    tried = {member for member in SAID if f'"{member}"' in here or member in ELSEWHERE}
    tried |= {
        f"{name}_endpoint_auth_{what}_supported" for name in ENDPOINTS for what in ("methods", "signing_alg_values")
    }
    tried |= {name for name in SAID if name.endswith("_endpoint")}
    tried |= {"request_parameter_supported", "request_uri_parameter_supported", "claims_parameter_supported"}
    assert set(SAID) - tried == set()
