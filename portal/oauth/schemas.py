"""The shapes of what the authorization server takes and answers, for the published OpenAPI document.

They describe: the endpoints themselves read their forms by `parameters.read` and their own checks, which know
more than a schema can say.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class ClientForm(BaseModel):
    """Every form authenticates its client by a signed assertion (RFC 7523 section 2.2)."""

    model_config = ConfigDict(extra="forbid")

    client_assertion_type: Literal["urn:ietf:params:oauth:client-assertion-type:jwt-bearer"]
    client_assertion: str = Field(description="A JWT with iss = sub = client_id, aud = the issuer, exp, jti.")
    client_id: str | None = None


class PushForm(ClientForm):
    """A pushed authorization request (RFC 9126); with `request` it holds nothing else (RFC 9101)."""

    response_type: Literal["code"] | None = None
    redirect_uri: str | None = None
    code_challenge: str | None = None
    code_challenge_method: Literal["S256"] | None = None
    scope: str | None = None
    state: str | None = None
    nonce: str | None = None
    authorization_details: str | None = Field(default=None, description="A JSON array of one `ucm_profile` (RFC 9396).")
    resource: str | None = None
    dpop_jkt: str | None = None
    response_mode: Literal["query", "query.jwt", "jwt"] | None = None
    prompt: str | None = None
    max_age: str | None = None
    acr_values: str | None = None
    id_token_hint: str | None = None
    grant_management_action: Literal["create", "replace", "merge"] | None = None
    grant_id: str | None = None
    request: str | None = Field(default=None, description="All of it as a signed JWT (RFC 9101).")


class BackchannelForm(ClientForm):
    """A request for approval away from the browser (CIBA Core 1.0 section 7.1)."""

    scope: str
    login_hint: str | None = Field(default=None, description="The `sub` of somebody you know.")
    id_token_hint: str | None = None
    binding_message: str | None = None
    authorization_details: str | None = None
    requested_expiry: str | None = None
    acr_values: str | None = None
    client_notification_token: str | None = None


class TokenForm(ClientForm):
    """A token request (RFC 6749 section 4.1.3, 4.4.2 and 6, CIBA section 10.1)."""

    grant_type: Literal[
        "authorization_code", "refresh_token", "client_credentials", "urn:openid:params:grant-type:ciba"
    ]
    code: str | None = None
    code_verifier: str | None = None
    redirect_uri: str | None = None
    refresh_token: str | None = None
    auth_req_id: str | None = None
    scope: str | None = None
    resource: str | None = None


class OneTokenForm(ClientForm):
    """A token to end (RFC 7009 section 2.1) or to ask about (RFC 7662 section 2.1)."""

    token: str
    token_type_hint: str | None = None


class Pushed(BaseModel):
    """RFC 9126 section 2.2."""

    request_uri: str
    expires_in: int


class Waiting(BaseModel):
    """CIBA section 7.3."""

    auth_req_id: str
    expires_in: int
    interval: int


class Tokens(BaseModel):
    """RFC 6749 section 5.1; with a person behind it, what they granted."""

    access_token: str
    token_type: Literal["DPoP"]
    expires_in: int
    scope: str
    refresh_token: str | None = None
    id_token: str | None = None
    grant_id: str | None = None
    authorization_details: list[dict[str, Any]] | None = None
    sub: str | None = None


class Introspected(BaseModel):
    """RFC 7662 section 2.2; `active` alone when there is nothing to tell."""

    active: bool
    iss: str | None = None
    aud: str | None = None
    client_id: str | None = None
    scope: str | None = None
    token_type: str | None = None
    iat: int | None = None
    exp: int | None = None
    cnf: dict[str, str] | None = None
    sub: str | None = None
    grant_id: str | None = None
    authorization_details: list[dict[str, Any]] | None = None
    auth_time: int | None = None
    acr: str | None = None


class Claims(BaseModel):
    """The claims of userinfo (OpenID Connect Core section 5.3.2)."""

    model_config = ConfigDict(extra="allow")

    sub: str


class Registered(BaseModel):
    """A client as it is registered (RFC 7591 section 3.2.1); never with a secret."""

    model_config = ConfigDict(extra="allow")

    client_id: str
    registration_access_token: str | None = None
    registration_client_uri: str


class Registration(BaseModel):
    """Client metadata (RFC 7591 section 2); members that are not known are ignored."""

    model_config = ConfigDict(extra="allow")

    client_name: str
    redirect_uris: list[str] | None = None
    jwks: dict[str, Any] | None = None
    jwks_uri: str | None = None
    grant_types: list[str] | None = None


class GrantState(BaseModel):
    """What a grant holds (Grant Management section 6.3)."""

    model_config = ConfigDict(extra="allow")

    scopes: list[dict[str, Any]]
    authorization_details: list[dict[str, Any]]
