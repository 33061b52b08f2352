"""A key of one answer, attacked: by a stranger, by a thief of a token and its key, by the company itself."""

from __future__ import annotations

import hashlib
import json
import time
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from joserfc import jwe, jws
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OctKey
from sqlalchemy import select

from portal import db
from portal.oauth import dpop
from portal.oauth.dpop import OneTimeKeyError, Proof
from portal.sync import batches, jobs
from portal.sync.models import BatchPull
from portal.vault import base64url
from tests.sync.test_one_time_key import KINDS, WRAP, ask, names_in, outer, profile, proven

if TYPE_CHECKING:
    from werkzeug.test import TestResponse

    from tests.sync.caller import Caller
    from tests.sync.cast import Firm, Shared, World

PULLS: Final = "/api/v1/pulls"
P256: Final = 0xFFFFFFFF00000001000000000000000000000000FFFFFFFFFFFFFFFFFFFFFFFF
B256: Final = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B
P25519: Final = 2**255 - 19
ORDER_8: Final = (
    39382357235489614581723060781553021112529911719440698176882885853963445705823,
    325606250916557431795983626356110631294008115727848805560023387167927233504,
)
# Every u of small order, on the curve or its twist, in every spelling of 256 bits (RFC 7748 sections 5 and 6.1).
SMALL: Final = [
    u | top << 255
    for u in (0, 1, *ORDER_8, P25519 - 1, P25519, P25519 + 1)
    for top in (0, 1)
]  # fmt: skip


def good() -> dict[str, Any]:
    return dict(KINDS["P-256"]().as_dict(private=False))


def x25519(u: int) -> dict[str, Any]:
    return {"kty": "OKP", "crv": "X25519", "x": base64url.encode(u.to_bytes(32, "little"))}


def p256(x: int, y: int, length: int = 32) -> dict[str, Any]:
    told = {name: base64url.encode(number.to_bytes(length)) for name, number in (("x", x), ("y", y))}
    return {"kty": "EC", "crv": "P-256", **told}


def aliased() -> dict[str, Any]:
    """A point of P-256 whose x also fits 32 bytes with the prime added: two spellings of one key."""
    x = next(x for x in range(2**16) if pow(y2(x), (P256 - 1) // 2, P256) == 1)
    return p256(x + P256, pow(y2(x), (P256 + 1) // 4, P256))


def y2(x: int) -> int:
    return (pow(x, 3, P256) - 3 * x + B256) % P256


def proof_of(epk: object) -> Proof:
    return Proof("thumbprint", b"hash", db.now(), epk)


def batch(caller: Caller, subjects: list[str], epk: object) -> TestResponse:
    return caller.http.post(PULLS, headers=proven(caller, "POST", PULLS, epk), json={"subjects": subjects})


def fetched(caller: Caller, started: TestResponse) -> list[dict[str, Any]]:
    results: list[dict[str, Any]] = caller.get(started.headers["Location"] + "/result").get_json()["results"]
    return results


def refused(answer: TestResponse) -> bool:
    code: str = answer.get_json()["type"].rpartition("/")[2]
    return (answer.status_code, code) == (401, "invalid-dpop-proof")


# --- Keys nobody can be sealed to -------------------------------------------------------------------------


@pytest.mark.parametrize("u", SMALL, ids=hex)
def test_no_point_of_small_order_is_sealed_to(u: int) -> None:
    """Whoever agrees with one agrees on nothing but zeros, and everybody could open it (RFC 7748 section 6.1)."""
    with pytest.raises(OneTimeKeyError):
        dpop.one_time_key(proof_of(x25519(u)))


BAD_POINTS: dict[str, dict[str, Any]] = {
    "at infinity": p256(0, 0),
    "x of another spelling": aliased(),
    "y of another spelling": p256(5, 2**256 - 1),
    "on the twist": p256(next(x for x in range(2**16) if pow(y2(x), (P256 - 1) // 2, P256) != 1), 1),
    "too short": p256(1, 1, length=31),
    "too long": p256(1, 1, length=33),
    "long": p256(1, 1, length=1400),
    "padded": good() | {"x": good()["x"] + "="},
    "not base64url": good() | {"x": "+" * 43},
    "half a character": good() | {"x": "\ud800" * 43},
    "the curve's other name": good() | {"crv": "secp256r1"},
    "Bitcoin's curve": good() | {"crv": "secp256k1"},
    "X448": {"kty": "OKP", "crv": "X448", "x": base64url.encode(b"5" * 56)},
    "P-256 that says X25519": good() | {"crv": "X25519"},
    "no key": good() | {"kty": "oct"},
    "with somebody's password": good() | {"k": "c2VjcmV0"},
}


@pytest.mark.parametrize("bad", BAD_POINTS)
def test_no_other_point_is_sealed_to(bad: str) -> None:
    with pytest.raises(OneTimeKeyError):
        dpop.one_time_key(proof_of(BAD_POINTS[bad]))


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
JSON = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8)
MEMBERS = {
    "kty": st.sampled_from(["EC", "OKP", "RSA"]), "crv": st.sampled_from(["P-256", "X25519"]),
    **dict.fromkeys(("x", "y", "use", "alg", "ucm_group", "kid", "d", "keys"), JSON),
}  # fmt: skip
WITHOUT_MEANING = st.dictionaries(st.sampled_from(sorted({*MEMBERS, "x5u", "jku", "exp"})), JSON, max_size=6)


@given(JSON | st.fixed_dictionaries({}, optional=MEMBERS) | WITHOUT_MEANING.map(lambda more: good() | more))
@example({"kty": "EC"})
def test_whatever_it_is_it_is_sealed_to_or_refused(epk: object) -> None:
    try:
        key = dpop.one_time_key(proof_of(epk))
    except OneTimeKeyError:
        return
    assert key is not None
    assert key["jwk"].keys() <= {"kty", "crv", "x", "y", "kid", "use", "alg", "ucm_group"}


def test_a_proof_says_nothing_of_it_where_it_is_shown() -> None:
    """Somebody will send the private half one day: it must not stand in a log."""
    key = KINDS["P-256"]().as_dict(private=True)
    assert str(key["d"]) not in repr(proof_of(key))


# --- One place, one request -------------------------------------------------------------------------------


def test_one_that_is_null_is_refused_and_not_left_out(shared: Shared, caller: Caller) -> None:
    """Whoever sends it meant to send a key: an answer that one key opens is less than was asked for."""
    assert refused(ask(caller, shared, None))
    assert refused(batch(caller, [shared.sub], None))


def test_there_is_no_second_place_for_it(shared: Shared, caller: Caller) -> None:
    path, epk = f"/api/v1/people/{shared.sub}", json.dumps(good())
    assert caller.get(f"{path}?epk={epk}").status_code == 422
    assert caller.post(PULLS, json={"subjects": [shared.sub], "epk": good()}).status_code == 422


def test_a_proof_that_names_two_is_refused(shared: Shared, caller: Caller) -> None:
    path = f"/api/v1/people/{shared.sub}"
    claims = {
        "htm": "GET", "htu": caller.issuer + path, "iat": int(time.time()), "jti": uuid4().hex,
        "ath": base64url.encode(hashlib.sha256(caller.token.encode()).digest()),
    }  # fmt: skip
    twice = json.dumps(claims)[:-1] + f', "epk": {json.dumps(good())}, "epk": {json.dumps(good())}}}'
    header = {"typ": "dpop+jwt", "alg": "ES256", "jwk": caller.key.as_dict(private=False)}
    proof = jws.serialize_compact(header, twice, caller.key, algorithms=["ES256"])
    assert refused(caller.http.get(path, headers={"Authorization": f"DPoP {caller.token}", "DPoP": proof}))


def test_one_without_end_is_refused(shared: Shared, caller: Caller) -> None:
    assert ask(caller, shared, good() | {"x5c": ["a" * 2000]}).status_code == 200
    assert refused(ask(caller, shared, good() | {"x5c": ["a" * 8000]}))


def test_a_proof_with_one_is_good_once(shared: Shared, caller: Caller) -> None:
    path = f"/api/v1/people/{shared.sub}"
    seen = proven(caller, "GET", path, good()), proven(caller, "POST", PULLS, good())
    first = caller.http.get(path, headers=seen[0]), caller.http.post(PULLS, headers=seen[1], json={"subjects": ["a"]})
    again = caller.http.get(path, headers=seen[0]), caller.http.post(PULLS, headers=seen[1], json={"subjects": ["a"]})
    assert [each.status_code for each in first] == [200, 202]
    assert all(refused(each) for each in again)


def test_the_same_key_may_come_again(world: World, firm: Firm, shared: Shared, caller: Caller) -> None:
    """What is kept from one answer to the next is the company's choice; what it opens stays its own."""
    key = KINDS["P-256"]()
    told = [profile(world, ask(caller, shared, key.as_dict(private=False)).text) for _ in range(2)]
    inside = [outer(each["keys"], key)[0] for each in told]
    assert inside[0] != inside[1]
    assert all("name.full#1" in names_in(each, firm.receiver.key) for each in inside)


# --- A thief, and a company that is up to something --------------------------------------------------------


def test_a_thief_of_a_token_and_its_key_reads_nothing(world: World, firm: Firm, shared: Shared, caller: Caller) -> None:
    theirs = KINDS["P-256"]()
    told = profile(world, ask(caller, shared, theirs.as_dict(private=False)).text)
    inside = outer(told["keys"], theirs)[0]
    with pytest.raises(JoseError):
        jwe.decrypt_compact(inside, theirs, algorithms=WRAP)
    # Nor does a thing of the layer they opened open a value.
    guess = OctKey.import_key({"kty": "oct", "k": base64url.encode(hashlib.sha256(inside.encode()).digest())})
    with pytest.raises(JoseError):
        jwe.decrypt_compact(told["attributes"]["name.full"]["value"], guess, algorithms=["dir", "A256GCM"])
    assert names_in(inside, firm.receiver.key)


@pytest.mark.parametrize("kid", ["enc-1", "", "a" * 3000, "../../keys", "\u0000", 5, ["enc-1"], {"a": "b"}, None])
def test_it_has_no_name_of_its_own_choice(
    world: World, firm: Firm, shared: Shared, caller: Caller, kid: object
) -> None:
    """It could be the name of a registered key, and whoever keeps keys by name would take one for the other."""
    key = KINDS["P-256"]()
    told = profile(world, ask(caller, shared, key.as_dict(private=False) | {"kid": kid}).text)
    inside, header = outer(told["keys"], key)
    assert header["kid"] == key.thumbprint()
    assert "name.full#1" in names_in(inside, firm.receiver.key)


def test_it_is_of_no_department(world: World, firm: Firm, shared: Shared, caller: Caller) -> None:
    key = KINDS["P-256"]()
    told = profile(world, ask(caller, shared, key.as_dict(private=False) | {"ucm_group": "billing"}).text)
    assert "group_keys" not in told
    assert "name.full#1" in names_in(outer(told["keys"], key)[0], firm.receiver.key)


def test_each_layer_says_what_is_in_it(world: World, firm: Firm, shared: Shared, caller: Caller) -> None:
    """Nobody takes the JWE inside for a key set, or the key set for a JWE (RFC 7516 section 4.1.12)."""
    key = KINDS["P-256"]()
    told = profile(world, ask(caller, shared, key.as_dict(private=False)).text)
    inside, header = outer(told["keys"], key)
    within = jwe.decrypt_compact(inside, firm.receiver.key, algorithms=WRAP)
    assert (header["cty"], within.headers()["cty"]) == ("jose", "jwk-set+json")
    assert {header["alg"], within.headers()["alg"]} == {"ECDH-ES+A256KW"}
    assert header["epk"] != within.headers()["epk"]
    assert not {"zip", "crit", "jku", "x5u"} & (header.keys() | within.headers().keys())


def test_one_answer_for_good_is_sealed_to_it_too(world: World, firm: Firm, caller: Caller) -> None:
    once = world.share(world.person(), firm, mode="once")
    key = KINDS["P-256"]()
    told = profile(world, ask(caller, once, key.as_dict(private=False)).text)
    assert outer(told["keys"], key)[1]["kid"] == key.thumbprint()


# --- Many people ------------------------------------------------------------------------------------------


def test_every_answer_of_a_batch_is_sealed_to_it_whoever_works_on_it(
    world: World, firm: Firm, shared: Shared, caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that stops leaves the rest to another one, which knows the key from the table alone."""
    monkeypatch.setattr(batches, "_AT_ONCE", 1)
    key, more = KINDS["X25519"](), [world.share(world.person(), firm) for _ in range(2)]
    started = batch(caller, [shared.sub, "nobody", *(each.sub for each in more)], key.as_dict(private=False))
    pull_id = started.get_json()["id"]
    jobs.run_pull(pull_id, ends=time.monotonic() + 0.001)
    jobs.run_pull(pull_id)
    results = fetched(caller, started)
    assert [each.get("problem") for each in results] == [None, "not-found", None, None]
    for each in (each for each in results if "message" in each):
        inside, header = outer(profile(world, each["message"])["keys"], key)
        assert header["kid"] == key.thumbprint()
        assert "name.full#1" in names_in(inside, firm.receiver.key)


def test_whoever_fetches_cannot_choose_another(world: World, shared: Shared, caller: Caller) -> None:
    """Else whoever steals a token would unseal, or seal to themselves, what somebody else asked for."""
    key, other = KINDS["P-256"](), good()
    started = batch(caller, [shared.sub], key.as_dict(private=False))
    jobs.run_pull(started.get_json()["id"])
    path = started.headers["Location"] + "/result"
    for headers in (proven(caller, "GET", path, other), caller.headers("GET", path)):
        [told] = caller.http.get(path, headers=headers).get_json()["results"]
        assert outer(profile(world, told["message"])["keys"], key)[1]["kid"] == key.thumbprint()


def test_only_the_public_half_is_kept(world: World, firm: Firm, shared: Shared, caller: Caller) -> None:
    key: ECKey = ECKey.generate_key("P-256", private=True)
    batch(caller, [shared.sub], key.as_dict(private=False) | {"note": "Ada Byrne", "kid": "Ada"})
    mine = select(BatchPull.epk).where(BatchPull.client_id == firm.client_id)
    [kept] = world.transact(lambda session: session.scalars(mine).all())
    assert kept == {
        "kid": key.thumbprint(),
        "jwk": {**key.as_dict(private=False), "kid": key.thumbprint(), "use": "enc", "alg": "ECDH-ES+A256KW"},
    }
