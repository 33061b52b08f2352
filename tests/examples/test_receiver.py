"""The demo company's endpoint: what it takes, what it refuses, and what it says (RFC 8417, RFC 8935)."""

from __future__ import annotations

import base64
import json
import time
from typing import TYPE_CHECKING

import pytest
from joserfc.jwk import ECKey

import receiver
from portal.vault import envelope

if TYPE_CHECKING:
    from pathlib import Path

    from flask.testing import FlaskClient
    from werkzeug.test import TestResponse

    from keys import CompanyKeys
    from store import Store

    from .conftest import HandMadePortal

ADDRESS = "address.home"
NAME = "name.full"


def push(endpoint: FlaskClient, message: str, mimetype: str = "application/secevent+jwt") -> TestResponse:
    return endpoint.post("/events", data=message, content_type=mimetype)


def held(store: Store, name: str) -> object:
    person = store.customer("person-1")
    assert person is not None
    return {detail["name"]: detail["value"] for detail in person["details"]}.get(name)


def test_a_good_message_is_taken_without_a_word_and_kept(
    endpoint: FlaskClient, portal: HandMadePortal, store: Store
) -> None:
    answer = push(endpoint, portal.message({NAME: (1, "Aoife Byrne"), ADDRESS: (3, {"formatted": "1 Main St\nCork"})}))
    assert (answer.status_code, answer.data) == (202, b"")
    assert held(store, NAME) == "Aoife Byrne"
    assert held(store, ADDRESS) == {"formatted": "1 Main St\nCork"}


def test_what_the_portal_itself_seals_is_opened(
    endpoint: FlaskClient, portal: HandMadePortal, store: Store, company: CompanyKeys
) -> None:
    key = company.public_jwks()["keys"][1]
    sealed = envelope.seal({NAME: envelope.Field(7, '"Zoë"')}, kid=key["kid"], jwk=key)
    content = {
        "grant_id": "grant-1", "purpose": "bills", "sequence": 1, "complete": True, "keys": sealed.keys,
        "attributes": {NAME: {"version": 7, "value": sealed.values[NAME]}},
    }  # fmt: skip
    assert push(endpoint, portal.sign(portal.claims(receiver.PROFILE, content))).status_code == 202
    assert held(store, NAME) == "Zoë"


def test_the_same_message_counts_once(endpoint: FlaskClient, portal: HandMadePortal, store: Store) -> None:
    for _ in range(2):
        assert push(endpoint, portal.message({NAME: (1, "Aoife")})).status_code == 202
    assert [row["jti"] for row in store.journal()] == ["message-1"]


def test_a_version_never_goes_backwards(endpoint: FlaskClient, portal: HandMadePortal, store: Store) -> None:
    push(endpoint, portal.message({ADDRESS: (4, "new")}, jti="b", complete=False))
    assert push(endpoint, portal.message({ADDRESS: (3, "old")}, jti="a", complete=False)).status_code == 202
    assert held(store, ADDRESS) == "new"


def test_a_part_leaves_the_rest_alone_and_the_whole_replaces_it(
    endpoint: FlaskClient, portal: HandMadePortal, store: Store
) -> None:
    push(endpoint, portal.message({NAME: (1, "Aoife"), ADDRESS: (1, "Cork")}, jti="a"))
    push(endpoint, portal.message({ADDRESS: (2, "Galway")}, jti="b", complete=False))
    assert held(store, NAME) == "Aoife"
    push(endpoint, portal.message({ADDRESS: (2, "Galway")}, jti="c"))
    assert held(store, NAME) is None


def refusal(answer: TestResponse) -> tuple[int, str]:
    assert answer.mimetype == "application/json"
    return answer.status_code, answer.get_json()["err"]


def test_a_message_for_another_company_is_refused(endpoint: FlaskClient, portal: HandMadePortal, store: Store) -> None:
    claims = portal.claims(receiver.PROFILE, portal.profile({NAME: (1, "Aoife")}), aud="test_other")
    assert refusal(push(endpoint, portal.sign(claims))) == (400, "invalid_audience")
    assert store.customer("person-1") is None


def test_a_message_from_another_issuer_is_refused(endpoint: FlaskClient, portal: HandMadePortal) -> None:
    claims = portal.claims(receiver.PROFILE, portal.profile({NAME: (1, "Aoife")}), iss="http://localhost:9999")
    assert refusal(push(endpoint, portal.sign(claims))) == (400, "invalid_issuer")


def test_a_message_signed_by_another_key_is_refused(endpoint: FlaskClient, portal: HandMadePortal) -> None:
    claims = portal.claims(receiver.PROFILE, portal.profile({NAME: (1, "Aoife")}))
    forged = portal.sign(claims, key=ECKey.generate_key("P-256"))
    assert refusal(push(endpoint, forged)) == (400, "authentication_failed")


def test_a_key_the_portal_does_not_publish_is_refused(endpoint: FlaskClient, portal: HandMadePortal) -> None:
    message = portal.message({NAME: (1, "Aoife")})
    portal.published.clear()
    assert refusal(push(endpoint, message)) == (400, "invalid_key")
    assert portal.looked_up == [portal.key.kid]


@pytest.mark.parametrize("alg", ["none", "HS256", "ES384"])
def test_no_other_algorithm_passes(endpoint: FlaskClient, portal: HandMadePortal, alg: str) -> None:
    _, body, signature = portal.message({NAME: (1, "Aoife")}).split(".")
    header = {"alg": alg, "kid": portal.key.kid, "typ": "secevent+jwt"}
    first = base64.urlsafe_b64encode(json.dumps(header).encode()).rstrip(b"=").decode()
    end = "" if alg == "none" else signature
    assert refusal(push(endpoint, f"{first}.{body}.{end}")) == (400, "invalid_request")


def test_another_type_of_token_is_refused(endpoint: FlaskClient, portal: HandMadePortal) -> None:
    claims = portal.claims(receiver.PROFILE, portal.profile({NAME: (1, "Aoife")}))
    assert refusal(push(endpoint, portal.sign(claims, typ="JWT"))) == (400, "invalid_request")


def test_a_message_from_the_future_is_refused(endpoint: FlaskClient, portal: HandMadePortal) -> None:
    claims = portal.claims(receiver.PROFILE, portal.profile({NAME: (1, "Aoife")}), iat=int(time.time()) + 3600)
    assert refusal(push(endpoint, portal.sign(claims))) == (400, "invalid_request")


def test_one_detail_cannot_pass_as_another(endpoint: FlaskClient, portal: HandMadePortal, store: Store) -> None:
    content = portal.profile({NAME: (1, "Aoife"), ADDRESS: (1, "Cork")})
    content["attributes"][NAME]["value"] = content["attributes"][ADDRESS]["value"]
    answer = push(endpoint, portal.sign(portal.claims(receiver.PROFILE, content)))
    assert refusal(answer) == (400, "invalid_key")
    assert store.customer("person-1") is None


@pytest.mark.parametrize("garbage", ["", "abc", "a.b.c", "é", "." * 50])
def test_garbage_gets_a_clear_answer(endpoint: FlaskClient, garbage: str) -> None:
    assert refusal(push(endpoint, garbage)) == (400, "invalid_request")


def test_another_media_type_gets_a_clear_answer(endpoint: FlaskClient, portal: HandMadePortal) -> None:
    answer = push(endpoint, portal.message({NAME: (1, "Aoife")}), mimetype="application/json")
    assert refusal(answer) == (400, "invalid_request")


def test_the_challenge_is_repeated(endpoint: FlaskClient, portal: HandMadePortal) -> None:
    answer = push(endpoint, portal.sign(portal.claims(receiver.VERIFICATION, {"state": "echo me"})))
    assert (answer.status_code, answer.get_json()) == (200, {"state": "echo me"})


def test_a_pause_keeps_the_details_and_says_so(endpoint: FlaskClient, portal: HandMadePortal, store: Store) -> None:
    push(endpoint, portal.message({NAME: (1, "Aoife")}))
    push(endpoint, portal.consent("paused", 2, [NAME]))
    person = store.customer("person-1")
    assert person is not None
    assert (person["state"], held(store, NAME)) == ("paused", "Aoife")


def test_details_no_longer_shared_are_deleted(endpoint: FlaskClient, portal: HandMadePortal, store: Store) -> None:
    push(endpoint, portal.message({NAME: (1, "Aoife"), ADDRESS: (1, "Cork")}))
    push(endpoint, portal.consent("active", 2, [ADDRESS]))
    assert (held(store, NAME), held(store, ADDRESS)) == (None, "Cork")


def test_after_stopping_nothing_is_held_and_an_older_message_brings_nothing_back(
    endpoint: FlaskClient, portal: HandMadePortal, store: Store
) -> None:
    older = portal.message({NAME: (1, "Aoife")}, jti="older")
    push(endpoint, portal.message({NAME: (1, "Aoife")}))
    push(endpoint, portal.consent("withdrawn", 2, []))
    assert push(endpoint, older).status_code == 202
    person = store.customer("person-1")
    assert person is not None
    assert (person["state"], person["details"]) == ("withdrawn", [])


def test_stopping_leaves_no_trace_of_the_value_in_the_file(
    endpoint: FlaskClient, portal: HandMadePortal, store: Store, tmp_path: Path
) -> None:
    push(endpoint, portal.message({NAME: (1, "Aoife-4711")}))
    assert any(b"Aoife-4711" in file.read_bytes() for file in tmp_path.glob("customers*"))
    push(endpoint, portal.consent("withdrawn", 2, []))
    assert held(store, NAME) is None
    assert not any(b"Aoife-4711" in file.read_bytes() for file in tmp_path.glob("customers*"))


def test_an_older_state_of_consent_does_not_win(endpoint: FlaskClient, portal: HandMadePortal, store: Store) -> None:
    push(endpoint, portal.message({NAME: (1, "Aoife")}))
    push(endpoint, portal.consent("withdrawn", 3, []))
    push(endpoint, portal.consent("paused", 2, [NAME]))
    person = store.customer("person-1")
    assert person is not None
    assert person["state"] == "withdrawn"


def test_sharing_again_after_stopping_counts(endpoint: FlaskClient, portal: HandMadePortal, store: Store) -> None:
    push(endpoint, portal.consent("withdrawn", 2, [], iat=int(time.time()) - 60))
    push(endpoint, portal.message({NAME: (2, "Aoife")}))
    person = store.customer("person-1")
    assert person is not None
    assert (person["state"], held(store, NAME)) == ("active", "Aoife")


def test_one_message_may_tell_the_state_and_the_details(
    endpoint: FlaskClient, portal: HandMadePortal, store: Store
) -> None:
    push(endpoint, portal.consent("withdrawn", 2, []))
    claims = portal.claims(receiver.PROFILE, portal.profile({NAME: (2, "Aoife")}))
    claims["events"][receiver.CONSENT] = {
        "grant_id": "grant-1", "state": "active", "version": 3, "attributes": [NAME],
    }  # fmt: skip
    push(endpoint, portal.sign(claims))
    person = store.customer("person-1")
    assert person is not None
    assert (person["state"], held(store, NAME)) == ("active", "Aoife")
    assert {row["kind"] for row in store.journal()} == {"consent", "consent profile"}


def test_an_event_nobody_knows_is_refused(endpoint: FlaskClient, portal: HandMadePortal) -> None:
    assert refusal(push(endpoint, portal.sign(portal.claims("urn:other", {})))) == (400, "invalid_request")


@pytest.mark.parametrize("promise", [None, "soon", 1.5])
def test_a_message_that_does_not_promise_to_be_in_the_log_is_refused(
    endpoint: FlaskClient, portal: HandMadePortal, store: Store, promise: object
) -> None:
    claims = portal.claims(receiver.PROFILE, portal.profile({NAME: (1, "Aoife")}), logged_by=promise)
    assert refusal(push(endpoint, portal.sign(claims))) == (400, "invalid_request")
    assert store.journal() == []
