"""The API under damage: a problem document, the right status, and nothing written."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import pytest
from joserfc import jws
from joserfc.jwk import ECKey

from portal.ledger import queries as ledger
from portal.vault import base64url
from tests.sync.caller import proof

if TYPE_CHECKING:
    from werkzeug.test import TestResponse

    from tests.bad_input.cast import Cast
    from tests.bad_input.unchanged import State
    from tests.sync.caller import Caller

CANARY = "Quixotrophe"
PULLS = "/api/v1/pulls"
# A proof that was accepted is used up, whatever the answer then is.
USED = {"used_proof"}


def _problem(answer: TestResponse, status: int, *, pointer: str = "") -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.content_type == "application/problem+json"
    assert answer.headers["Cache-Control"] == "no-store"
    body: dict[str, Any] = answer.get_json()
    assert body["status"] == status
    assert body["title"]
    assert body["request_id"] == answer.headers["Request-Id"]
    if pointer:
        assert [error["pointer"] for error in body["errors"]] == [pointer]
        assert all(error["detail"] for error in body["errors"])
    return body


@pytest.mark.parametrize(
    ("body", "status", "pointer"),
    [
        (b"", 400, ""),
        (b"Quixotrophe", 400, ""),
        (b'{"subjects": ["Quixotrophe"', 400, ""),
        (b'{"subjects": ["\xff"]}', 400, ""),
        (b'{"subjects": ["a"], "subjects": ["b"]}', 400, ""),
        (b'{"subjects": ["a"], "attributes": {"a": 1, "a": 2}}', 400, ""),
        (b'{"subjects": [NaN]}', 400, ""),
        (b'{"subjects": -Infinity}', 400, ""),
        (b'{"subjects": [' + b"9" * 5000 + b"]}", 400, ""),
        (b"[" * 50_000 + b"]" * 50_000, 400, ""),
        (b'{"subjects":' * 20_000 + b"1" + b"}" * 20_000, 400, ""),
        (b'"Quixotrophe"', 400, ""),
        (b'{"subjects": ["\\ud800"]}', 422, "/subjects/0"),
        (b'{"subjects": ["\\u0000"]}', 422, "/subjects/0"),
        (b'{"subjects": [1e400]}', 422, "/subjects/0"),
        (b'{"subjects": [99999999999999999999]}', 422, "/subjects/0"),
        (b'{"subjects": [true]}', 422, "/subjects/0"),
        (b'{"subjects": [["Quixotrophe"]]}', 422, "/subjects/0"),
        (b'{"subjects": {"0": "Quixotrophe"}}', 422, "/subjects"),
        (b'{"subjects": null}', 422, "/subjects"),
        (b'{"attributes": ["name.full"]}', 422, "/subjects"),
        (b'{"subjects": ["a"], "attributes": "name.full"}', 422, "/attributes"),
        (b'{"subjects": ["a"], "attributes": ["\\ud800Quixotrophe"]}', 422, "/attributes"),
        (b'{"subjects": ["a"], "attributes": [5]}', 422, "/attributes/0"),
        (b'{"subjects": ["a"], "attributes": []}', 422, "/attributes"),
        (b'{"subjects": ["a"], "Quixotrophe": 1}', 422, "/"),
        (b'{"subjects": [' + b",".join(b'"s%d"' % number for number in range(1001)) + b"]}", 422, "/subjects"),
        (b'{"subjects": ["' + b"a" * 256 + b'"]}', 422, "/subjects/0"),
        (b'{"subjects": ["' + b"a" * 300_000 + b'"]}', 413, ""),
    ],
)  # fmt: skip
def test_damaged_pull_of_many(
    cast: Cast, state: State, caplog: pytest.LogCaptureFixture, *, body: bytes, status: int, pointer: str
) -> None:
    caplog.set_level(logging.DEBUG)
    caller = cast.caller(cast.firm)
    with state.kept(but=USED):
        answer = caller.post(PULLS, data=body, content_type="application/json")
    _problem(answer, status, pointer=pointer)
    assert CANARY not in answer.text + caplog.text


@pytest.mark.parametrize("kind", ["", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data"])
def test_wrong_content_type(cast: Cast, state: State, kind: str) -> None:
    caller = cast.caller(cast.firm)
    with state.kept(but=USED):
        _problem(caller.post(PULLS, data=b'{"subjects": ["a"]}', content_type=kind), 415)


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ("attributes=shoe.size", "/attributes"),
        ("attributes=", "/attributes"),
        ("attributes=name.full%00", "/attributes"),
        ("attributes=%FF", "/attributes"),
        ("attributes=name.full,,email.main", "/attributes"),
        ("fields=name.full", "/"),
        ("%FF=1", "/"),
    ],
)
def test_damaged_query(cast: Cast, state: State, query: str, pointer: str) -> None:
    caller = cast.caller(cast.firm)
    with state.kept(but=USED):
        _problem(caller.get(f"/api/v1/people/{cast.shared.sub}?{query}"), 422, pointer=pointer)


@pytest.mark.parametrize("sub", ["nobody", "a%00b", "%FF", "x" * 300, "%F0%9F%92%A5", "%27%20OR%201=1--", "..%2Fx"])
def test_nobody(cast: Cast, state: State, sub: str) -> None:
    caller = cast.caller(cast.firm)
    path = f"/api/v1/people/{sub}"
    with state.kept(but=USED):
        answer = cast.http.get(path, headers=caller.headers("GET", _decoded(path)))
    _problem(answer, 404)


@pytest.mark.parametrize("tail", ["x", "0", "00000000-0000-0000-0000-000000000000", "%00", "%FF", "x/result"])
def test_no_such_pull(cast: Cast, state: State, tail: str) -> None:
    caller = cast.caller(cast.firm)
    with state.kept(but=USED):
        _problem(cast.http.get(f"{PULLS}/{tail}", headers=caller.headers("GET", f"{PULLS}/{tail}")), 404)


def test_another_companys_person_and_pull_are_nobodys(cast: Cast, state: State) -> None:
    rival = cast.caller(cast.rival)
    with state.kept(but=USED):
        for path in (f"/api/v1/people/{cast.shared.sub}", f"{PULLS}/{cast.pull_id}", f"{PULLS}/{cast.pull_id}/result"):
            _problem(rival.get(path), 404)


def test_refused_pull_leaves_the_denied_disclosure_alone(fresh: Cast, state: State) -> None:
    fresh.world.step("withdraw", fresh.shared)
    caller = fresh.caller(fresh.firm)
    with state.kept(but=USED | {"disclosure"}):
        _problem(caller.get(f"/api/v1/people/{fresh.shared.sub}"), 403)
    (row,) = fresh.world.transact(_denied(fresh))
    assert (row.outcome, row.reason, row.given) == ("denied", "consent-withdrawn", {})


ROUTES = [
    ("GET", "/api/v1/people/{sub}"),
    ("POST", PULLS),
    ("GET", PULLS + "/{pull}"),
    ("GET", PULLS + "/{pull}/result"),
]


@pytest.mark.parametrize(("method", "template"), ROUTES)
@pytest.mark.parametrize("damage", ["nothing", "no proof", "no token", "bearer", "unknown token", "garbage", "twice",
                                    "other key", "other method", "other address", "other token", "stale", "future",
                                    "unsigned", "private key", "NUL", "long"])  # fmt: skip
def test_damaged_credentials(cast: Cast, state: State, method: str, template: str, damage: str) -> None:
    caller = cast.caller(cast.firm)
    path = template.format(sub=cast.shared.sub, pull=cast.pull_id)
    with state.kept():
        headers = _credentials(caller, method, path, damage)
        answer = cast.http.open(
            path, method=method, headers=headers, json=None if method == "GET" else {"subjects": ["a"]}
        )
    body = _problem(answer, 401)
    assert answer.headers["WWW-Authenticate"].startswith("DPoP ")
    assert caller.token not in answer.text
    assert body["type"].rpartition("/")[2] in {"invalid-token", "invalid-dpop-proof"}


def test_replayed_proof(cast: Cast, state: State) -> None:
    caller, path = cast.caller(cast.firm), f"{PULLS}/{cast.pull_id}"
    headers = caller.headers("GET", path)
    assert cast.http.get(path, headers=headers).status_code == 200
    with state.kept():
        _problem(cast.http.get(path, headers=headers), 401)


@pytest.mark.parametrize(("method", "template"), ROUTES)
def test_scope_is_not_enough(cast: Cast, state: State, method: str, template: str) -> None:
    caller = cast.caller(cast.firm, scope="openid")
    path = template.format(sub=cast.shared.sub, pull=cast.pull_id)
    with state.kept(but=USED):
        answer = cast.http.open(path, method=method, headers=caller.headers(method, path))
    _problem(answer, 403)
    assert 'error="insufficient_scope"' in answer.headers["WWW-Authenticate"]


def _denied(cast: Cast) -> Any:  # noqa: ANN401 - what a transaction runs
    def look(session: Any) -> list[Any]:  # noqa: ANN401 - a session
        rows = ledger.of_person(session, person_id=cast.shared.person_id)
        return [row for row in rows if row.channel == "pull"]

    return look


def _decoded(path: str) -> str:
    return unquote(path, errors="replace")


def _credentials(caller: Caller, method: str, path: str, damage: str) -> dict[str, str]:
    sound = caller.headers(method, path)
    url, token = caller.issuer + path, sound["Authorization"]
    other = ECKey.generate_key("P-256", private=True)
    claims = {"htm": method, "htu": url, "jti": "j" * 20, "iat": int(time.time())}
    changed: dict[str, dict[str, str]] = {
        "no proof": {"DPoP": ""},
        "no token": {"Authorization": ""},
        "bearer": {"Authorization": token.replace("DPoP", "Bearer")},
        "unknown token": {"Authorization": "DPoP ucmat_nobody", "DPoP": proof(caller.key, method, url, "ucmat_nobody")},
        "garbage": {"DPoP": "a.b.c"},
        "twice": {"DPoP": sound["DPoP"] + ", " + sound["DPoP"]},
        "other key": {"DPoP": proof(other, method, url, caller.token)},
        "other method": {"DPoP": proof(caller.key, "DELETE", url, caller.token)},
        "other address": {"DPoP": proof(caller.key, method, url + "x", caller.token)},
        "other token": {"DPoP": proof(caller.key, method, url, "ucmat_other")},
        "stale": {"DPoP": _signed(caller.key, claims | {"iat": int(time.time()) - 3600}, caller.token)},
        "future": {"DPoP": _signed(caller.key, claims | {"iat": int(time.time()) + 3600}, caller.token)},
        "unsigned": {"DPoP": sound["DPoP"].rpartition(".")[0] + "."},
        "private key": {"DPoP": _signed(caller.key, claims, caller.token, private=True)},
        "NUL": {"Authorization": token + "%00"},
        "long": {"Authorization": token + "x" * 5000},
    }
    return {} if damage == "nothing" else {name: text for name, text in (sound | changed[damage]).items() if text}


def _signed(key: ECKey, claims: dict[str, Any], token: str, *, private: bool = False) -> str:
    header = {"typ": "dpop+jwt", "alg": "ES256", "jwk": key.as_dict(private=private)}
    whole = claims | {"ath": base64url.encode(hashlib.sha256(token.encode()).digest())}
    return jws.serialize_compact(header, json.dumps(whole), key, algorithms=["ES256"])
