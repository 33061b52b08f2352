"""A key of one answer: what is sealed to the registered keys is sealed to it once more, and both are needed."""

from __future__ import annotations

import hashlib
import json
import time
from typing import TYPE_CHECKING, Any, cast
from uuid import uuid4

import pytest
from joserfc import jwe, jws
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, KeySet, OctKey, OKPKey, RSAKey
from sqlalchemy import update

from portal.companies.models import ClientKey, Purpose
from portal.sync import jobs, messages
from portal.vault import base64url
from tests.sync.test_keys_api import add, prove, wait

if TYPE_CHECKING:
    from collections.abc import Callable

    from joserfc.jwk import KeySetSerialization
    from werkzeug.test import TestResponse

    from tests.sync.caller import Caller
    from tests.sync.cast import Firm, Shared, World

WRAP = ["ECDH-ES+A256KW", "A256GCM"]
KINDS: dict[str, Callable[[], ECKey | OKPKey]] = {
    "P-256": lambda: ECKey.generate_key("P-256", private=True),
    "X25519": lambda: OKPKey.generate_key("X25519", private=True),
}


def proven(caller: Caller, method: str, path: str, epk: object) -> dict[str, str]:
    header = {"typ": "dpop+jwt", "alg": "ES256", "jwk": caller.key.as_dict(private=False)}
    claims = {
        "htm": method, "htu": caller.issuer + path, "iat": int(time.time()), "jti": uuid4().hex,
        "ath": base64url.encode(hashlib.sha256(caller.token.encode()).digest()), "epk": epk,
    }  # fmt: skip
    proof = jws.serialize_compact(header, json.dumps(claims), caller.key, algorithms=["ES256"])
    return {"Authorization": f"DPoP {caller.token}", "DPoP": proof}


def ask(caller: Caller, shared: Shared, epk: object, **headers: str) -> TestResponse:
    path = f"/api/v1/people/{shared.sub}"
    return caller.http.get(path, headers=proven(caller, "GET", path, epk) | headers)


def outer(sealed: str, key: ECKey | OKPKey) -> tuple[str, dict[str, Any]]:
    """Return what is inside the layer of the one-time key, and the header of that layer."""
    opened = jwe.decrypt_compact(sealed, key, algorithms=WRAP)
    return (opened.plaintext or b"").decode(), opened.headers()


def profile(world: World, token: str) -> dict[str, Any]:
    """Return the event of details, its signature checked, nothing in it opened."""
    published = KeySet.import_key_set(cast("KeySetSerialization", world.portal_keys()))
    claims = json.loads(jws.deserialize_compact(token, published, algorithms=["ES256"]).payload)
    event: dict[str, Any] = claims["events"][messages.PROFILE]
    return event


def names_in(sealed: str, key: ECKey | OKPKey) -> set[str]:
    opened = jwe.decrypt_compact(sealed, key, algorithms=WRAP).plaintext or b""
    return {each["kid"] for each in json.loads(opened)["keys"]}


@pytest.mark.parametrize("kind", KINDS)
def test_it_takes_both_keys_to_open_an_answer(
    world: World, firm: Firm, shared: Shared, caller: Caller, kind: str
) -> None:
    key = KINDS[kind]()
    answer = ask(caller, shared, key.as_dict(private=False))
    assert answer.status_code == 200, answer.text
    told = profile(world, answer.text)
    inside, header = outer(told["keys"], key)
    assert (header["kid"], header["cty"]) == (key.thumbprint(), "jose")
    opened = jwe.decrypt_compact(inside, firm.receiver.key, algorithms=WRAP)
    assert opened.headers()["kid"] == firm.receiver.key.kid
    [once] = [each for each in json.loads(opened.plaintext or b"")["keys"] if each["kid"].startswith("name.full")]
    value = jwe.decrypt_compact(
        told["attributes"]["name.full"]["value"], OctKey.import_key(once), algorithms=["dir", "A256GCM"]
    )
    assert json.loads(value.plaintext or b"") == "Ada Byrne"


def test_neither_key_alone_opens_anything(world: World, firm: Firm, shared: Shared, caller: Caller) -> None:
    key = KINDS["P-256"]()
    told = profile(world, ask(caller, shared, key.as_dict(private=False)).text)
    with pytest.raises(JoseError):
        jwe.decrypt_compact(told["keys"], firm.receiver.key, algorithms=WRAP)
    with pytest.raises(JoseError):
        jwe.decrypt_compact(outer(told["keys"], key)[0], key, algorithms=WRAP)


def test_an_answer_to_a_proof_that_names_none_is_as_before(
    world: World, firm: Firm, shared: Shared, caller: Caller
) -> None:
    told = profile(world, caller.get(f"/api/v1/people/{shared.sub}").text)
    assert "name.full#1" in names_in(told["keys"], firm.receiver.key)


def test_all_of_a_batch_is_sealed_to_it(world: World, firm: Firm, shared: Shared, caller: Caller) -> None:
    key, other = KINDS["P-256"](), world.share(world.person(), firm)
    started = caller.http.post(
        "/api/v1/pulls", headers=proven(caller, "POST", "/api/v1/pulls", key.as_dict(private=False)),
        json={"subjects": [shared.sub, other.sub]},
    )  # fmt: skip
    assert started.status_code == 202, started.text
    jobs.run_pull(started.get_json()["id"])
    results = caller.get(started.headers["Location"] + "/result").get_json()["results"]
    assert len(results) == 2
    for each in results:
        inside, header = outer(profile(world, each["message"])["keys"], key)
        assert header["kid"] == key.thumbprint()
        assert "name.full#1" in names_in(inside, firm.receiver.key)


def test_departments_stay_apart(world: World, firm: Firm, shared: Shared, caller: Caller) -> None:
    key, billing = KINDS["X25519"](), add(world, firm, "billing-1", group="billing")
    prove(world, firm, billing)
    wait(world, firm)
    parted = update(Purpose).where(Purpose.purpose_id == firm.purpose_id).values(key_groups={"email.main": "billing"})
    world.transact(lambda session: session.execute(parted))
    told = profile(world, ask(caller, shared, key.as_dict(private=False)).text)
    theirs, header = outer(told["group_keys"]["billing"], key)
    assert header["kid"] == key.thumbprint()
    assert names_in(theirs, billing) == {"email.main#1"}
    with pytest.raises(JoseError):
        jwe.decrypt_compact(theirs, firm.receiver.key, algorithms=WRAP)
    assert "email.main#1" not in names_in(outer(told["keys"], key)[0], firm.receiver.key)


def test_it_stands_for_no_registered_key(world: World, firm: Firm, shared: Shared, caller: Caller) -> None:
    """Or whoever steals a token and its key reads by a key of their own, past the hold of new ones."""
    off = update(ClientKey).where(ClientKey.client_id == firm.client_id, ClientKey.use == "enc")
    world.transact(lambda session: session.execute(off.values(proved_at=None)))
    answer = ask(caller, shared, KINDS["P-256"]().as_dict(private=False))
    assert (answer.status_code, answer.get_json()["type"].rpartition("/")[2]) == (409, "no-encryption-key")


BAD: dict[str, Callable[[], object]] = {
    "private": lambda: KINDS["P-256"]().as_dict(private=True),
    "private X25519": lambda: KINDS["X25519"]().as_dict(private=True),
    "RSA": lambda: RSAKey.generate_key(2048, private=True).as_dict(private=False),
    "symmetric": lambda: OctKey.generate_key(256).as_dict(),
    "another curve": lambda: ECKey.generate_key("P-384", private=True).as_dict(private=False),
    "to sign": lambda: OKPKey.generate_key("Ed25519", private=True).as_dict(private=False),
    "said to sign": lambda: KINDS["P-256"]().as_dict(private=False) | {"use": "sig"},
    "another algorithm": lambda: KINDS["P-256"]().as_dict(private=False) | {"alg": "RSA-OAEP"},
    "no point": lambda: {
        "kty": "EC",
        "crv": "P-256",
        "x": base64url.encode(b"1" * 32),
        "y": base64url.encode(b"2" * 32),
    },
    "small order": lambda: {"kty": "OKP", "crv": "X25519", "x": base64url.encode(bytes(32))},
    "a set": lambda: {"keys": [KINDS["P-256"]().as_dict(private=False)]},
    "a list": list,
    "a text": lambda: "key",
    "a number": lambda: 5,
    "nothing in it": dict,
    "half": lambda: {"kty": "EC", "crv": "P-256"},
    "odd members": lambda: {"kty": ["EC"], "crv": {"P-256": 1}, "x": 1},
}


@pytest.mark.parametrize("bad", BAD)
def test_what_nobody_could_register_is_refused(shared: Shared, caller: Caller, bad: str) -> None:
    epk = BAD[bad]()
    batch = caller.http.post(
        "/api/v1/pulls", headers=proven(caller, "POST", "/api/v1/pulls", epk), json={"subjects": [shared.sub]}
    )
    for answer in (ask(caller, shared, epk), batch):
        assert (answer.status_code, answer.get_json()["type"].rpartition("/")[2]) == (401, "invalid-dpop-proof")
        assert "epk" in answer.get_json()["title"]
        assert "invalid_dpop_proof" in answer.headers["WWW-Authenticate"]


def test_a_key_cannot_be_put_into_somebody_elses_proof(shared: Shared, caller: Caller) -> None:
    path = f"/api/v1/people/{shared.sub}"
    headers = caller.headers("GET", path)
    head, claims, signature = headers["DPoP"].split(".")
    told = json.loads(base64url.decode(claims)) | {"epk": KINDS["P-256"]().as_dict(private=False)}
    headers["DPoP"] = ".".join((head, base64url.encode(json.dumps(told).encode()), signature))
    assert caller.http.get(path, headers=headers).status_code == 401


def test_what_came_by_one_key_is_current_by_the_next_and_by_none(shared: Shared, caller: Caller) -> None:
    first = ask(caller, shared, KINDS["P-256"]().as_dict(private=False))
    held = {"If-None-Match": first.headers["ETag"]}
    assert ask(caller, shared, KINDS["P-256"]().as_dict(private=False), **held).status_code == 304
    assert caller.get(f"/api/v1/people/{shared.sub}", headers=held).status_code == 304


def test_asking_again_by_the_same_idempotency_key_takes_the_same_key(shared: Shared, caller: Caller) -> None:
    keys = [KINDS["P-256"]().as_dict(private=False) for _ in range(2)]

    def post(epk: object) -> TestResponse:
        path = "/api/v1/pulls"
        headers = proven(caller, "POST", path, epk) if epk else caller.headers("POST", path)
        headers["Idempotency-Key"] = "one"
        return caller.http.post("/api/v1/pulls", headers=headers, json={"subjects": [shared.sub]})

    assert [post(key).status_code for key in (keys[0], keys[0], keys[1], None)] == [202, 202, 422, 422]
