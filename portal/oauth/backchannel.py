"""Asking for approval away from the browser (CIBA Core 1.0 section 7): checked, put to the person, named once.

The company names somebody it knows already by its own identifier of them, so a refusal tells it nothing about
anybody else.  The answer is fetched at the token endpoint (`backchannel_token.py`); a client that is pinged is
told when there is one (`ping.py`).
"""

from __future__ import annotations

import re
import secrets
import unicodedata
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from authlib.oauth2.rfc6749.endpoint import Endpoint, EndpointRequest

from portal.companies.metadata import CIBA
from portal.consent import approvals, unwanted
from portal.consent import queries as consents
from portal.identity import levels
from portal.identity import queries as identity
from portal.oauth import id_token, pace, parameters, ping, resource_indicators, rich_authorization, tokens
from portal.oauth.errors import (
    InvalidRequestError,
    InvalidScopeError,
    OAuthError,
    RequestNotSupportedError,
    UnauthorizedClientError,
)
from portal.oauth.models import BackchannelRequest
from portal.oauth.par import PERSON_SCOPES, ScopeUnknownError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

    from portal.companies.queries import ClientFacts
    from portal.oauth.request import MachineRequest

# Seconds between two polls, until one comes too soon.
INTERVAL: Final = 5
# Long enough to read a letter and sign in; a company that has the person on the telephone asks for less.
LIFE: Final = timedelta(minutes=10)
SHORTEST: Final = timedelta(seconds=30)
LONGEST: Final = timedelta(hours=24)
PINGED: Final = "ping"
DELIVERY_MODES: Final = ("poll", PINGED)
LONGEST_MESSAGE: Final = 64
_HINTS = ("login_hint", "id_token_hint", "login_hint_token")
_BEARER = re.compile(r"[A-Za-z0-9._~+/-]+=*", re.ASCII)
_LONGEST_TOKEN = 1024
_SECONDS = re.compile(r"[1-9][0-9]{0,8}", re.ASCII)
# These are letters to Unicode, and nothing to the eye.
_BLANK = frozenset("\u115f\u1160\u2800\u3164\uffa0")
# As many marks as any script puts on one letter; more would climb over the lines around them.
_MARKS = 3


class NotForApprovalError(UnauthorizedClientError):
    """CIBA section 4: the grant type and how the answer is delivered are chosen at registration."""

    public = "This client is not registered for the CIBA grant type with delivery mode poll or ping."


class RequestUriError(InvalidRequestError):
    public = "request_uri is not accepted here."


class UserCodeError(InvalidRequestError):
    public = "user_code is not supported."


class GrantManagementError(InvalidRequestError):
    public = "An approval adds to what is shared or confirms it: grant_management_action and grant_id are for PAR."


class ScopeMissingError(InvalidRequestError):
    public = "scope is missing."


class ScopeWithoutOpenidError(InvalidScopeError):
    public = "scope must hold openid."


class HintError(InvalidRequestError):
    """CIBA section 7.1: exactly one hint."""

    public = "Send exactly one of login_hint and id_token_hint."


class HintTokenError(InvalidRequestError):
    public = "login_hint_token is not supported: send login_hint or id_token_hint."


class IdTokenHintError(InvalidRequestError):
    public = "id_token_hint is not an ID token of this server for this client."


class UnknownUserError(OAuthError):
    """The namespace is the company's own: whoever it does not know might be nobody."""

    code = "unknown_user_id"
    public = "You know nobody by this hint."


class BindingMessageError(OAuthError):
    code = "invalid_binding_message"
    public = "binding_message must be 1 to 64 visible characters on one line."


class RequestedExpiryError(InvalidRequestError):
    public = "requested_expiry must be a positive number of seconds."


class NotificationTokenError(InvalidRequestError):
    """CIBA section 7.1, RFC 6750 section 2.1."""

    public = "A client that is pinged sends a client_notification_token of at most 1024 characters."


class NotWantedError(OAuthError):
    """The person has said that they do not want to be asked for this again."""

    code = "access_denied"
    status = 403
    public = unwanted.NotWantedError.public


class TooManyRequestsError(OAuthError):
    """CIBA section 13: refused without asking the person."""

    code = "access_denied"
    status = 403
    public = "Too many requests wait for this person, or were put to them today. Ask again later."


@dataclass(kw_only=True)
class ApprovalRequested(EndpointRequest):  # type: ignore[misc]  # Authlib ships no annotations
    """A request that passed every check; `notification_token` is None for a client that polls."""

    person_id: UUID
    scope: str
    purpose_id: UUID
    asked: dict[str, Any]
    message: str | None = field(repr=False)
    life: timedelta
    notification_token: str | None = field(repr=False)


class BackchannelEndpoint(Endpoint):  # type: ignore[misc]  # Authlib ships no annotations
    """`POST /oauth/bc-authorize`."""

    ENDPOINT_NAME = "backchannel_authentication"

    def validate_request(self, request: MachineRequest) -> ApprovalRequested:
        """Check, in this order: who asks, whether it may ask so, how it asks, about whom, and what."""
        sent = request.parameters
        client = request.authenticate_client()
        pace.check("bc-authorize", client)
        _check_registered(client)
        _check_not_supported(sent)
        scope = _scope(sent)
        hint = _only_hint(sent)
        message = _message(sent)
        life = _life(sent)
        level = _level(sent)
        notification_token = _notification_token(sent, client)
        resource_indicators.check(sent, request.issuer)
        asked = rich_authorization.read(
            request.session,
            client_id=client.client_id,
            text=sent.get("authorization_details"),
            scope=scope,
            issuer=request.issuer,
        )
        person_id = _person(request, client, hint)
        _check_wanted(request, person_id, asked.purpose.purpose_id)
        kept = asked.kept() | {"level": level}
        return ApprovalRequested(
            request, client, person_id=person_id, scope=scope, purpose_id=asked.purpose.purpose_id, asked=kept,
            message=message, life=life, notification_token=notification_token,
        )  # fmt: skip

    def create_response(self, validated_request: ApprovalRequested) -> tuple[int, dict[str, Any]]:
        """Put the question to the person and name it by an unguessable id (CIBA section 7.3)."""
        request = validated_request.request
        auth_req_id = secrets.token_urlsafe(32)
        row = _row(validated_request, auth_req_id)
        row.request_id = _ask(validated_request)
        if validated_request.notification_token is not None:
            ping.prepare(row, request.keyring, token=validated_request.notification_token, auth_req_id=auth_req_id)
        request.session.add(row)
        return 200, {
            "auth_req_id": auth_req_id,
            "expires_in": int(validated_request.life.total_seconds()),
            "interval": INTERVAL,
        }


def _row(asked: ApprovalRequested, auth_req_id: str) -> BackchannelRequest:
    return BackchannelRequest(
        request_hash=tokens.hash_of(auth_req_id),
        person_id=asked.person_id,
        client_id=asked.client.client_id,
        scope=asked.scope,
        interval=INTERVAL,
        expires_at=asked.request.now + asked.life,
    )


def _ask(asked: ApprovalRequested) -> UUID:
    request = asked.request
    try:
        return approvals.ask(
            request.session,
            keyring=request.keyring,
            person_id=asked.person_id,
            client=asked.client,
            purpose_id=asked.purpose_id,
            asked=asked.asked,
            message=asked.message,
            expires_at=request.now + asked.life,
            now=request.now,
        )
    except approvals.TooManyQuestionsError as error:
        raise TooManyRequestsError from error


def _check_registered(client: ClientFacts) -> None:
    chosen = client.metadata
    if CIBA not in chosen.grant_types or chosen.backchannel_token_delivery_mode not in DELIVERY_MODES:
        raise NotForApprovalError


def _check_not_supported(sent: Mapping[str, str]) -> None:
    if "request" in sent:
        raise RequestNotSupportedError
    if "request_uri" in sent:
        raise RequestUriError
    if "user_code" in sent:
        raise UserCodeError
    if "grant_management_action" in sent or "grant_id" in sent:
        raise GrantManagementError


def _scope(sent: Mapping[str, str]) -> str:
    if "scope" not in sent:
        raise ScopeMissingError
    scopes = parameters.scopes(sent["scope"])
    if "openid" not in scopes:
        raise ScopeWithoutOpenidError
    if not PERSON_SCOPES.issuperset(scopes):
        raise ScopeUnknownError
    return " ".join(dict.fromkeys(scopes))


def _only_hint(sent: Mapping[str, str]) -> tuple[str, str]:
    hints = [(name, sent[name]) for name in _HINTS if name in sent]
    if len(hints) != 1:
        raise HintError
    if hints[0][0] == "login_hint_token":
        raise HintTokenError
    return hints[0]


def _message(sent: Mapping[str, str]) -> str | None:
    """Return the words that both sides show: without characters that hide, reorder or overprint what stands there."""
    if "binding_message" not in sent:
        return None
    text = unicodedata.normalize("NFC", sent["binding_message"])
    plain = text.isprintable() and text == text.strip() and 0 < len(text) <= LONGEST_MESSAGE
    if not plain or _BLANK & set(text) or _overprints(text):
        raise BindingMessageError
    return text


def _overprints(text: str) -> bool:
    run = _MARKS  # The first character has nothing to stand on.
    for character in text:
        run = run + 1 if unicodedata.category(character) in {"Mn", "Me"} else 0
        if run > _MARKS:
            return True
    return False


def _life(sent: Mapping[str, str]) -> timedelta:
    # The server may take the wish as a hint (CIBA section 7.1): one beyond the bounds gets the nearest.
    if "requested_expiry" not in sent:
        return LIFE
    if not _SECONDS.fullmatch(sent["requested_expiry"]):
        raise RequestedExpiryError
    return min(max(timedelta(seconds=int(sent["requested_expiry"])), SHORTEST), LONGEST)


def _level(sent: Mapping[str, str]) -> int:
    # In order of preference, and voluntary: values that are not ours say nothing here.
    known = (levels.level_of(value) for value in sent.get("acr_values", "").split())
    return next((level for level in known if level is not None), levels.ONE_PROOF)


def _notification_token(sent: Mapping[str, str], client: ClientFacts) -> str | None:
    if client.metadata.backchannel_token_delivery_mode != PINGED:
        return None
    token = sent.get("client_notification_token", "")
    if len(token) > _LONGEST_TOKEN or not _BEARER.fullmatch(token):
        raise NotificationTokenError
    return token


def _person(request: MachineRequest, client: ClientFacts, hint: tuple[str, str]) -> UUID:
    name, value = hint
    sub = _sub(request, client, value) if name == "id_token_hint" else value
    known = consents.person_of(request.session, company_id=client.company_id, sub=sub)
    if known is None or not identity.is_confirmed(request.session, person_id=known):
        raise UnknownUserError
    return known


def _check_wanted(request: MachineRequest, person_id: UUID, purpose_id: UUID) -> None:
    # Whoever shares already may be asked to confirm it.
    if consents.live_for_purpose(request.session, person_id=person_id, purpose_id=purpose_id) is not None:
        return
    try:
        unwanted.check(request.session, person_id=person_id, purpose_id=purpose_id)
    except unwanted.NotWantedError as error:
        raise NotWantedError from error


def _sub(request: MachineRequest, client: ClientFacts, text: str) -> str:
    # It may have expired long ago (CIBA section 7.1).
    try:
        hint = id_token.read(request.session, text, issuer=request.issuer)
    except id_token.HintUnreadableError as error:
        raise IdTokenHintError(private=str(error)) from error
    if hint.client_id != client.client_id:
        raise IdTokenHintError(private="the ID token is for another client")
    return hint.sub
