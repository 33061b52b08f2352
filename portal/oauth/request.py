"""A request to a machine's endpoint, free of the web framework: what the checks look at."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from authlib.oauth2.rfc6749.requests import BasicOAuth2Payload

from portal.oauth import client_assertion, dpop
from portal.oauth.replay import Shown

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
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

    What a request has shown, an assertion and a proof, is used up when its session is first asked for, or by the
    statement that writes its answer, or at the end: whoever answers requests calls `use_up` in any case.
    """

    database_url: str = field(repr=False)
    open_session: Callable[[], Session] = field(repr=False)
    keyring: Keyring = field(repr=False)
    issuer: str
    now: datetime
    method: str
    url: str
    parameters: Mapping[str, str] = field(repr=False)
    authorization: str | None = field(repr=False)
    dpop: str | None = field(repr=False)
    accept: Collection[str] = ()
    shown: Shown = field(default_factory=Shown, repr=False)

    @property
    def payload(self) -> BasicOAuth2Payload:
        """The parameters in the shape by which Authlib's frame finds the grant."""
        return BasicOAuth2Payload(self.parameters)

    @property
    def session(self) -> Session:
        """The request's session; before anything is done in it, what the request has shown is used up."""
        self.use_up()
        return self.open_session()

    def use_up(self) -> None:
        """Use up what the request has shown, committed at once; raise the error of what was used before."""
        self.shown.use_up(self.database_url)

    def authenticate_client(self) -> ClientFacts:
        """Return the client that sent it; raise `InvalidClientError`."""
        client, assertion = client_assertion.authenticate(
            self.database_url,
            parameters=self.parameters,
            authorization=self.authorization,
            issuer=self.issuer,
            now=self.now,
        )
        self.shown.add(assertion)
        return client

    def proof(self) -> Proof:
        """Return the DPoP proof that came with it; raise `InvalidProofError` or `ProofMissingError`."""
        proof = dpop.verify(self.dpop, method=self.method, url=self.url, now=self.now)
        self.shown.add(proof.once)
        return proof
