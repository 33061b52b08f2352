"""What an attacker, or a careless library, sends instead of a good assertion or a good proof."""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import time
from typing import TYPE_CHECKING, Any

from joserfc.jwk import ECKey, OctKey, RSAKey

from tests.oauth.rp import b64, signed, without_none

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.fapi.cast import Party

# A key of nobody: making an RSA key takes a while.
_RSA = RSAKey.generate_key(2048)
_HOUR = 3600


def claims_of(rp: Party, **changes: Any) -> dict[str, Any]:  # noqa: ANN401 - claims of any kind
    now = int(time.time())
    good = {
        "iss": rp.client_id, "sub": rp.client_id, "aud": rp.issuer, "jti": secrets.token_hex(16),
        "iat": now, "exp": now + 60,
    }  # fmt: skip
    return without_none(good | changes)


def unsigned(claims: dict[str, Any], **header: Any) -> str:  # noqa: ANN401 - members of any kind
    head = b64(json.dumps({"alg": "none"} | header).encode())
    return f"{head}.{b64(json.dumps(claims).encode())}."


def hmac_signed(claims: dict[str, Any], secret: bytes, **header: Any) -> str:  # noqa: ANN401 - members of any kind
    signing = b64(json.dumps({"alg": "HS256"} | header).encode()) + "." + b64(json.dumps(claims).encode())
    return signing + "." + b64(hmac.digest(secret, signing.encode(), "sha256"))


def public_pem(rp: Party) -> bytes:
    return rp.key.as_pem(private=False)


def _own_jwk(rp: Party) -> str:
    key = ECKey.generate_key("P-256")
    return signed({"alg": "ES256", "jwk": key.as_dict(private=False)}, claims_of(rp), key)


# Row 8: the algorithm or the key is not one of the client's.
BAD_SIGNATURES: dict[str, Callable[[Party], str]] = {
    "RS256": lambda rp: signed({"alg": "RS256", "kid": "s2"}, claims_of(rp), rp.rsa_key),
    "PS384": lambda rp: signed({"alg": "PS384", "kid": "s2"}, claims_of(rp), rp.rsa_key),
    "none": lambda rp: unsigned(claims_of(rp)),
    "none with a signature": lambda rp: unsigned(claims_of(rp), kid="s1") + b64(b"x" * 64),
    "None": lambda rp: unsigned(claims_of(rp), alg="None"),
    "HS256 with the public key": lambda rp: hmac_signed(claims_of(rp), public_pem(rp), kid="s1"),
    "HS256 with the public JWK": lambda rp: hmac_signed(
        claims_of(rp), json.dumps(rp.key.as_dict(private=False)).encode(), kid="s1"
    ),
    "another key": lambda rp: signed({"alg": "ES256", "kid": "s1"}, claims_of(rp), ECKey.generate_key("P-256")),
    "another key in the header": _own_jwk,
    "the encryption key": lambda rp: signed({"alg": "ES256", "kid": "e1"}, claims_of(rp), rp.encryption_key),
    "an unknown kid": lambda rp: signed({"alg": "ES256", "kid": "s9"}, claims_of(rp), ECKey.generate_key("P-256")),
    "a critical member": lambda rp: signed(
        {"alg": "ES256", "kid": "s1", "crit": ["exp"], "exp": 1}, claims_of(rp), rp.key
    ),
}


# Row 48 and 57: a proof that fails one of the checks of RFC 9449 section 4.3.


def proof(rp: Party, path: str, method: str, token: str | None, **changes: Any) -> str:  # noqa: ANN401 - see `proof`
    return rp.proof(path, method=method, token=token, **changes)


def _claims(path: str, method: str, token: str | None, issuer: str) -> dict[str, Any]:
    found: dict[str, Any] = {
        "jti": secrets.token_hex(16), "htm": method, "htu": issuer + path, "iat": int(time.time()),
    }  # fmt: skip
    if token is not None:
        found["ath"] = b64(hashlib.sha256(token.encode()).digest())
    return found


def _none(rp: Party, path: str, method: str, token: str | None) -> str:
    jwk = rp.dpop_key.as_dict(private=False)
    return unsigned(_claims(path, method, token, rp.issuer), typ="dpop+jwt", jwk=jwk)


def _symmetric(rp: Party, path: str, method: str, token: str | None) -> str:
    secret = secrets.token_bytes(32)
    jwk = OctKey.import_key(secret).as_dict()
    return hmac_signed(_claims(path, method, token, rp.issuer), secret, typ="dpop+jwt", jwk=jwk)


def _rs256(rp: Party, path: str, method: str, token: str | None) -> str:
    header = {"typ": "dpop+jwt", "alg": "RS256", "jwk": _RSA.as_dict(private=False)}
    return signed(header, _claims(path, method, token, rp.issuer), _RSA)


def _broken(rp: Party, path: str, method: str, token: str | None) -> str:
    good = proof(rp, path, method, token)
    head, _, signature = good.rpartition(".")
    return f"{head}.{'A' if signature[0] != 'A' else 'B'}{signature[1:]}"


def _other_claims(rp: Party, path: str, method: str, token: str | None) -> str:
    head, _, signature = proof(rp, path, method, token).split(".")
    return f"{head}.{b64(json.dumps(_claims(path, method, token, rp.issuer)).encode())}.{signature}"


def _changed(**changes: Any) -> Callable[[Party, str, str, str | None], str]:  # noqa: ANN401 - claims of any kind
    return lambda rp, path, method, token: proof(rp, path, method, token, **changes)


BAD_PROOFS: dict[str, Callable[[Party, str, str, str | None], str]] = {
    "typ missing": _changed(header={"typ": None}),
    "typ JWT": _changed(header={"typ": "JWT"}),
    "alg none": _none,
    "alg RS256": _rs256,
    "jwk missing": _changed(header={"jwk": None}),
    "jwk a text": _changed(header={"jwk": "key"}),
    "jwk private": lambda rp, path, method, token: proof(
        rp, path, method, token, header={"jwk": rp.dpop_key.as_dict(private=True)}
    ),
    "jwk symmetric": _symmetric,
    "jwk of another": lambda rp, path, method, token: proof(
        rp, path, method, token, header={"jwk": ECKey.generate_key("P-256").as_dict(private=False)}
    ),
    "jti missing": _changed(jti=None),
    "jti a number": _changed(jti=7),
    "jti empty": _changed(jti=""),
    "htm missing": _changed(htm=None),
    "htm other": _changed(htm="PUT"),
    "htm in small letters": lambda rp, path, method, token: proof(rp, path, method, token, htm=method.lower()),
    "htu missing": _changed(htu=None),
    "htu other": _changed(htu="https://other.example/oauth/token"),
    "htu an array": lambda rp, path, method, token: proof(rp, path, method, token, htu=[rp.issuer + path]),
    "htu a number": _changed(htu=1),
    "htu with somebody's name": lambda rp, path, method, token: proof(
        rp, path, method, token, htu=rp.issuer.replace("//", "//me@") + path
    ),
    "iat missing": _changed(iat=None),
    "iat an hour ago": lambda rp, path, method, token: proof(rp, path, method, token, iat=int(time.time()) - _HOUR),
    "iat in an hour": lambda rp, path, method, token: proof(rp, path, method, token, iat=int(time.time()) + _HOUR),
    "iat a text": lambda rp, path, method, token: proof(rp, path, method, token, iat=str(int(time.time()))),
    "iat too large": _changed(iat=10**400),
    "iat true": _changed(iat=True),
    "signature broken": _broken,
    "signature of other claims": _other_claims,
    "signature left out": lambda rp, path, method, token: proof(rp, path, method, token).rpartition(".")[0] + ".",
    "padded": lambda rp, path, method, token: proof(rp, path, method, token) + "==",
    "garbage": lambda *_: "garbage",
    "three dots": lambda *_: "a.b.c",
    "very long": lambda *_: "a" * 20_000,
    "not ASCII": lambda *_: "\u00e9.\u00e9.\u00e9",
}
