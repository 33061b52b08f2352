"""A request to a machine's endpoint, free of the web framework: what the checks look at."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from authlib.oauth2.rfc6749.requests import BasicOAuth2Payload

from portal.oauth import client_assertion, dpop

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from datetime import datetime

    from sqlalchemy.orm import Session

    from portal.companies.queries import ClientFacts
    from portal.oauth.dpop import Proof
    from portal.vault.keyring import Keyring


@dataclass(kw_only=True)
class MachineRequest:
    """`url` is the endpoint's public address without query; `parameters` are of the body, each once.

    `accept` holds the media types that the client named itself.  It stands in for Authlib's own request, whose
    constructor refuses plain HTTP behind a proxy with an exception and whose values mix address and body.
    """

    session: Session
    keyring: Keyring = field(repr=False)
    issuer: str
    now: datetime
    method: str
    url: str
    parameters: Mapping[str, str] = field(repr=False)
    authorization: str | None = field(repr=False)
    dpop: str | None = field(repr=False)
    accept: Collection[str] = ()

    @property
    def payload(self) -> BasicOAuth2Payload:
        """The parameters in the shape by which Authlib's frame finds the grant."""
        return BasicOAuth2Payload(self.parameters)

    def authenticate_client(self) -> ClientFacts:
        """Return the client that sent it; raise `InvalidClientError`."""
        return client_assertion.authenticate(
            self.session,
            parameters=self.parameters,
            authorization=self.authorization,
            issuer=self.issuer,
            now=self.now,
        )

    def proof(self) -> Proof:
        """Return the DPoP proof that came with it, used up; raise `InvalidProofError` or `ProofMissingError`."""
        return dpop.accept(self.session, self.dpop, method=self.method, url=self.url, now=self.now)
