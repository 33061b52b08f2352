"""The envelope to a company: any JOSE library opens it with the company's key, and nobody without it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as trying
from hypothesis import strategies as st
from joserfc import jwe
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, KeySet, OctKey, OKPKey

from portal.vault import base64url, envelope
from portal.vault.envelope import Field, UnusableKeyError

P256 = ECKey.generate_key("P-256")
X25519 = OKPKey.generate_key("X25519")
FIELDS = {
    "name.full": Field(3, '"Máire"'),
    "address.home": Field(7, '{"country":"IE"}'),
    "phone.home": Field(2, "null"),
}
ALGORITHMS = ["ECDH-ES+A256KW", "dir", "A256GCM"]
TEXTS = st.text(st.characters(exclude_categories=["Cs"]))


def seal(key: ECKey | OKPKey, fields: dict[str, Field] | None = None) -> envelope.Envelope:
    jwk = {name: str(value) for name, value in key.as_dict(private=False).items()}
    return envelope.seal(fields or FIELDS, kid="enc-1", jwk=jwk)


def header(compact: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(base64url.decode(compact.partition(".")[0]))
    return found


def one_time_keys(sealed: envelope.Envelope, key: ECKey | OKPKey) -> dict[str, OctKey]:
    opened = jwe.decrypt_compact(sealed.keys, key, algorithms=ALGORITHMS)
    assert opened.plaintext is not None
    return {entry["kid"]: OctKey.import_key(entry) for entry in json.loads(opened.plaintext)["keys"]}


def opened(value: str, key: OctKey) -> str:
    found = jwe.decrypt_compact(value, key, algorithms=ALGORITHMS)
    assert found.plaintext is not None
    return found.plaintext.decode()


@pytest.mark.parametrize("key", [P256, X25519], ids=["P-256", "X25519"])
def test_joserfc_opens_every_field(key: ECKey | OKPKey) -> None:
    sealed = seal(key)
    keys = one_time_keys(sealed, key)
    assert keys.keys() == {"name.full#3", "address.home#7", "phone.home#2"}
    for name, field in FIELDS.items():
        assert opened(sealed.values[name], keys[f"{name}#{field.version}"]) == field.value


@trying(max_examples=50)
@given(st.dictionaries(st.sampled_from(sorted(FIELDS)), TEXTS, min_size=1), st.sampled_from([P256, X25519]))
def test_any_text_comes_back(values: dict[str, str], key: ECKey | OKPKey) -> None:
    sealed = seal(key, {name: Field(1, value) for name, value in values.items()})
    keys = one_time_keys(sealed, key)
    assert {name: opened(sealed.values[name], keys[f"{name}#1"]) for name in values} == values


def test_headers_say_what_the_profile_says() -> None:
    sealed = seal(P256)
    value, keys = header(sealed.values["name.full"]), header(sealed.keys)
    assert value == {"alg": "dir", "enc": "A256GCM", "kid": "name.full#3", "cty": "json"}
    assert keys.pop("epk").keys() == {"kty", "crv", "x", "y"}
    assert keys == {"alg": "ECDH-ES+A256KW", "enc": "A256GCM", "kid": "enc-1", "cty": "jwk-set+json"}


def test_one_fields_key_opens_no_other_field() -> None:
    sealed = seal(P256)
    keys = one_time_keys(sealed, P256)
    with pytest.raises(JoseError):
        opened(sealed.values["name.full"], keys["address.home#7"])


def test_a_relabelled_field_does_not_open() -> None:
    sealed = seal(P256)
    keys = one_time_keys(sealed, P256)
    _, *rest = sealed.values["name.full"].split(".")
    other = sealed.values["address.home"].partition(".")[0]
    with pytest.raises(JoseError):
        opened(".".join([other, *rest]), keys["name.full#3"])


@pytest.mark.parametrize(
    ("key", "stranger"),
    [(P256, ECKey.generate_key("P-256")), (X25519, OKPKey.generate_key("X25519"))],
    ids=["P-256", "X25519"],
)
def test_another_companys_key_opens_nothing(key: ECKey | OKPKey, stranger: ECKey | OKPKey) -> None:
    with pytest.raises(JoseError):
        one_time_keys(seal(key), stranger)


def test_every_message_has_fresh_keys() -> None:
    first, second = (one_time_keys(seal(P256), P256) for _ in range(2))
    texts = [key.as_dict()["k"] for keys in (first, second) for key in keys.values()]
    assert len(set(texts)) == 6


@pytest.mark.parametrize(
    "jwk",
    [
        {},
        {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"},
        {"kty": "EC", "crv": "P-256", "x": P256.as_dict()["x"]},
        {"kty": "EC", "crv": "P-384", "x": "AA", "y": "AA"},
        {"kty": "OKP", "crv": "X25519", "x": "AA"},
        {"kty": "OKP", "crv": "Ed25519", "x": X25519.as_dict()["x"]},
        {"kty": "RSA", "n": "AA", "e": "AQAB"},
        {"kty": "EC", "crv": "P-256", "x": "!!", "y": 7},
    ],
    ids=range(8),
)
def test_an_unusable_key_is_refused(jwk: dict[str, Any]) -> None:
    with pytest.raises(UnusableKeyError):
        envelope.seal(FIELDS, kid="k", jwk=jwk)


def test_a_key_of_small_order_is_refused() -> None:
    with pytest.raises(UnusableKeyError):
        envelope.seal(FIELDS, kid="k", jwk={"kty": "OKP", "crv": "X25519", "x": "A" * 43})


def test_the_plaintext_is_not_in_the_message() -> None:
    sealed = seal(P256, {"name.full": Field(1, "canary-7f3a")})
    assert "canary" not in sealed.keys + sealed.values["name.full"]


def test_a_key_set_is_a_jwk_set() -> None:
    plain = jwe.decrypt_compact(seal(X25519).keys, X25519, algorithms=ALGORITHMS).plaintext
    assert plain is not None
    assert len(KeySet.import_key_set(json.loads(plain)).keys) == len(FIELDS)
