"""A company's server as a caller: a token of its own, and a fresh DPoP proof (RFC 9449) for every request."""

from __future__ import annotations

import hashlib
import json
import time
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from joserfc import jws
from joserfc.jwk import ECKey

from portal import db
from portal.companies import queries as companies
from portal.oauth import tokens
from portal.vault import base64url

if TYPE_CHECKING:
    from flask.testing import FlaskClient
    from werkzeug.test import TestResponse

    from tests.sync.cast import Firm, World


class Caller:
    """Calls the API for one client; the token stands in the database without the authorization server."""

    def __init__(self, http: FlaskClient, world: World, firm: Firm, scope: str = "people:read") -> None:
        self.http, self.issuer = http, world.settings.issuer
        self.key = ECKey.generate_key("P-256", private=True)

        def issue(session: Any) -> str:  # noqa: ANN401 - a session
            client = companies.client(session, firm.client_id)
            assert client is not None
            return tokens.issue_own(session, client=client, scope=scope, jkt=self.key.thumbprint(), now=db.now())

        self.token: str = world.transact(issue)

    def headers(self, method: str, path: str) -> dict[str, str]:
        return {"Authorization": f"DPoP {self.token}", "DPoP": self.proof(method, path)}

    def proof(self, method: str, path: str) -> str:
        return proof(self.key, method, self.issuer + path, self.token)

    def send(self, method: str, path: str, **kwargs: Any) -> TestResponse:  # noqa: ANN401 - of the test client
        return self.http.open(path, method=method, headers=self.headers(method, path), **kwargs)

    def get(self, path: str, **kwargs: Any) -> TestResponse:  # noqa: ANN401 - of the test client
        headers = self.headers("GET", path.partition("?")[0]) | kwargs.pop("headers", {})
        return self.http.get(path, headers=headers, **kwargs)

    def post(self, path: str, **kwargs: Any) -> TestResponse:  # noqa: ANN401 - of the test client
        return self.http.post(path, headers=self.headers("POST", path), **kwargs)


def proof(key: ECKey, method: str, url: str, token: str) -> str:
    header = {"typ": "dpop+jwt", "alg": "ES256", "jwk": key.as_dict(private=False)}
    ath = base64url.encode(hashlib.sha256(token.encode()).digest())
    claims = {"htm": method, "htu": url, "iat": int(time.time()), "jti": uuid4().hex, "ath": ath}
    return jws.serialize_compact(header, json.dumps(claims), key, algorithms=["ES256"])
