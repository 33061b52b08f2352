"""Asking for approval away from the browser (CIBA Core 1.0): each check, the polls, and the answer once."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlencode

import pytest
from joserfc import jws
from sqlalchemy import func, select, text, update

from portal import db
from portal.companies.models import Purpose
from portal.consent import approvals
from portal.consent import services as consent
from portal.consent.models import ApprovalRequest, Grant
from portal.oauth import tokens
from portal.oauth.models import AccessToken, RefreshToken
from portal.vault import keyring, signing
from tests.oauth import afar as cast_
from tests.oauth.conftest import make_person
from tests.oauth.rp import FORM, ec_key

if TYPE_CHECKING:
    from apiflask import APIFlask
    from flask.testing import FlaskClient

    from portal.config import Settings
    from portal.vault.keyring import Keyring
    from tests.oauth.afar import Afar
    from tests.oauth.conftest import Person
    from tests.oauth.rp import Answer, RelyingParty

PARALLEL = 12
SECOND = timedelta(seconds=1)


@pytest.fixture
def afar(http: FlaskClient, settings: Settings, person: Person) -> Afar:
    return cast_.make(http, settings, person)


@pytest.fixture
def pinged(http: FlaskClient, settings: Settings, person: Person) -> Afar:
    address = "https://client.example/ping"
    return cast_.make(http, settings, person, "ping", backchannel_client_notification_endpoint=address)


def refused(answer: Answer, error: str, status: int = 400) -> None:
    assert answer.status_code == status, answer.text
    assert answer.json["error"] == error
    assert answer.headers["Cache-Control"] == "no-store"


def claims(token: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(jws.extract_compact(token.encode()).payload)
    return found


# --- Asking -------------------------------------------------------------------------------------------------


def test_what_a_client_gets_for_asking(afar: Afar) -> None:
    """CIBA section 7.3."""
    answer = afar.ask(binding_message="W4SCT")
    assert answer.status_code == 200, answer.text
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.json.keys() == {"auth_req_id", "expires_in", "interval"}
    assert (answer.json["expires_in"], answer.json["interval"]) == (600, 5)
    assert len(answer.json["auth_req_id"]) >= 43


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"login_hint": None}, "invalid_request"),
        ({"id_token_hint": "a.b.c"}, "invalid_request"),
        ({"login_hint": None, "login_hint_token": "a.b.c"}, "invalid_request"),
        ({"login_hint": None, "id_token_hint": "a.b.c"}, "invalid_request"),
        ({"login_hint": None, "id_token_hint": "garbage"}, "invalid_request"),
        ({"login_hint": "nobody"}, "unknown_user_id"),
        ({"login_hint": "zoë@example.org"}, "unknown_user_id"),
        ({"login_hint": "n\0body"}, "invalid_request"),
        ({"scope": None}, "invalid_request"),
        ({"scope": "profile"}, "invalid_scope"),
        ({"scope": "openid people:read"}, "invalid_scope"),
        ({"scope": "openid\tprofile"}, "invalid_scope"),
        ({"authorization_details": None}, "invalid_authorization_details"),
        ({"authorization_details": "[]"}, "invalid_authorization_details"),
        ({"authorization_details": '[{"type":"other","purpose":"orders"}]'}, "invalid_authorization_details"),
        ({"binding_message": "x" * 65}, "invalid_binding_message"),
        ({"binding_message": " x"}, "invalid_binding_message"),
        ({"binding_message": "a\nb"}, "invalid_binding_message"),
        ({"binding_message": "a\u202eb"}, "invalid_binding_message"),
        ({"binding_message": "a\u200bb"}, "invalid_binding_message"),
        ({"binding_message": "a\u00a0b"}, "invalid_binding_message"),
        ({"binding_message": "\u3164"}, "invalid_binding_message"),
        ({"binding_message": "\u0301a"}, "invalid_binding_message"),
        ({"binding_message": "a" + "\u0332" * 4}, "invalid_binding_message"),
        ({"binding_message": "\ue000"}, "invalid_binding_message"),
        ({"requested_expiry": "0"}, "invalid_request"),
        ({"requested_expiry": "-5"}, "invalid_request"),
        ({"requested_expiry": "60.5"}, "invalid_request"),
        ({"requested_expiry": "٦٠"}, "invalid_request"),
        ({"requested_expiry": "9" * 40}, "invalid_request"),
        ({"user_code": "1234"}, "invalid_request"),
        ({"request": "a.b.c"}, "request_not_supported"),
        ({"request_uri": "https://client.example/request"}, "invalid_request"),
        ({"grant_management_action": "create"}, "invalid_request"),
        ({"grant_id": "5e4b9d7e-4e1c-7a4c-9c57-1a2b3c4d5e6f"}, "invalid_request"),
        ({"resource": "https://elsewhere.example/"}, "invalid_target"),
        ({"client_assertion": None}, "invalid_client"),
    ],
)
def test_what_is_refused(afar: Afar, changes: dict[str, str | None], error: str) -> None:
    refused(afar.ask(**changes), error, 401 if error == "invalid_client" else 400)
    with db.transaction(afar.settings.database_url) as session:
        mine = select(func.count()).select_from(ApprovalRequest)
        assert session.scalar(mine.where(ApprovalRequest.client_id == afar.rp.client_id)) == 0


@pytest.mark.parametrize("message", ["W4SCT", "Zażółć 42 – £5.00 “now”", "ابجد 7", "訂單 12", "क्षत्रिय", "x" * 64])
def test_words_of_any_language_are_shown_as_they_were_sent(afar: Afar, message: str) -> None:
    asked = afar.asked(binding_message=message)
    assert f"<bdi>{message}</bdi>" in afar.person.browser.get(afar.page(asked)).text


def test_the_words_are_kept_sealed_and_dropped_once_answered(afar: Afar) -> None:
    asked = afar.asked(binding_message="Canary-7781")
    sealed = afar.question(asked).sealed_message
    assert sealed
    assert b"Canary-7781" not in sealed
    afar.answer(asked, "decline")
    assert afar.question(asked).sealed_message is None


@pytest.mark.parametrize(
    ("wish", "seconds"), [("1", 30), ("30", 30), ("120", 120), ("86400", 86400), ("999999999", 86400)]
)
def test_how_long_it_waits_is_the_clients_wish_within_bounds(afar: Afar, wish: str, seconds: int) -> None:
    assert afar.ask(requested_expiry=wish).json["expires_in"] == seconds


@pytest.mark.parametrize(
    "metadata",
    [
        {"grant_types": ["authorization_code"], "backchannel_token_delivery_mode": "poll"},
        {"backchannel_token_delivery_mode": None},
        {"backchannel_token_delivery_mode": "push"},
    ],
)
def test_a_client_that_did_not_register_for_it_may_not_ask(afar: Afar, metadata: dict[str, Any]) -> None:
    cast_.set_metadata(afar.settings, afar.rp.client_id, **metadata)
    refused(afar.ask(), "unauthorized_client")


def test_a_client_that_did_not_register_for_it_cannot_poll(rp: RelyingParty) -> None:
    refused(rp.poll("x"), "unauthorized_client")


@pytest.mark.parametrize("token", [None, "", "two words", "ünï", "x" * 1025, "a=b"])
def test_a_pinged_client_sends_a_bearer_token(pinged: Afar, token: str | None) -> None:
    """CIBA section 7.1, RFC 6750 section 2.1."""
    refused(pinged.ask(client_notification_token=token), "invalid_request")


def test_what_a_ping_will_say_is_kept_wrapped(pinged: Afar) -> None:
    asked = pinged.asked(client_notification_token=cast_.NOTIFICATION)
    with db.transaction(pinged.settings.database_url) as session:
        kept = session.scalar(text("SELECT string_agg(to_jsonb(b)::text, '') FROM backchannel_request b"))
    assert kept
    for secret in (asked, cast_.NOTIFICATION):
        assert secret not in kept
        assert secret.encode().hex() not in kept


def test_a_polling_client_keeps_no_notification_token(afar: Afar) -> None:
    row = afar.row(afar.asked(client_notification_token=cast_.NOTIFICATION))
    assert row.wrapped_notification_token is None
    assert row.sealed_auth_req_id is None


def test_only_a_few_questions_wait_for_one_person(afar: Afar) -> None:
    asked = [afar.asked() for _ in range(3)]
    refused(afar.ask(), "access_denied", 403)
    afar.answer(asked[0], "decline")
    assert afar.ask().status_code == 200


def test_not_more_than_twenty_questions_a_day(afar: Afar) -> None:
    for _ in range(20):
        afar.set(afar.asked(), expires_at=db.now() - SECOND)
    refused(afar.ask(), "access_denied", 403)


def test_who_declines_three_times_in_a_day_is_left_alone(afar: Afar) -> None:
    for _ in range(3):
        afar.answer(afar.asked(), "decline")
    refused(afar.ask(), "access_denied", 403)


def test_questions_that_come_at_once_are_counted_too(app: APIFlask, afar: Afar) -> None:
    forms = [_asking(afar) for _ in range(8)]
    answers = _together(app, afar, "/oauth/bc-authorize", [(form, "") for form in forms])
    assert sorted(answer.status_code for answer in answers) == [200] * 3 + [403] * 5


# --- Whom it is about ---------------------------------------------------------------------------------------


def test_anothers_identifier_means_nobody(http: FlaskClient, settings: Settings, afar: Afar, person: Person) -> None:
    other = cast_.make(http, settings, person)
    assert other.sub != afar.sub
    refused(afar.ask(login_hint=other.sub), "unknown_user_id")


def test_somebody_who_never_proved_their_address_is_nobody(
    app: APIFlask, settings: Settings, keys: Keyring, afar: Afar
) -> None:
    stranger = make_person(app, settings, keys)
    sub = cast_.known(settings, afar.rp.client_id, stranger.person_id)
    with db.transaction(settings.database_url) as session:
        session.execute(text("UPDATE person SET state = 'new' WHERE person_id = :id"), {"id": stranger.person_id})
    refused(afar.ask(login_hint=sub), "unknown_user_id")


def test_an_id_token_of_ours_names_the_person_however_old(afar: Afar) -> None:
    hint = afar.rp.redeem(afar.rp.code(afar.person.browser)).json["id_token"]
    assert afar.rp.ask(id_token_hint=hint).status_code == 200
    old = _id_token(afar, exp=1)
    assert afar.rp.ask(id_token_hint=old).status_code == 200


@pytest.mark.parametrize("changed", [{"iss": "https://elsewhere.example"}, {"aud": "somebody"}, {"auth_time": None}])
def test_an_id_token_for_somebody_else_is_no_hint(afar: Afar, changed: dict[str, Any]) -> None:
    refused(afar.rp.ask(id_token_hint=_id_token(afar, **changed)), "invalid_request")


def test_an_id_token_by_another_key_is_no_hint(afar: Afar) -> None:
    made = jws.serialize_compact(
        {"alg": "ES256", "typ": "JWT"}, json.dumps({"sub": afar.sub}).encode(), ec_key(), algorithms=["ES256"]
    )
    refused(afar.rp.ask(id_token_hint=made), "invalid_request")


def test_an_id_token_of_ours_for_nobody_is_an_unknown_person(afar: Afar) -> None:
    refused(afar.rp.ask(id_token_hint=_id_token(afar, sub="nobody")), "unknown_user_id")


def _id_token(afar: Afar, **changed: Any) -> str:  # noqa: ANN401 - claims of any kind
    now = int(db.now().timestamp())
    claims = {
        "iss": afar.rp.issuer, "sub": afar.sub, "aud": afar.rp.client_id, "iat": now, "exp": now + 60,
        "auth_time": now, "acr": "urn:ucm:acr:1",
    } | changed  # fmt: skip
    with db.transaction(afar.settings.database_url) as session:
        signer = signing.current(session, keyring=keyring.load(afar.settings.keyring_file))
        return signer.sign({name: value for name, value in claims.items() if value is not None}, typ="JWT")


# --- Polling ------------------------------------------------------------------------------------------------


def test_pending_until_answered_and_then_once(afar: Afar) -> None:
    """CIBA sections 10.1.1 and 11."""
    asked = afar.asked(scope="openid profile")
    refused(afar.rp.poll(asked), "authorization_pending")
    assert afar.answer(asked).status_code == 303
    answer = afar.rp.poll(asked)
    assert answer.status_code == 200, answer.text
    said = answer.json
    assert (said["token_type"], said["scope"], said["sub"]) == ("DPoP", "openid profile", afar.sub)
    assert said["authorization_details"][0]["attributes"] == ["name.full"]
    assert said["refresh_token"].startswith("ucmrt_")
    identity = claims(said["id_token"])
    assert (identity["sub"], identity["aud"], identity["acr"]) == (afar.sub, afar.rp.client_id, "urn:ucm:acr:1")
    assert identity["auth_time"] <= identity["iat"]
    refused(afar.rp.poll(asked), "invalid_grant")
    # Asking again for an answer that was lost is no theft: what came of it stays.
    assert afar.rp.call("/oauth/userinfo", said["access_token"]).json["name"] == "Aoife Byrne"
    assert afar.rp.token(grant_type="refresh_token", refresh_token=said["refresh_token"]).status_code == 200


def test_the_tokens_are_bound_to_the_polls_key(afar: Afar) -> None:
    """RFC 9449."""
    asked = afar.asked()
    afar.answer(asked)
    said = afar.rp.poll(asked).json
    stolen = afar.rp.proof("/oauth/userinfo", method="GET", token=said["access_token"], key=ec_key())
    assert afar.rp.call("/oauth/userinfo", said["access_token"], dpop=stolen).status_code == 401


def test_a_poll_without_a_proof_is_refused_and_uses_nothing_up(afar: Afar) -> None:
    asked = afar.asked()
    afar.answer(asked)
    form = afar.rp.identified(grant_type="urn:openid:params:grant-type:ciba", auth_req_id=asked)
    refused(afar.rp.post("/oauth/token", form), "invalid_request")
    assert afar.rp.poll(asked).status_code == 200


def test_an_answer_that_was_no(afar: Afar) -> None:
    asked = afar.asked()
    afar.answer(asked, "decline")
    refused(afar.rp.poll(asked), "access_denied")
    assert _tokens_of(afar, asked) == 0


@pytest.mark.parametrize("auth_req_id", ["made-up", "ünï", "x" * 5000])
def test_an_unknown_request(afar: Afar, auth_req_id: str) -> None:
    refused(afar.rp.poll(auth_req_id), "invalid_grant")


@pytest.mark.parametrize("auth_req_id", [None, "", "n\0ne"])
def test_a_poll_that_names_no_request(afar: Afar, auth_req_id: str | None) -> None:
    refused(afar.rp.poll(auth_req_id), "invalid_request")


def test_another_clients_request(http: FlaskClient, settings: Settings, afar: Afar, person: Person) -> None:
    asked = afar.asked()
    afar.answer(asked)
    other = cast_.make(http, settings, person)
    refused(other.rp.poll(asked), "invalid_grant")
    assert afar.rp.poll(asked).status_code == 200


def test_polling_too_soon_makes_the_interval_longer_each_time(afar: Afar) -> None:
    """CIBA section 11: slow_down; `interval` is in seconds."""
    asked = afar.asked()
    refused(afar.rp.poll(asked), "authorization_pending")
    refused(afar.rp.poll(asked), "slow_down")
    refused(afar.rp.poll(asked), "slow_down")
    assert afar.row(asked).interval == 15
    afar.set(asked, polled_at=db.now() - 14 * SECOND)
    refused(afar.rp.poll(asked), "slow_down")
    afar.set(asked, polled_at=db.now() - 20 * SECOND)
    refused(afar.rp.poll(asked), "authorization_pending")
    assert afar.row(asked).interval == 20


def test_an_answer_that_is_there_is_given_however_soon_it_is_asked_for(afar: Afar) -> None:
    asked = afar.asked()
    refused(afar.rp.poll(asked), "authorization_pending")
    afar.answer(asked)
    assert afar.rp.poll(asked).status_code == 200


def test_a_request_whose_time_is_over(afar: Afar) -> None:
    asked = afar.asked()
    afar.set(asked, expires_at=db.now() - SECOND)
    refused(afar.rp.poll(asked), "expired_token")


def test_an_answer_at_the_last_moment_can_still_be_fetched(afar: Afar) -> None:
    asked = afar.asked()
    page = afar.page(asked)
    soon = db.now() + 2 * SECOND
    afar.set(asked, expires_at=soon)
    cast_.press(afar.person.browser, page, "share")
    left = afar.row(asked).expires_at - soon
    assert left > 55 * SECOND
    assert afar.rp.poll(asked).status_code == 200


def test_what_was_approved_and_not_fetched_in_time_is_over(afar: Afar) -> None:
    asked = afar.asked()
    afar.answer(asked)
    afar.set(asked, expires_at=db.now() - SECOND)
    refused(afar.rp.poll(asked), "expired_token")


def test_sharing_that_was_stopped_before_it_was_fetched(afar: Afar) -> None:
    asked = afar.asked()
    afar.answer(asked)
    grant_id = afar.question(asked).grant_id
    assert grant_id
    with db.transaction(afar.settings.database_url) as session:
        consent.withdraw(session, person_id=afar.person.person_id, grant_id=grant_id, now=db.now())
    refused(afar.rp.poll(asked), "invalid_grant")


def test_a_purpose_that_was_taken_back_while_the_person_was_asked(afar: Afar) -> None:
    asked = afar.asked()
    with db.transaction(afar.settings.database_url) as session:
        mine = update(Purpose).where(Purpose.purpose_id == afar.question(asked).purpose_id)
        session.execute(mine.values(withdrawn_at=db.now()))
    refused(afar.rp.poll(asked), "access_denied")
    assert afar.question(asked).state == approvals.CANCELLED
    shown = afar.person.browser.get(afar.page(asked)).text
    assert "This request was taken back" in shown


def test_what_is_shared_already_is_asked_all_the_same(afar: Afar) -> None:
    afar.rp.code(afar.person.browser)
    details = [{"type": "ucm_profile", "purpose": afar.rp.purpose, "attributes": ["name.full"]}]
    asked = afar.asked(authorization_details=json.dumps(details))
    refused(afar.rp.poll(asked), "authorization_pending")
    shown = afar.person.browser.get(afar.page(asked)).text
    assert "asks for your approval</h1>" in shown
    assert 'name="duration"' not in shown
    before = _version(afar)
    afar.answer(asked)
    assert afar.rp.poll(asked).status_code == 200
    assert _version(afar) == before


# --- At the same moment -------------------------------------------------------------------------------------


@pytest.mark.parametrize("_round", range(5))
def test_many_polls_after_the_answer_get_it_once(app: APIFlask, afar: Afar, _round: int) -> None:
    asked = afar.asked()
    afar.answer(asked)
    answers = _together(app, afar, "/oauth/token", [_poll(afar, asked) for _ in range(PARALLEL)])
    assert sorted(answer.status_code for answer in answers) == [200] + [400] * (PARALLEL - 1)
    assert {answer.json["error"] for answer in answers if answer.status_code == 400} == {"invalid_grant"}
    assert _tokens_of(afar, asked) == 2


def test_of_many_polls_before_the_answer_one_is_in_time(app: APIFlask, afar: Afar) -> None:
    asked = afar.asked()
    answers = _together(app, afar, "/oauth/token", [_poll(afar, asked) for _ in range(PARALLEL)])
    errors = sorted(answer.json["error"] for answer in answers)
    assert errors == ["authorization_pending"] + ["slow_down"] * (PARALLEL - 1)
    assert afar.row(asked).interval == 5 + 5 * (PARALLEL - 1)


def _asking(afar: Afar) -> str:
    details = json.dumps([{"type": "ucm_profile", "purpose": afar.rp.purpose}])
    return urlencode(afar.rp.identified(scope="openid", login_hint=afar.sub, authorization_details=details))


def _poll(afar: Afar, auth_req_id: str) -> tuple[str, str]:
    form = afar.rp.identified(grant_type="urn:openid:params:grant-type:ciba", auth_req_id=auth_req_id)
    return urlencode(form), afar.rp.proof()


def _together(app: APIFlask, afar: Afar, path: str, sent: list[tuple[str, str]]) -> list[Answer]:
    start = Barrier(len(sent))
    host = afar.settings.url.partition("//")[2]

    def send(body: str, proof: str) -> Answer:
        client = app.test_client(use_cookies=False)
        start.wait(timeout=10)
        headers = {"DPoP": proof, "Host": host} if proof else {"Host": host}
        return cast("Answer", client.post(path, data=body, content_type=FORM, headers=headers))

    with ThreadPoolExecutor(len(sent)) as pool:
        return list(pool.map(lambda one: send(*one), sent))


def _tokens_of(afar: Afar, auth_req_id: str) -> int:
    """Return how many tokens came of a request, of either kind."""
    origin = tokens.hash_of(auth_req_id)
    with db.transaction(afar.settings.database_url) as session:
        counts = [
            session.scalar(select(func.count()).select_from(table).where(table.code_hash == origin))
            for table in (AccessToken, RefreshToken)
        ]
    return sum(count or 0 for count in counts)


def _version(afar: Afar) -> int:
    with db.transaction(afar.settings.database_url) as session:
        mine = select(Grant.version).where(Grant.person_id == afar.person.person_id)
        return session.scalars(mine).one()
