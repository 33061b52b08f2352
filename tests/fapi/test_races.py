"""The same thing used at the same moment: once is once, whatever arrives together, and nothing breaks."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import func, insert, select

from portal import db
from portal.companies.metadata import CIBA
from portal.oauth import tokens
from portal.oauth.models import AccessToken, AuthorizationCode
from tests.fapi import cast as casting
from tests.fapi.cast import REDIRECT_URI
from tests.fapi.lines import Lines, written
from tests.fapi.test_rows_70_to_75_grants import FROM_AFAR, decide
from tests.oauth.rp import VERIFIER, b64, csrf

if TYPE_CHECKING:
    from collections.abc import Iterator

    from portal.config import Settings
    from tests.fapi.cast import Party, Person
    from tests.fapi.server import Server
    from tests.fapi.wire import Wire

TOGETHER, CODES, ROUNDS = 12, 30, 20
PEOPLE_PATH = "/api/v1/people/nobody"
Answers = list[tuple[int, Any]]


@pytest.fixture
def lines(server: Server) -> Iterator[Lines]:
    with Lines(server.port, TOGETHER) as opened:
        yield opened


def statuses(answers: Answers) -> Counter[int]:
    return Counter(status for status, _ in answers)


def errors(answers: Answers) -> set[str]:
    return {body["error"] for status, body in answers if status != 200}


def codes(rp: Party, person: Person, here: Settings, number: int) -> list[tuple[str, str]]:
    """Return codes that are each like one that the person's answer made, with a verifier of their own."""
    made = [(secrets.token_urlsafe(32), secrets.token_urlsafe(33)) for _ in range(number)]
    model = tokens.hash_of(rp.code(person.browser))
    with db.transaction(here.database_url) as session:
        columns = AuthorizationCode.__table__.columns
        row = session.execute(select(*columns).where(AuthorizationCode.code_hash == model)).one()._asdict()
        rows = [row | _own(code, verifier) for code, verifier in made]
        session.execute(insert(AuthorizationCode), rows)
    return made


def _own(code: str, verifier: str) -> dict[str, Any]:
    challenge = b64(hashlib.sha256(verifier.encode()).digest())
    expires_at = db.now() + timedelta(seconds=60)
    return {"code_hash": tokens.hash_of(code), "code_challenge": challenge, "expires_at": expires_at}


def redemption(rp: Party, code: str, verifier: str = VERIFIER, **form: str) -> bytes:
    given = {"grant_type": "authorization_code", "code": code, "code_verifier": verifier, "redirect_uri": REDIRECT_URI}
    return written(rp.wire.port, "POST", "/oauth/token", rp.identified(**given, **form), DPoP=rp.proof())


@pytest.mark.parametrize("turn", range(ROUNDS))
def test_row_39_twelve_redemptions_of_each_of_thirty_codes__rfc6749_4_1_2(
    rp: Party, person: Person, here: Settings, lines: Lines, turn: int
) -> None:
    """One token answer a code, invalid_grant for the rest, and none of the tokens lives on: the code was misused."""
    assert turn < ROUNDS
    made = codes(rp, person, here, CODES)
    prepared = [[redemption(rp, code, verifier) for _ in range(TOGETHER)] for code, verifier in made]
    for requests in prepared:
        answers = lines.together(requests)
        assert statuses(answers) == {200: 1, 400: TOGETHER - 1}, answers
        assert errors(answers) == {"invalid_grant"}
    with db.transaction(here.database_url) as session:
        of_these = AccessToken.code_hash.in_([tokens.hash_of(code) for code, _ in made])
        kept = session.scalar(select(func.count()).select_from(AccessToken).where(of_these))
        living = session.scalar(
            select(func.count()).select_from(AccessToken).where(of_these, AccessToken.revoked_at.is_(None))
        )
    assert (kept, living) == (CODES, 0)


def test_the_same_assertion_at_the_same_moment__rfc7523_3(rp: Party, lines: Lines) -> None:
    for _ in range(5):
        assertion = rp.assertion()
        form = rp.identified(grant_type="client_credentials", client_assertion=assertion)
        answers = lines.together(
            [written(rp.wire.port, "POST", "/oauth/token", form, DPoP=rp.proof()) for _ in range(TOGETHER)]
        )
        assert statuses(answers) == {200: 1, 401: TOGETHER - 1}
        assert errors(answers) == {"invalid_client"}


def test_the_same_proof_at_the_same_moment__rfc9449_11_1(rp: Party, lines: Lines) -> None:
    for _ in range(5):
        proof = rp.proof()
        requests = [
            written(rp.wire.port, "POST", "/oauth/token", rp.identified(grant_type="client_credentials"), DPoP=proof)
            for _ in range(TOGETHER)
        ]
        answers = lines.together(requests)
        assert statuses(answers) == {200: 1, 400: TOGETHER - 1}
        assert errors(answers) == {"invalid_dpop_proof"}


def test_the_same_proof_at_the_api_at_the_same_moment__rfc9449_11_1(rp: Party, lines: Lines) -> None:
    token = rp.own_token()
    proof = rp.proof(PEOPLE_PATH, method="GET", token=token)
    call = written(rp.wire.port, "GET", PEOPLE_PATH, Authorization=f"DPoP {token}", DPoP=proof)
    assert statuses(lines.together([call] * TOGETHER)) == {404: 1, 401: TOGETHER - 1}


def test_the_same_proof_at_userinfo_at_the_same_moment__rfc9449_11_1(rp: Party, person: Person, lines: Lines) -> None:
    token = rp.tokens(person)["access_token"]
    proof = rp.proof("/oauth/userinfo", method="GET", token=token)
    call = written(rp.wire.port, "GET", "/oauth/userinfo", Authorization=f"DPoP {token}", DPoP=proof)
    assert statuses(lines.together([call] * TOGETHER)) == {200: 1, 401: TOGETHER - 1}


def test_one_request_uri_answered_at_the_same_moment__rfc9126_7_3(rp: Party, person: Person, lines: Lines) -> None:
    for _ in range(3):
        uri = rp.push()
        token = csrf(rp.open(person, uri).text)
        form = {"client_id": rp.client_id, "request_uri": uri, "duration": "year", "csrf_token": token}
        cookies = "; ".join(f"{name}={value}" for name, value in (person.wire.cookies or {}).items())
        pressed = [
            written(rp.wire.port, "POST", "/oauth/authorize", form | {"answer": answer}, Cookie=cookies)
            for answer in ("share", "decline") * (TOGETHER // 2)
        ]
        assert statuses(lines.together(pressed)) == {303: 1, 410: TOGETHER - 1}


def test_refreshing_while_the_token_is_taken_back__rfc7009_2_1(rp: Party, person: Person, lines: Lines) -> None:
    """Whatever the order, afterwards nothing of it works."""
    for _ in range(4):
        taken_back(rp, rp.tokens(person)["refresh_token"], lines)


def taken_back(rp: Party, token: str, lines: Lines) -> None:
    refreshes = [refreshing(rp, token) for _ in range(TOGETHER - 1)]
    revocation = written(rp.wire.port, "POST", "/oauth/revoke", rp.identified(token=token))
    answers = lines.together([*refreshes[:5], revocation, *refreshes[5:]])
    assert statuses(answers).keys() <= {200, 400}
    for status, body in answers:
        if status == 200 and "access_token" in body:
            assert rp.userinfo(body["access_token"]).status_code == 401
    assert rp.refresh(token).json["error"] == "invalid_grant"


def test_refreshing_while_the_consent_is_replaced__grant_management_5_2(
    rp: Party, person: Person, lines: Lines
) -> None:
    """What was handed out for the consent as it was does not outlive the answer that replaced it."""
    body = rp.tokens(person)
    uri = rp.push(grant_management_action="replace", grant_id=body["grant_id"])
    screen = rp.open(person, uri).text
    form = {"client_id": rp.client_id, "request_uri": uri, "answer": "share", "csrf_token": csrf(screen)}
    form |= {"duration": "keep"} if 'value="keep"' in screen else {"duration": "year"}
    cookies = "; ".join(f"{name}={value}" for name, value in (person.wire.cookies or {}).items())
    refreshes = [refreshing(rp, body["refresh_token"]) for _ in range(TOGETHER - 1)]
    press = written(rp.wire.port, "POST", "/oauth/authorize", form, Cookie=cookies)
    answers = lines.together([*refreshes[:4], press, *refreshes[4:]])
    assert statuses(answers).keys() <= {200, 303, 400}
    assert statuses(answers)[303] == 1
    for status, said in answers:
        assert status != 200 or rp.userinfo(said["access_token"]).status_code == 401


def refreshing(rp: Party, token: str) -> bytes:
    form = rp.identified(grant_type="refresh_token", refresh_token=token)
    return written(rp.wire.port, "POST", "/oauth/token", form, DPoP=rp.proof())


def test_one_approval_polled_at_the_same_moment__ciba_10_1(
    wire: Wire, here: Settings, person: Person, lines: Lines
) -> None:
    rp = casting.party(wire, here, **FROM_AFAR)
    sub = rp.tokens(person)["sub"]
    request = rp.ask(login_hint=sub).json["auth_req_id"]
    assert statuses(lines.together([poll(rp, request) for _ in range(TOGETHER)])) == {400: TOGETHER}
    decide(person, "share")
    answers = lines.together([poll(rp, request) for _ in range(TOGETHER)])
    assert statuses(answers) == {200: 1, 400: TOGETHER - 1}
    assert errors(answers) == {"invalid_grant"}


def poll(rp: Party, request: str) -> bytes:
    form = rp.identified(grant_type=CIBA, auth_req_id=request)
    return written(rp.wire.port, "POST", "/oauth/token", form, DPoP=rp.proof())


def test_one_signed_request_pushed_at_the_same_moment__fapi2_ms_5_3_1(rp: Party, lines: Lines) -> None:
    once = rp.request_object()
    pushes = [
        written(rp.wire.port, "POST", "/oauth/par", rp.identified(client_id=rp.client_id, request=once))
        for _ in range(TOGETHER)
    ]
    assert statuses(lines.together(pushes)) == {201: 1, 400: TOGETHER - 1}


def test_a_registration_token_for_one_use_at_the_same_moment__rfc7591_3(
    rp: Party, person: Person, here: Settings, lines: Lines
) -> None:
    token = casting.initial_token(here, rp, person, uses=1)
    described = {"client_name": "By a program", "redirect_uris": [REDIRECT_URI], "jwks": {"keys": rp.keys()}}
    body = json.dumps(described).encode()
    about = {"Content-Type": "application/json", "Content-Length": str(len(body))}
    request = written(rp.wire.port, "POST", "/oauth/register", None, Authorization=f"Bearer {token}", **about) + body
    assert statuses(lines.together([request] * TOGETHER)) == {201: 1, 401: TOGETHER - 1}


def test_many_clients_at_once_lose_nothing__rfc6749_3_2(rp: Party, other: Party) -> None:
    def own(party: Party) -> int:
        return party.token(grant_type="client_credentials").status_code

    with ThreadPoolExecutor(TOGETHER) as threads:
        assert set(threads.map(own, [rp, other] * (2 * TOGETHER))) == {200}
