"""The errors of the authorization server: an RFC's code and a public sentence, the private detail apart.

A public sentence is a constant, so it never echoes what was sent and always fits RFC 6749 section 5.2
(printable ASCII without quotation mark and backslash).  Each check has a named error of its own that is one of
these; none says whether a client, a person or a token exists.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from portal.errors import PortalError

if TYPE_CHECKING:
    from collections.abc import Mapping


class OAuthError(PortalError):
    """A refusal with one of the registered error codes (RFC 6749 section 11.4); `code` is that code.

    `members` stand beside the error in the answer.
    """

    status = 400
    members: Mapping[str, str] = MappingProxyType({})


class InvalidRequestError(OAuthError):
    code = "invalid_request"
    public = "The request is malformed."


class InvalidClientError(OAuthError):
    """Client authentication failed; the sentence is the same for every cause (RFC 6749 section 5.2)."""

    code = "invalid_client"
    status = 401
    public = "Client authentication failed."


class ClientKeyUnknownError(InvalidClientError):
    """The assertion names a key the client does not have here; it may have a new one at its `jwks_uri`."""

    def __init__(self, client_id: str) -> None:
        super().__init__(private="the kid is of no registered key")
        self.client_id = client_id


class InvalidGrantError(OAuthError):
    """A code or refresh token cannot be used; the sentence is the same for every cause."""

    code = "invalid_grant"
    public = "The code or refresh token is not valid for this client."


class InvalidScopeError(OAuthError):
    code = "invalid_scope"
    public = "A requested scope is unknown or wider than what was granted."


class UnauthorizedClientError(OAuthError):
    """RFC 6749 section 5.2: an authenticated client that may not do this."""

    code = "unauthorized_client"
    public = "This client is not registered for this."


class UnsupportedGrantTypeError(OAuthError):
    code = "unsupported_grant_type"
    public = "This grant_type is not supported."


class UnsupportedResponseTypeError(OAuthError):
    code = "unsupported_response_type"
    public = "Only response_type=code is supported."


class InvalidAuthorizationDetailsError(OAuthError):
    """RFC 9396 section 5."""

    code = "invalid_authorization_details"
    public = "authorization_details cannot be used."


class InvalidGrantIdError(OAuthError):
    """Grant Management for OAuth 2.0 (draft 03) section 5.4: unknown, over or another's; the three look the same."""

    code = "invalid_grant_id"
    public = "grant_id names no live grant of this client for this purpose."


class PersonDiffersError(OAuthError):
    """Whoever signed in is not the person of the consent that was named; the client hears what it hears of a no."""

    code = "access_denied"
    public = "The person declined."


class InvalidTargetError(OAuthError):
    """RFC 8707 section 2."""

    code = "invalid_target"
    public = "The requested resource is not served here."


class RequestNotSupportedError(OAuthError):
    """OpenID Connect Core section 3.1.2.6."""

    code = "request_not_supported"
    public = "Request objects are not supported here."


class InvalidRequestObjectError(OAuthError):
    """RFC 9101 section 7."""

    code = "invalid_request_object"
    public = "The request object is not valid."


class RegistrationNotSupportedError(OAuthError):
    """OpenID Connect Core section 3.1.2.6."""

    code = "registration_not_supported"
    public = "registration is not supported."


class InvalidProofError(OAuthError):
    """A DPoP proof fails one of the checks of RFC 9449 section 4.3."""

    code = "invalid_dpop_proof"
    public = "The DPoP proof is not valid."


class InvalidTokenError(OAuthError):
    """RFC 6750 section 3.1: unknown, expired, revoked or bound to another key; the caller cannot tell which."""

    code = "invalid_token"
    status = 401
    public = "The access token is not valid."


class TokenUnknownError(InvalidTokenError):
    pass


class TokenExpiredError(TokenUnknownError):
    """A token that was good: its client fetches another, and nobody has guessed anything."""


class KeyDiffersError(InvalidTokenError):
    pass


class InsufficientScopeError(OAuthError):
    code = "insufficient_scope"
    status = 403
    public = "The access token does not allow this."


class InsufficientAuthenticationError(OAuthError):
    """RFC 9470 section 3: the person must prove more surely, or more recently, who they are."""

    code = "insufficient_user_authentication"
    status = 401
    public = "The person must confirm who they are: ask for the acr_values and max_age of the challenge."
