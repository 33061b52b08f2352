"""What a client says of itself besides its name, keys and redirect addresses (RFC 7591 section 2).

The names are the registered ones of RFC 7591, OpenID Connect Registration and Discovery, JARM, RFC 9701 and CIBA.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

GRANT_TYPES: Final = ("authorization_code", "refresh_token", "client_credentials")
CIBA: Final = "urn:openid:params:grant-type:ciba"


@dataclass(frozen=True, kw_only=True)
class ClientMetadata:
    """A client's choices; a member that was never set has the value every client begins with."""

    grant_types: tuple[str, ...] = GRANT_TYPES
    post_logout_redirect_uris: tuple[str, ...] = ()
    jwks_uri: str | None = None
    client_uri: str | None = None
    logo_uri: str | None = None
    tos_uri: str | None = None
    policy_uri: str | None = None
    contacts: tuple[str, ...] = ()
    default_max_age: int | None = None
    token_endpoint_auth_signing_alg: str | None = None
    require_signed_request_object: bool = False
    request_object_signing_alg: str | None = None
    authorization_signed_response_alg: str | None = None
    id_token_encrypted_response_alg: str | None = None
    id_token_encrypted_response_enc: str | None = None
    userinfo_signed_response_alg: str | None = None
    userinfo_encrypted_response_alg: str | None = None
    userinfo_encrypted_response_enc: str | None = None
    introspection_signed_response_alg: str | None = None
    introspection_encrypted_response_alg: str | None = None
    introspection_encrypted_response_enc: str | None = None
    backchannel_token_delivery_mode: str | None = None
    backchannel_client_notification_endpoint: str | None = None

    @classmethod
    def of(cls, kept: Mapping[str, Any]) -> ClientMetadata:
        """Return what a client's row keeps; lists come back as tuples."""
        known = {field.name for field in fields(cls)} & kept.keys()
        chosen: dict[str, Any] = {
            name: tuple(kept[name]) if isinstance(kept[name], list) else kept[name] for name in known
        }
        return cls(**chosen)
