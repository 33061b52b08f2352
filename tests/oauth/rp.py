"""A strict relying party over joserfc: it sends what the profile asks for, and lets a test spoil any part."""

from __future__ import annotations

import hashlib
import json
import re
import secrets
import time
from base64 import urlsafe_b64encode
from dataclasses import dataclass, field
from html import unescape
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import parse_qs, urlencode, urlsplit

from joserfc import jws
from joserfc.jwk import ECKey, Key, OKPKey

if TYPE_CHECKING:
    from flask.testing import FlaskClient


ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
FORM = "application/x-www-form-urlencoded"
VERIFIER = "v" * 43


class Answer(Protocol):
    """What came back, by the names of Werkzeug's answers, whichever client it came to."""

    @property
    def status_code(self) -> int: ...

    @property
    def headers(self) -> Any: ...  # noqa: ANN401 - each client keeps them in a class of its own

    @property
    def text(self) -> str: ...

    @property
    def json(self) -> Any: ...  # noqa: ANN401 - whatever JSON holds


def b64(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def signed(header: dict[str, Any], claims: Any, key: Key) -> str:  # noqa: ANN401 - a test may sign anything
    """Return a compact JWS with any algorithm joserfc knows, for tests that must sign badly."""
    payload = claims if isinstance(claims, bytes) else json.dumps(claims).encode()
    signing = b64(json.dumps(header).encode()) + "." + b64(payload)
    signature = jws.JWSRegistry.algorithms[header["alg"]].sign(signing.encode(), key)
    return signing + "." + b64(signature)


def ec_key() -> ECKey:
    return ECKey.generate_key("P-256")


def metadata(key: Key, redirect_uris: list[str], encryption: OKPKey | None = None) -> dict[str, Any]:
    """Return RFC 7591 metadata with `key` to sign, and the one to encrypt to or a fresh one."""
    encryption = encryption or OKPKey.generate_key("X25519")
    return {
        "client_name": "Test app",
        "redirect_uris": redirect_uris,
        "jwks": {
            "keys": [
                {**key.as_dict(private=False), "use": "sig", "kid": "s1"},
                {**encryption.as_dict(private=False), "use": "enc", "kid": "e1"},
            ]
        },
    }


@dataclass
class RelyingParty:
    """One client with its keys; `http` is what it talks through."""

    http: FlaskClient
    issuer: str
    client_id: str
    redirect_uri: str
    purpose: str
    key: ECKey = field(repr=False)
    dpop_key: ECKey = field(default_factory=ec_key, repr=False)

    def assertion(self, **changes: Any) -> str:  # noqa: ANN401 - claims of any kind
        now = int(time.time())
        claims = {
            "iss": self.client_id, "sub": self.client_id, "aud": self.issuer, "jti": secrets.token_hex(16),
            "iat": now, "exp": now + 60,
        }  # fmt: skip
        return signed({"alg": "ES256", "kid": "s1"}, without_none(claims | changes), self.key)

    def identified(self, **form: str | None) -> dict[str, str]:
        given = {"client_assertion_type": ASSERTION_TYPE, "client_assertion": self.assertion(), **form}
        return {name: value for name, value in given.items() if value is not None}

    def proof(
        self,
        path: str = "/oauth/token",
        *,
        method: str = "POST",
        token: str | None = None,
        key: Key | None = None,
        header: dict[str, Any] | None = None,
        **changes: Any,  # noqa: ANN401 - claims of any kind
    ) -> str:
        """Return a DPoP proof; None among `header` or `changes` leaves that member out."""
        key = key or self.dpop_key
        claims = {"jti": secrets.token_hex(16), "htm": method, "htu": self.issuer + path, "iat": int(time.time())}
        if token is not None:
            claims["ath"] = b64(hashlib.sha256(token.encode()).digest())
        head = {"typ": "dpop+jwt", "alg": "ES256", "jwk": key.as_dict(private=False)} | (header or {})
        return signed(without_none(head), without_none(claims | changes), key)

    def post(self, path: str, form: dict[str, str] | list[tuple[str, str]], **headers: str) -> Answer:
        return self.http.post(path, data=urlencode(form), content_type=FORM, headers=headers)

    def raw(self, path: str, **options: Any) -> Answer:  # noqa: ANN401 - Werkzeug's own options
        return self.http.post(path, **options)

    def asked(self, **changes: Any) -> dict[str, Any]:  # noqa: ANN401 - a test may ask anything
        """Return the parameters of a good request without client authentication."""
        challenge = b64(hashlib.sha256(VERIFIER.encode()).digest())
        details = json.dumps([{"type": "ucm_profile", "purpose": self.purpose}])
        form = {
            "client_id": self.client_id, "redirect_uri": self.redirect_uri, "response_type": "code",
            "code_challenge": challenge, "code_challenge_method": "S256", "state": "st", "nonce": "no",
            "scope": "openid", "authorization_details": details, **changes,
        }  # fmt: skip
        return without_none(form)

    def request(self, **changes: str | None) -> dict[str, str]:
        return self.identified(**self.asked(**changes))

    def request_object(
        self,
        *,
        key: Key | None = None,
        header: dict[str, Any] | None = None,
        **changes: Any,  # noqa: ANN401 - claims of any kind
    ) -> str:
        """Return a signed request object (RFC 9101); None among `header` or `changes` leaves that member out."""
        now = int(time.time())
        claims = {
            "iss": self.client_id, "aud": self.issuer, "nbf": now, "exp": now + 60, "jti": secrets.token_hex(16),
            **self.asked(),
        }  # fmt: skip
        head = {"typ": "oauth-authz-req+jwt", "alg": "ES256", "kid": "s1"} | (header or {})
        return signed(without_none(head), without_none(claims | changes), key or self.key)

    def push_object(self, request: str, **form: str | None) -> Answer:
        """Push a request object, with client authentication and `form` beside it."""
        return self.post("/oauth/par", self.identified(client_id=self.client_id, request=request, **form))

    def push(self, **changes: str | None) -> str:
        answer = self.post("/oauth/par", self.request(**changes))
        assert answer.status_code == 201, answer.text
        return str(answer.json["request_uri"])

    def address(self, request_uri: str) -> str:
        return "/oauth/authorize?" + urlencode({"client_id": self.client_id, "request_uri": request_uri})

    def answer(self, browser: FlaskClient, request_uri: str, answer: str = "share", **form: Any) -> Answer:  # noqa: ANN401
        """Open the screen as the person and press a button."""
        screen = browser.get(self.address(request_uri))
        assert screen.status_code == 200, screen.text
        fields = {"client_id": self.client_id, "request_uri": request_uri, "answer": answer}
        fields |= {"duration": "year"} if 'name="duration"' in screen.text else {}
        return browser.post("/oauth/authorize", data=fields | form | {"csrf_token": csrf(screen.text)})

    def code(self, browser: FlaskClient, **changes: str | None) -> str:
        back = self.answer(browser, self.push(**changes))
        assert back.status_code == 303, back.text
        return query(back)["code"]

    def redeem(self, code: str | None, *, dpop: str | None = None, **changes: str | None) -> Answer:
        form = {"grant_type": "authorization_code", "code": code, "code_verifier": VERIFIER,
                "redirect_uri": self.redirect_uri, **changes}  # fmt: skip
        return self.token(dpop=dpop, **form)

    def token(self, *, dpop: str | None = None, **form: str | None) -> Answer:
        return self.post("/oauth/token", self.identified(**form), DPoP=dpop or self.proof())

    def ask(self, **changes: str | None) -> Answer:
        """Ask for approval away from the browser; the test names whom by a hint."""
        details = json.dumps([{"type": "ucm_profile", "purpose": self.purpose}])
        form = {"scope": "openid", "authorization_details": details, **changes}
        return self.post("/oauth/bc-authorize", self.identified(**form))

    def poll(self, auth_req_id: str | None, *, dpop: str | None = None) -> Answer:
        """Ask for the answer to what was asked away from the browser."""
        return self.token(dpop=dpop, grant_type="urn:openid:params:grant-type:ciba", auth_req_id=auth_req_id)

    def own_token(self) -> str:
        answer = self.token(grant_type="client_credentials", scope="people:read")
        assert answer.status_code == 200, answer.text
        return str(answer.json["access_token"])

    def call(self, path: str, token: str, *, scheme: str = "DPoP", dpop: str | None = None) -> Answer:
        proof = dpop or self.proof(path, method="GET", token=token)
        return self.get(path, Authorization=f"{scheme} {token}", DPoP=proof)

    def get(self, path: str, **headers: str) -> Answer:
        return self.http.get(path, headers=headers)


def stays_here(answer: Answer, status: int = 400) -> None:
    """Hold that an answer is a page of ours that leads to nobody."""
    assert answer.status_code == status, answer.text
    assert "Location" not in answer.headers
    assert answer.headers["Content-Type"].startswith("text/html;")


def query(response: Answer) -> dict[str, str]:
    """Return the parameters of a redirect, each once."""
    found = parse_qs(urlsplit(response.headers["Location"]).query, strict_parsing=True)
    assert all(len(values) == 1 for values in found.values())
    return {name: values[0] for name, values in found.items()}


def csrf(html: str) -> str:
    found = re.search(r'<main.*name="csrf_token"[^>]*value="([^"]+)"', html, re.DOTALL)
    assert found, html
    return unescape(found[1])


def without_none(members: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value is not None}
