"""Consents and tokens at the same moment: whoever comes first, afterwards only what holds can be used."""

from __future__ import annotations

import random
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import select

from portal import db
from portal.consent.models import Grant
from tests.fapi import cast as casting
from tests.fapi.lines import Lines, written
from tests.fapi.test_races import TOGETHER, poll, redemption, refreshing, statuses
from tests.fapi.test_rows_70_to_75_grants import FROM_AFAR
from tests.oauth.rp import csrf, query

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from portal.config import Settings
    from portal.vault.keyring import Keyring
    from tests.fapi.cast import Party, Person
    from tests.fapi.server import Server
    from tests.fapi.wire import Wire


@pytest.fixture
def lines(server: Server) -> Iterator[Lines]:
    with Lines(server.port, TOGETHER) as opened:
        yield opened


def calling(rp: Party, method: str, path: str, token: str) -> bytes:
    proof = rp.proof(path, method=method, token=token)
    return written(rp.wire.port, method, path, Authorization=f"DPoP {token}", DPoP=proof)


def pressing(rp: Party, person: Person, answer: str = "share") -> bytes:
    """Return the press of a button on a question that has just been opened."""
    uri = rp.push()
    form = {"client_id": rp.client_id, "request_uri": uri, "duration": "year", "answer": answer}
    form["csrf_token"] = csrf(rp.open(person, uri).text)
    return written(rp.wire.port, "POST", "/oauth/authorize", form, Cookie=cookies(person))


def managing(rp: Party, grant_id: str) -> bytes:
    token = rp.token(grant_type="client_credentials", scope="grant_management_revoke").json["access_token"]
    return calling(rp, "DELETE", f"/oauth/grants/{grant_id}", token)


def grants(person: Person, here: Settings) -> Counter[str]:
    with db.transaction(here.database_url) as session:
        return Counter(session.scalars(select(Grant.state).where(Grant.person_id == person.person_id)))


def test_one_use_is_one_use_by_every_door(rp: Party, person: Person, lines: Lines) -> None:
    code = query(rp.press(person, rp.push(scope="openid profile"), duration="once"))["code"]
    body = rp.redeem(code).json
    own = rp.own_token()
    people = f"/api/v1/people/{body['sub']}"
    calls = [calling(rp, "GET", "/oauth/userinfo", body["access_token"]) for _ in range(TOGETHER // 2)]
    calls += [calling(rp, "GET", people, own) for _ in range(TOGETHER // 2)]
    answers = lines.together(calls)
    assert statuses(answers) == {200: 1, 403: TOGETHER - 1}


def test_many_answers_make_one_live_consent(rp: Party, person: Person, here: Settings, lines: Lines) -> None:
    answers = lines.together([pressing(rp, person) for _ in range(TOGETHER)])
    assert statuses(answers).keys() <= {303, 409, 422}
    assert statuses(answers)[303] >= 1
    assert grants(person, here) == {"active": 1}


def test_redeeming_while_the_company_ends_the_consent(rp: Party, person: Person, lines: Lines) -> None:
    for _ in range(4):
        body = rp.tokens(person)
        code = rp.code(person.browser)
        requests = [redemption(rp, code), managing(rp, body["grant_id"]), refreshing(rp, body["refresh_token"])]
        assert_nothing_lives(rp, lines.together(requests))
        assert rp.refresh(body["refresh_token"]).json["error"] == "invalid_grant"
        assert rp.userinfo(body["access_token"]).status_code == 401


def test_one_consent_ended_by_many_at_once(rp: Party, person: Person, here: Settings, lines: Lines) -> None:
    grant_id = rp.tokens(person)["grant_id"]
    answers = lines.together([managing(rp, grant_id) for _ in range(TOGETHER)])
    assert statuses(answers).keys() <= {204, 404}
    assert statuses(answers)[204] >= 1
    assert grants(person, here) == {"ended": 1}


@pytest.mark.parametrize("seed", range(8))
def test_everything_at_once_breaks_nothing(wire: Wire, here: Settings, keys: Keyring, lines: Lines, seed: int) -> None:
    """Twelve acts on one consent, drawn by lot and sent together: each is answered, whatever the others did."""
    rp, person = casting.party(wire, here, **FROM_AFAR), casting.person(wire, here, keys)
    acts = everything(rp, person)
    drawn = random.Random(seed).choices(sorted(acts), k=TOGETHER)  # noqa: S311 - a lot that can be drawn again
    answers = lines.together([acts[name]() for name in drawn])
    assert [(name, said) for name, (status, said) in zip(drawn, answers, strict=True) if status >= 500] == []


def everything(rp: Party, person: Person) -> dict[str, Callable[[], bytes]]:
    body = rp.tokens(person, scope="openid profile")
    access, refresh, own = body["access_token"], body["refresh_token"], rp.own_token()
    asked = rp.ask(login_hint=body["sub"]).json["auth_req_id"]
    stop = f"/sharing/{body['grant_id']}/stop"
    token = csrf(person.wire.get(stop).text)
    return {
        "ask": lambda: pressing(rp, person),
        "decline": lambda: pressing(rp, person, "decline"),
        "end": lambda: managing(rp, body["grant_id"]),
        "look up": lambda: sending(rp, "/oauth/introspect", token=access),
        "poll": lambda: poll(rp, asked),
        "pull": lambda: calling(rp, "GET", f"/api/v1/people/{body['sub']}", own),
        "refresh": lambda: refreshing(rp, refresh),
        "stop": lambda: written(rp.wire.port, "POST", stop, {"csrf_token": token}, Cookie=cookies(person)),
        "take back": lambda: sending(rp, "/oauth/revoke", token=refresh),
        "userinfo": lambda: calling(rp, "GET", "/oauth/userinfo", access),
    }


def sending(rp: Party, path: str, **form: str) -> bytes:
    return written(rp.wire.port, "POST", path, rp.identified(**form))


def cookies(person: Person) -> str:
    return "; ".join(f"{name}={value}" for name, value in (person.wire.cookies or {}).items())


def assert_nothing_lives(rp: Party, answers: list[tuple[int, Any]]) -> None:
    assert statuses(answers).keys() <= {200, 204, 400}
    for status, body in answers:
        assert status != 200 or rp.userinfo(body["access_token"]).status_code == 401
        assert status != 200 or rp.introspect(body["access_token"]).json == {"active": False}
        assert status != 200 or "refresh_token" not in body or rp.refresh(body["refresh_token"]).status_code == 400
