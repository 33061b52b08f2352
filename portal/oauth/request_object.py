"""Signed request objects (RFC 9101) by value in a pushed request, as FAPI 2.0 Message Signing section 5.3.1 has them.

What the object holds is then checked exactly as if it had come as a form: one mapping, each parameter a string.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from portal.companies import proofs
from portal.oauth import compact, known_clients, parameters, replay, resource_indicators
from portal.oauth.client_assertion import TOLERANCE
from portal.oauth.compact import MalformedError
from portal.oauth.dpop import is_number
from portal.oauth.errors import InvalidRequestError, InvalidRequestObjectError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from portal.companies.queries import ClientFacts
    from portal.oauth.compact import Compact
    from portal.oauth.request import MachineRequest

LONGEST_LIFE: Final = timedelta(minutes=60)
_LONGEST_JTI = 512
_TYPES = ("jwt", "oauth-authz-req+jwt")
_BESIDE = frozenset({"request", "client_id", "client_assertion", "client_assertion_type"})
_OF_THE_JWT = frozenset({"iss", "sub", "aud", "exp", "nbf", "iat", "jti"})
_JSON = frozenset({"authorization_details", "claims", "registration"})
_NUMBER = "max_age"
_REPEATED = resource_indicators.NAME


class SignatureRequiredError(InvalidRequestError):
    """RFC 9101 section 10.5: `require_signed_request_object` of the client's own metadata."""

    public = "This client must send a signed request object."


class BesideRequestObjectError(InvalidRequestError):
    """RFC 9126 section 3: beside it there is client authentication and nothing else."""

    public = "Beside request there may be only client_id, client_assertion and client_assertion_type."


class ObjectMalformedError(InvalidRequestObjectError):
    pass


class ObjectTypeError(InvalidRequestObjectError):
    pass


class ObjectAlgorithmError(InvalidRequestObjectError):
    public = "The request object is signed with another algorithm than the client registered."


class ObjectSignatureError(InvalidRequestObjectError):
    public = "No registered key of the client made the signature of the request object."


class ObjectPartiesError(InvalidRequestObjectError):
    public = "iss and client_id of the request object must be the client, aud the issuer, and sub is not used."


class ObjectTimeError(InvalidRequestObjectError):
    public = "The request object must have exp and nbf, be valid now, and live for 60 minutes at most."


class ObjectNestedError(InvalidRequestObjectError):
    public = "A request object cannot hold request or request_uri."


class ObjectValueError(InvalidRequestObjectError):
    public = "A parameter in the request object has the wrong JSON type."


class ObjectReplayedError(InvalidRequestObjectError):
    public = "The jti of the request object was used before or is not a short text."


def unpacked(request: MachineRequest, client: ClientFacts) -> Mapping[str, str]:
    """Return the parameters to judge: those of the form, or of the signed object when the form brings one."""
    sent = request.parameters
    if "request" not in sent:
        _check_may_be_plain(client)
        return sent
    _check_nothing_beside(sent)
    parsed = _parsed(sent["request"])
    _check_type(parsed)
    _check_algorithm(parsed, client)
    known = known_clients.find(request.database_url, client.client_id)
    kid = _signer(parsed, known.keys if known else ())
    _check_parties(parsed, client, request.issuer)
    _check_times(parsed, request.now)
    _check_not_nested(parsed)
    found = _parameters(parsed)
    _use_once(request, parsed, client)
    if known and kid in known.unused:
        proofs.signed(request.session, client_id=client.client_id, kid=kid, now=request.now)
    return found


def _check_may_be_plain(client: ClientFacts) -> None:
    if client.metadata.require_signed_request_object:
        raise SignatureRequiredError


def _check_nothing_beside(sent: Mapping[str, str]) -> None:
    if not sent.keys() <= _BESIDE:
        raise BesideRequestObjectError


def _parsed(text: str) -> Compact:
    try:
        return compact.parse(text)
    except MalformedError as error:
        raise ObjectMalformedError(private=str(error)) from error


def _check_type(parsed: Compact) -> None:
    # A client assertion or a DPoP proof of the same client is not a request.
    named = parsed.header.get("typ", "JWT")
    if not isinstance(named, str) or named.lower().removeprefix("application/") not in _TYPES:
        raise ObjectTypeError(private="typ is of another kind of JWT")


def _check_algorithm(parsed: Compact, client: ClientFacts) -> None:
    registered = client.metadata.request_object_signing_alg
    if registered is not None and parsed.header.get("alg") != registered:
        raise ObjectAlgorithmError


def _signer(parsed: Compact, registered: Iterable[Mapping[str, Any]]) -> str:
    named = parsed.header.get("kid")
    for jwk in registered:
        if named in (None, jwk.get("kid")) and _signed(parsed, jwk):
            return str(jwk["kid"])
    raise ObjectSignatureError


def _signed(parsed: Compact, jwk: Mapping[str, Any]) -> bool:
    try:
        compact.verify(parsed, compact.public_key(dict(jwk)))
    except MalformedError:
        return False
    return True


def _check_parties(parsed: Compact, client: ClientFacts, issuer: str) -> None:
    claims = parsed.claims
    if claims.get("iss") != client.client_id or claims.get("client_id") != client.client_id:
        raise ObjectPartiesError(private="iss or client_id is not the client")
    audience = claims.get("aud")
    # Unlike an assertion's, this audience may be a list (FAPI 2.0 Message Signing section 5.3.1).
    if audience != issuer and not (isinstance(audience, list) and issuer in audience):
        raise ObjectPartiesError(private="aud is not the issuer")
    # With the client as its subject it could pass for an assertion (RFC 9101 section 10.8).
    if "sub" in claims:
        raise ObjectPartiesError(private="there is a sub")


def _check_times(parsed: Compact, now: datetime) -> None:
    expires, begins = parsed.claims.get("exp"), parsed.claims.get("nbf")
    if not is_number(expires) or not is_number(begins):
        raise ObjectTimeError(private="exp or nbf is missing")
    moment = now.timestamp()
    if begins > moment + TOLERANCE.total_seconds():
        raise ObjectTimeError(private="nbf is in the future")
    # With an exp that is not past, this keeps nbf within the last 60 minutes as well.
    if not moment < expires <= begins + LONGEST_LIFE.total_seconds():
        raise ObjectTimeError(private="exp is past or too far from nbf")


def _check_not_nested(parsed: Compact) -> None:
    # RFC 9101 section 4.
    if parsed.claims.keys() & {"request", "request_uri"}:
        raise ObjectNestedError


def _parameters(parsed: Compact) -> Mapping[str, str]:
    claims = {name: value for name, value in parsed.claims.items() if name not in _OF_THE_JWT}
    resources = claims.pop(_REPEATED, None)
    several = resources if isinstance(resources, list) else [] if resources is None else [resources]
    pairs = [*claims.items(), *((_REPEATED, value) for value in several)]
    return parameters.once([(name, _text(name, value)) for name, value in pairs])


def _text(name: str, value: object) -> str:
    # RFC 9101 section 4: what is text in a form is a JSON string, what is a number or JSON there is so here.
    if isinstance(value, str) and _is_unicode(value):
        return value
    if name in _JSON and isinstance(value, list | dict):
        return json.dumps(value)
    if name == _NUMBER and isinstance(value, int) and is_number(value):
        return str(value)
    raise ObjectValueError


def _is_unicode(text: str) -> bool:
    # JSON can hold half of a surrogate pair, which is no character and cannot be kept.
    return not any("\ud800" <= sign <= "\udfff" for sign in text)


def _use_once(request: MachineRequest, parsed: Compact, client: ClientFacts) -> None:
    if "jti" not in parsed.claims:
        return
    jti = parsed.claims["jti"]
    if not isinstance(jti, str) or not 0 < len(jti) <= _LONGEST_JTI:
        raise ObjectReplayedError(private="no jti")
    gone = datetime.fromtimestamp(parsed.claims["exp"], UTC) + TOLERANCE
    try:
        replay.use(request.session, replay.fingerprint("request-object", client.client_id, jti), gone)
    except replay.ReplayedError as error:
        raise ObjectReplayedError(private="the jti was used before") from error
