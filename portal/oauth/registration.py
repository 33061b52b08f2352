"""Dynamic client registration (RFC 7591) and its management (RFC 7592).

An initial access token of the company console lets a program register clients; each client gets a token of its
own by which it is read, replaced and ended.  There is never a client secret.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import select, update

from portal.companies import client_rules, clients, key_source, registration, rules
from portal.companies import queries as companies
from portal.companies import services as registering
from portal.companies.models import Client
from portal.consent import queries as consents
from portal.consent import services as consent
from portal.consent.models import Grant
from portal.errors import InvalidError, NotFoundError, PortalError
from portal.oauth import parameters
from portal.oauth.errors import InvalidRequestError, InvalidTokenError, OAuthError
from portal.oauth.models import AccessToken, RefreshToken

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy.orm import Session

    from portal.companies.client_rules import Described
    from portal.companies.keys import PublicKey
    from portal.companies.queries import ClientFacts

PATH: Final = "/oauth/register"
_BEARER = re.compile(r"bearer +([A-Za-z0-9._~+/-]{1,128}=*)", re.IGNORECASE | re.ASCII)
# RFC 7592 section 2.2: what the server alone says of a client.
_NOT_THE_CLIENTS_TO_SAY = (
    "registration_access_token", "registration_client_uri", "client_secret_expires_at", "client_id_issued_at",
    "client_secret",
)  # fmt: skip
_ENDED_AT_ONCE = 500
Answer = tuple[int, dict[str, Any]]


class RegistrationTokenMissingError(InvalidTokenError):
    """No credentials at all: a bare challenge (RFC 6750 section 3.1)."""

    public = "This needs a registration token, sent as Bearer."


class RegistrationTokenError(InvalidTokenError):
    """Unknown, ended, used up or another client's: the caller cannot tell which, nor whether the client exists."""

    public = "The registration token is not valid."


class JsonExpectedError(InvalidRequestError):
    public = "Send the metadata as application/json in UTF-8, each member once."


class MetadataRefusedError(OAuthError):
    """RFC 7591 section 3.2.2; the sentence is a rule's own and names the member, never what was sent."""

    code = "invalid_client_metadata"
    public = "The client metadata cannot be used."


class RedirectRefusedError(MetadataRefusedError):
    code = "invalid_redirect_uri"


class StatementRefusedError(MetadataRefusedError):
    code = "invalid_software_statement"


class StatementUnapprovedError(MetadataRefusedError):
    code = "unapproved_software_statement"


class BusyError(OAuthError):
    """Something else is being done for others; it may be tried again after `wait` seconds."""

    code = "temporarily_unavailable"
    status = 503

    def __init__(self, public: str, wait: int) -> None:
        super().__init__(public)
        self.wait = wait


_REFUSED_AS: Final[tuple[tuple[type[PortalError], type[OAuthError]], ...]] = (
    (rules.RedirectUriError, RedirectRefusedError),
    (client_rules.NoSoftwareStatementError, StatementRefusedError),
    (client_rules.SoftwareStatementError, StatementUnapprovedError),
    (InvalidError, MetadataRefusedError),
)


@dataclass(kw_only=True)
class RegistrationRequest:
    """A request to the registration endpoint, free of the web framework."""

    session: Session
    issuer: str
    now: datetime
    authorization: str | None = field(repr=False)
    mimetype: str
    query: bytes
    body: bytes = field(repr=False)

    def token(self) -> str:
        """Return the bearer token; raise `RegistrationTokenMissingError` or `RegistrationTokenError`."""
        if self.authorization is None:
            raise RegistrationTokenMissingError
        found = _BEARER.fullmatch(self.authorization)
        if found is None:
            raise RegistrationTokenError(private="the Authorization header is malformed")
        return found[1]


@dataclass(frozen=True, kw_only=True)
class Order:
    """A client that may be registered as far as can be judged by text; its keys are here or at its `jwks_uri`."""

    company_id: UUID
    described: Described
    keys: Collection[PublicKey] | None

    @property
    def jwks_uri(self) -> str:
        return self.described.metadata.jwks_uri or ""


def order_new(asked: RegistrationRequest) -> Order:
    """Check the initial access token and every member of the metadata (RFC 7591 section 3.1); keep nothing."""
    admission = registration.admitted(asked.session, asked.token(), now=asked.now)
    if admission is None:
        raise RegistrationTokenError
    return _order(asked, admission.company_id, _document(asked))


def register(asked: RegistrationRequest, order: Order, keys: Collection[PublicKey]) -> Answer:
    """Use the initial access token once and keep the client (RFC 7591 section 3.2.1)."""
    admission = registration.admitted(asked.session, asked.token(), now=asked.now)
    if admission is None or not registration.use_token(asked.session, asked.token(), now=asked.now):
        raise RegistrationTokenError
    token = registration.client_token()
    client_id = registering.keep_client(
        asked.session, company_id=admission.company_id, described=order.described, keys=keys,
        environment=admission.environment, registration_token_hash=registration.hash_of(token), now=asked.now,
    )  # fmt: skip
    return 201, _information(asked, client_id, token)


def read(asked: RegistrationRequest, client_id: str) -> Answer:
    """Return the client as it is registered (RFC 7592 section 2.1)."""
    _managed(asked, client_id)
    return 200, _information(asked, client_id, asked.token())


def order_change(asked: RegistrationRequest, client_id: str) -> Order:
    """Check the client's token and the metadata that are to take the place of all it has; keep nothing."""
    client = _managed(asked, client_id)
    document = _document(asked)
    for name in _NOT_THE_CLIENTS_TO_SAY:
        if name in document:
            raise MetadataRefusedError(f"{name} is not for the client to say: leave it out.")
    if document.get("client_id") != client_id:
        raise MetadataRefusedError("client_id must be that of this client.")
    return _order(asked, client.company_id, document)


def replace(asked: RegistrationRequest, client_id: str, order: Order, keys: Collection[PublicKey]) -> Answer:
    """Keep the client as it is now described; a key that is gone from the set is retired (RFC 7592 section 2.2)."""
    _managed(asked, client_id)
    clients.replace(asked.session, client_id=client_id, described=order.described, keys=keys, now=asked.now)
    return 200, _information(asked, client_id, asked.token())


def end(asked: RegistrationRequest, client_id: str) -> Answer:
    """End the client, its tokens and what people share with it (RFC 7592 section 2.3)."""
    _managed(asked, client_id)
    clients.end(asked.session, client_id=client_id, now=asked.now)
    # Grants, then what refreshes, then the rest: people who stop sharing at this moment go the same way.
    end_grants(asked.session, now=asked.now)
    for table in (RefreshToken, AccessToken):
        mine = update(table).where(table.client_id == client_id, table.revoked_at.is_(None))
        asked.session.execute(mine.values(revoked_at=asked.now).execution_options(synchronize_session=False))
    return 204, {}


def end_grants(session: Session, *, now: datetime) -> int:
    """End what people still share with clients that are no more, at most 500 at once; return how many.

    The company ended it, and the people read that; a client that is ended gets nothing meanwhile.
    """
    live = select(Grant.person_id, Grant.grant_id).join(Client, Client.client_id == Grant.client_id)
    left = live.where(Client.state == clients.ENDED, Grant.state.in_(consents.LIVE))
    found = session.execute(left.order_by(Grant.person_id, Grant.grant_id).limit(_ENDED_AT_ONCE)).all()
    for person_id, grant_id in found:
        consent.end(session, person_id=person_id, grant_id=grant_id, now=now)
    return len(found)


def refusal(error: PortalError) -> OAuthError:
    """Return a refusal in the shape of RFC 7591 section 3.2.2; raise what is none of registration's own."""
    if isinstance(error, OAuthError):
        return error
    if isinstance(error, key_source.BusyFetchingError):
        return BusyError(error.public, error.wait)
    if isinstance(error, (registering.NotVerifiedError, NotFoundError)):
        # The company changed, or the client was ended, between two looks at it.
        return RegistrationTokenError(private=error.code)
    for kind, shown_as in _REFUSED_AS:
        if isinstance(error, kind):
            return shown_as(_sentence(error), private=error.code)
    raise error


def challenge(error: OAuthError) -> str:
    """Return the `WWW-Authenticate` of a refused token (RFC 6750 section 3)."""
    return "Bearer" if isinstance(error, RegistrationTokenMissingError) else f'Bearer error="{error.code}"'


def _sentence(error: PortalError) -> str:
    said = f"{error.pointer}: {error.public}" if error.pointer else error.public
    return said.replace('"', "'").encode("ascii", "replace").decode()


def _order(asked: RegistrationRequest, company_id: UUID, document: Mapping[str, object]) -> Order:
    described = registering.describe_client(asked.session, company_id=company_id, metadata=document)
    return Order(company_id=company_id, described=described, keys=client_rules.sent_keys(document))


def _managed(asked: RegistrationRequest, client_id: str) -> ClientFacts:
    found = registration.managed(asked.session, client_id=client_id, token=asked.token())
    if found is None:
        raise RegistrationTokenError
    return found


def _document(asked: RegistrationRequest) -> dict[str, object]:
    if asked.query:
        raise parameters.QueryRefusedError
    if len(asked.body) > parameters.LARGEST:
        raise parameters.BodyTooLargeError
    if asked.mimetype != "application/json":
        raise JsonExpectedError
    try:
        document = json.loads(asked.body.decode(), object_pairs_hook=_once)
    except (ValueError, RecursionError):
        raise JsonExpectedError from None
    if not isinstance(document, dict):
        raise JsonExpectedError
    return document


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError
    return found


def _to_do(asked: RegistrationRequest, client_id: str) -> dict[str, Any]:
    """Say what is left to do before anything is sealed to the client's keys, and where (RFC 7591 section 3.2.1)."""
    facts = companies.key_list(asked.session, client_id, now=asked.now)
    states = [{"kid": key.kid, "use": key.use, "state": str(key.state)} for key in facts if key.live]
    return {"ucm_keys": states, "ucm_keys_uri": f"{asked.issuer}/api/v1/keys"}


def _information(asked: RegistrationRequest, client_id: str, token: str) -> dict[str, Any]:
    """Return the client information response (RFC 7591 section 3.2.1, RFC 7592 section 3)."""
    client = companies.client(asked.session, client_id)
    if client is None:
        raise RegistrationTokenError
    document = client_rules.document(clients.described(client))
    if client.metadata.jwks_uri is None:
        held = [companies.keys(asked.session, client_id, use) for use in ("sig", "enc")]
        document["jwks"] = {"keys": [key for keys in held for key in keys]}
    return (
        document
        | _to_do(asked, client_id)
        | {
            "client_id": client_id,
            "client_id_issued_at": int(client.created_at.timestamp()),
            "registration_access_token": token,
            "registration_client_uri": f"{asked.issuer}{PATH}/{client_id}",
        }
    )
