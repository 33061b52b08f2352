"""A client of an authorization server under the FAPI 2.0 profile: what it sends, signed before the clock runs."""

from __future__ import annotations

import hashlib
import json
import secrets
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode, urlsplit

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from joserfc.jwk import ECKey

from portal.vault import base64url

if TYPE_CHECKING:
    from collections.abc import Mapping

_ASSERTION: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_ES256 = ec.ECDSA(SHA256())


@dataclass
class Key:
    """A P-256 key; `public` is its JWK, with a kid."""

    private: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))

    def __post_init__(self) -> None:
        self.jwk = ECKey.import_key(self.private.public_key(), {"kid": "sig-1", "use": "sig"})
        self.public: dict[str, Any] = dict(self.jwk.as_dict(private=False))
        self.thumbprint = self.jwk.thumbprint()

    def sign(self, header: Mapping[str, Any], claims: Mapping[str, Any]) -> str:
        """Return the compact JWS (RFC 7515), ES256."""
        signed = ".".join(base64url.encode(json.dumps(part).encode()) for part in (header, claims))
        r, s = decode_dss_signature(self.private.sign(signed.encode(), _ES256))
        return signed + "." + base64url.encode(r.to_bytes(32) + s.to_bytes(32))


@dataclass(kw_only=True)
class Party:
    """One client; `endpoints` is the server's own metadata (RFC 8414)."""

    client_id: str
    issuer: str
    key: Key
    dpop_key: Key
    endpoints: Mapping[str, Any] = field(default_factory=dict)

    def token(self, **form: str) -> bytes:
        """Return a token request: private_key_jwt and a DPoP proof."""
        url = str(self.endpoints["token_endpoint"])
        return _posted(url, form | self._identified(), DPoP=self._proof("POST", url))

    def introspection(self, token: str) -> bytes:
        """Return a request to introspect `token` (RFC 7662): private_key_jwt."""
        form = {"token": token, "token_type_hint": "access_token"}
        return _posted(str(self.endpoints["introspection_endpoint"]), form | self._identified())

    def resource(self, url: str, token: str) -> bytes:
        """Return a GET request with the token and a DPoP proof."""
        proof = self._proof("GET", url, ath=base64url.encode(hashlib.sha256(token.encode()).digest()))
        return _message("GET", url, {"Authorization": f"DPoP {token}", "DPoP": proof})

    def _identified(self) -> dict[str, str]:
        now = int(time.time())
        claims = {
            "iss": self.client_id, "sub": self.client_id, "aud": self.issuer, "jti": secrets.token_hex(16),
            "iat": now, "exp": now + 240,
        }  # fmt: skip
        assertion = self.key.sign({"alg": "ES256", "kid": "sig-1", "typ": "JWT"}, claims)
        return {"client_id": self.client_id, "client_assertion_type": _ASSERTION, "client_assertion": assertion}

    def _proof(self, method: str, url: str, **more: str) -> str:
        header = {"typ": "dpop+jwt", "alg": "ES256", "jwk": self.dpop_key.public}
        claims = {"htm": method, "htu": url, "iat": int(time.time()), "jti": secrets.token_hex(16), **more}
        return self.dpop_key.sign(header, claims)


def _posted(url: str, form: Mapping[str, str], **headers: str) -> bytes:
    kind = {"Content-Type": "application/x-www-form-urlencoded"}
    return _message("POST", url, kind | headers, urlencode(form).encode())


def _message(method: str, url: str, headers: Mapping[str, str], body: bytes = b"") -> bytes:
    parts = urlsplit(url)
    sent = {"Host": parts.netloc, "Content-Length": str(len(body)), **headers}
    lines = "".join(f"{name}: {value}\r\n" for name, value in sent.items() if body or name != "Content-Length")
    return f"{method} {parts.path} HTTP/1.1\r\n{lines}\r\n".encode() + body
