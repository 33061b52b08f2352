"""Talking to the portal: everything this company knows of it is in its public metadata (RFC 8414).

Used here: pushed authorization requests (RFC 9126), PKCE (RFC 7636), private_key_jwt (RFC 7523), DPoP (RFC 9449),
rich authorization requests (RFC 9396), the issuer in the answer (RFC 9207), OpenID Connect's ID token, and approval
away from the browser (CIBA Core 1.0, poll).
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

import requests
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, KeySet

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from joserfc.jwk import GuestProtocol

    from keys import CompanyKeys

    Options = Callable[[], dict[str, Any]]

_TIMEOUT = 10
_ASSERTION_SECONDS = 60
_EARLY_SECONDS = 30
_REFETCH_SECONDS = 5
_CLOCK_LEEWAY = 60
_CLIENT_ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_CIBA = "urn:openid:params:grant-type:ciba"
_NOT_FOUND = 404
# What this company's own tokens are for: the details of its customers, and the books about what it may have.
PEOPLE = "people:read"
BOOKS = "grant_management_query grants:manage"


class PortalProblemError(Exception):
    """The portal said no: `code` is the last part of the problem type, or OAuth's `error`; `title` a sentence."""

    def __init__(self, status: int, code: str, title: str) -> None:
        self.status, self.code, self.title = status, code, title
        super().__init__(f"{status} {code}: {title}")


class UntrustedError(Exception):
    """An answer that does not come from the portal, or is not for this company."""


@dataclass(frozen=True)
class Connection:
    """What the token endpoint gave for one person: `token` is bound to this company's DPoP key."""

    sub: str
    grant_id: str
    token: str = field(repr=False)


@dataclass(frozen=True)
class Departure:
    """Where to send the browser, and what to remember until it comes back."""

    address: str
    state: str
    nonce: str = field(repr=False)
    verifier: str = field(repr=False)


class PortalClient:
    """One registered client of the portal; safe to share between threads."""

    def __init__(self, portal: str, *, client_id: str, keys: CompanyKeys, redirect_uri: str, purpose: str) -> None:
        self.portal = portal.rstrip("/")
        self.client_id, self._keys = client_id, keys
        self._redirect_uri, self._purpose = redirect_uri, purpose
        self._lock = threading.Lock()
        self._local = threading.local()
        self._metadata: dict[str, Any] | None = None
        self._signing_keys: dict[str, ECKey] = {}
        self._signing_keys_read = 0.0
        self._own_tokens: dict[str, tuple[str, float]] = {}
        self._nonces: dict[str, str] = {}

    @property
    def issuer(self) -> str:
        return str(self.metadata()["issuer"])

    def metadata(self) -> dict[str, Any]:
        """Return the portal's metadata, read once; raise `UntrustedError` when it names another issuer."""
        if self._metadata is None:
            answer = self._http().get(f"{self.portal}/.well-known/oauth-authorization-server", timeout=_TIMEOUT)
            found = _json(answer)
            if found.get("issuer") != self.portal:
                raise UntrustedError("the metadata names another issuer")
            self._metadata = found
        return self._metadata

    def signing_key(self, kid: str) -> ECKey | None:
        """Return the portal's key named `kid`; an unknown name makes one fresh look, at most every 5 seconds."""
        with self._lock:
            stale = time.monotonic() - self._signing_keys_read > _REFETCH_SECONDS
            if kid not in self._signing_keys and (stale or not self._signing_keys):
                self._signing_keys = self._read_signing_keys()
                self._signing_keys_read = time.monotonic()
            return self._signing_keys.get(kid)

    def depart(self) -> Departure:
        """Push an authorization request and return where the browser goes next (RFC 9126)."""
        state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
        challenge = _base64url(hashlib.sha256(verifier.encode()).digest())
        pushed = self._oauth(
            "pushed_authorization_request_endpoint",
            {
                "response_type": "code", "redirect_uri": self._redirect_uri, "scope": "openid",
                "state": state, "nonce": nonce,
                "code_challenge": challenge, "code_challenge_method": "S256",
                "dpop_jkt": self._keys.dpop.thumbprint(),
                "authorization_details": f'[{{"type":"ucm_profile","purpose":"{self._purpose}"}}]',
            },
        )  # fmt: skip
        query = urlencode({"client_id": self.client_id, "request_uri": pushed["request_uri"]})
        return Departure(f"{self.metadata()['authorization_endpoint']}?{query}", state, nonce, verifier)

    def arrive(self, code: str, *, verifier: str, nonce: str) -> Connection:
        """Exchange the code for a token and check who it is about (OpenID Connect Core 3.1.3.7)."""
        answer = self._oauth(
            "token_endpoint",
            {
                "grant_type": "authorization_code", "code": code,
                "redirect_uri": self._redirect_uri, "code_verifier": verifier,
            },
        )  # fmt: skip
        if str(answer.get("token_type", "")).lower() != "dpop":
            raise UntrustedError("the token is not bound to this company's key")
        claims = self._verified_id_token(str(answer.get("id_token", "")), nonce)
        if answer.get("sub", claims["sub"]) != claims["sub"]:
            raise UntrustedError("the token and the ID token name two people")
        return Connection(str(claims["sub"]), str(answer.get("grant_id", "")), str(answer["access_token"]))

    def ask_approval(self, sub: str, *, words: str, attributes: list[str]) -> dict[str, Any]:
        """Ask a customer to approve `attributes` in the portal; both sides show `words` (CIBA section 7)."""
        details = [{"type": "ucm_profile", "purpose": self._purpose, "attributes": attributes}]
        return self._oauth(
            "backchannel_authentication_endpoint",
            {
                "scope": "openid", "login_hint": sub, "binding_message": words,
                "authorization_details": json.dumps(details),
            },
        )  # fmt: skip

    def approval(self, auth_req_id: str, *, sub: str) -> Connection:
        """Return what they approved; `PortalProblemError` says `authorization_pending` until there is an answer."""
        answer = self._oauth("token_endpoint", {"grant_type": _CIBA, "auth_req_id": auth_req_id})
        claims = self._verified_id_token(str(answer.get("id_token", "")))
        if not claims["sub"] == answer.get("sub") == sub:
            raise UntrustedError("the answer is about somebody else")
        return Connection(sub, str(answer.get("grant_id", "")), str(answer["access_token"]))

    def pull(self, sub: str, *, token: str = "") -> str:
        """Return the message (a Security Event Token) about `sub`; without a person's token, as the company."""
        return self._api("GET", f"/api/v1/people/{sub}", token=token).text

    def ask(self, subjects: list[str]) -> dict[str, Any]:
        """Ask for many people at once; return the pull's id, state and counts."""
        return _json(self._api("POST", "/api/v1/pulls", body={"subjects": subjects}))

    def progress(self, ask_id: str) -> dict[str, Any]:
        return _json(self._api("GET", f"/api/v1/pulls/{ask_id}"))

    def result(self, ask_id: str) -> list[dict[str, Any]]:
        return list(_json(self._api("GET", f"/api/v1/pulls/{ask_id}/result"))["results"])

    def send_receipts(self, receipts: list[dict[str, Any]]) -> dict[str, str]:
        """Say what was done with up to 500 messages; return what became of each receipt, by `jti`."""
        answer = _json(self._api("POST", "/api/v1/receipts", body={"receipts": receipts}))
        return {str(each["jti"]): str(each["result"]) for each in answer["results"]}

    def to_delete(self) -> Iterator[dict[str, Any]]:
        """Yield each detail that customers asked this company to delete, the most pressing first."""
        path: str | None = "/api/v1/deletions?limit=200"
        while path:
            found = _json(self._api("GET", path, scope=BOOKS))
            yield from found["details"]
            path = found["links"]["next"]

    def say_deleted(self, grant_id: str, attributes: list[str]) -> None:
        """Say that these details of one consent are deleted; said again it changes nothing."""
        body = {"details": [{"attribute": name, "status": "deleted"} for name in attributes]}
        self._api("POST", f"/api/v1/grants/{grant_id}/deletion", body=body, scope=BOOKS)

    def _api(
        self, method: str, path: str, *, token: str = "", body: Mapping[str, Any] | None = None, scope: str = PEOPLE
    ) -> requests.Response:
        address = self.portal + path
        bearer = token or self._company_token(scope)
        headers = {"Authorization": f"DPoP {bearer}"}
        answer = self._with_proof(method, address, token=bearer, send=lambda: {"json": body, "headers": headers})
        _refuse(answer)
        return answer

    def _company_token(self, scope: str) -> str:
        """Return this company's own token (client credentials) for a scope, renewed half a minute before it ends."""
        with self._lock:
            token, ends = self._own_tokens.get(scope, ("", 0.0))
            if time.monotonic() < ends:
                return token
            answer = self._oauth("token_endpoint", {"grant_type": "client_credentials", "scope": scope})
            ends = time.monotonic() + int(answer.get("expires_in", 0)) - _EARLY_SECONDS
            self._own_tokens[scope] = (str(answer["access_token"]), ends)
            return self._own_tokens[scope][0]

    def _oauth(self, endpoint: str, form: Mapping[str, str]) -> dict[str, Any]:
        address = str(self.metadata()[endpoint])
        answer = self._with_proof("POST", address, token="", send=lambda: {"data": self._authenticated(form)})
        _refuse(answer)
        return _json(answer)

    def _authenticated(self, form: Mapping[str, str]) -> dict[str, str]:
        now = int(time.time())
        claims = {
            "iss": self.client_id, "sub": self.client_id, "aud": self.issuer, "jti": secrets.token_urlsafe(16),
            "iat": now, "exp": now + _ASSERTION_SECONDS,
        }  # fmt: skip
        header = {"alg": "ES256", "kid": str(self._keys.signing.kid)}
        assertion = jwt.encode(header, claims, self._keys.signing, algorithms=["ES256"])
        return {
            **form,
            "client_id": self.client_id,
            "client_assertion_type": _CLIENT_ASSERTION,
            "client_assertion": assertion,
        }

    def _with_proof(
        self, method: str, address: str, *, token: str, send: Callable[[], dict[str, Any]]
    ) -> requests.Response:
        """Send with a DPoP proof; when the portal asks for its nonce, once more with it (RFC 9449 section 8)."""
        answer = self._send(method, address, token, send)
        if "DPoP-Nonce" in answer.headers:
            self._nonces[_origin(address)] = answer.headers["DPoP-Nonce"]
            if "use_dpop_nonce" in answer.headers.get("WWW-Authenticate", "") + answer.text:
                answer = self._send(method, address, token, send)
        return answer

    def _send(self, method: str, address: str, token: str, send: Options) -> requests.Response:
        # The form is made anew each time: a client assertion counts once.
        options = send()
        headers = {**options.pop("headers", {}), "DPoP": self._proof(method, address, token)}
        return self._http().request(
            method, address, headers=headers, timeout=_TIMEOUT, allow_redirects=False, **options
        )

    def _proof(self, method: str, address: str, token: str) -> str:
        claims: dict[str, Any] = {
            "jti": secrets.token_urlsafe(16), "htm": method, "htu": address.partition("?")[0], "iat": int(time.time()),
        }  # fmt: skip
        if token:
            claims["ath"] = _base64url(hashlib.sha256(token.encode()).digest())
        if nonce := self._nonces.get(_origin(address)):
            claims["nonce"] = nonce
        public = self._keys.dpop.as_dict(private=False)
        header = {"typ": "dpop+jwt", "alg": "ES256", "jwk": {name: public[name] for name in ("kty", "crv", "x", "y")}}
        return jwt.encode(header, claims, self._keys.dpop, algorithms=["ES256"])

    def _verified_id_token(self, id_token: str, nonce: str = "") -> dict[str, Any]:
        rules = jwt.JWTClaimsRegistry(
            leeway=_CLOCK_LEEWAY,
            iss={"essential": True, "value": self.issuer},
            aud={"essential": True, "value": self.client_id},
            nonce={"essential": True, "value": nonce} if nonce else {"essential": False},
            sub={"essential": True},
            exp={"essential": True},
            iat={"essential": True},
        )
        try:
            token = jwt.decode(id_token, self._key_of, algorithms=["ES256"])
            rules.validate(token.claims)
        except (JoseError, ValueError) as error:
            raise UntrustedError(f"the ID token is not good: {type(error).__name__}") from error
        return token.claims

    def _key_of(self, signed: GuestProtocol) -> ECKey:
        key = self.signing_key(str(signed.headers().get("kid", "")))
        if key is None:
            raise UntrustedError("signed by a key the portal does not publish")
        return key

    def _read_signing_keys(self) -> dict[str, ECKey]:
        found = _json(self._http().get(str(self.metadata()["jwks_uri"]), timeout=_TIMEOUT))
        keys = KeySet.import_key_set({"keys": found["keys"]}).keys
        return {str(key.kid): key for key in keys if isinstance(key, ECKey)}

    def _http(self) -> requests.Session:
        # One kept connection per thread: a requests session is not made to be shared.
        if not hasattr(self._local, "session"):
            self._local.session = requests.Session()
            self._local.session.trust_env = False
        session: requests.Session = self._local.session
        return session


def _refuse(answer: requests.Response) -> None:
    if answer.ok:
        return
    problem = _json(answer, default={})
    code = str(problem.get("type") or problem.get("error") or "unknown").rsplit("/", 1)[-1]
    title = problem.get("title") or problem.get("error_description") or "The portal gave no reason."
    if answer.status_code == _NOT_FOUND and not problem:
        code = "not-found"
    raise PortalProblemError(answer.status_code, code, str(title))


def _json(answer: requests.Response, default: dict[str, Any] | None = None) -> dict[str, Any]:
    try:
        found = answer.json()
    except ValueError:
        found = None
    if isinstance(found, dict):
        return found
    if default is not None:
        return default
    raise UntrustedError("the portal's answer is not a JSON object")


def _origin(address: str) -> str:
    parts = urlsplit(address)
    return f"{parts.scheme}://{parts.netloc}"


def _base64url(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()
