"""What the authorization server keeps: hashes of what it handed out, never the thing itself."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Mapped, mapped_column

from portal.db import Base


class PushedRequest(Base):
    """A pushed authorization request (RFC 9126), found by the SHA-256 of its `request_uri`."""

    __tablename__ = "pushed_request"

    uri_hash: Mapped[bytes] = mapped_column(primary_key=True)
    client_id: Mapped[str]
    parameters: Mapped[dict[str, Any]]
    dpop_jkt: Mapped[str | None]
    expires_at: Mapped[datetime] = mapped_column(index=True)
    opened_at: Mapped[datetime | None]
    used_at: Mapped[datetime | None]


class AuthorizationCode(Base):
    """An authorization code (RFC 6749 section 4.1.2) with its challenge (RFC 7636); single use."""

    __tablename__ = "authorization_code"
    __table_args__ = ({"info": {"directory": "found by the code a client sends"}},)

    code_hash: Mapped[bytes] = mapped_column(primary_key=True)
    client_id: Mapped[str]
    person_id: Mapped[UUID]
    grant_id: Mapped[UUID]
    redirect_uri: Mapped[str]
    scope: Mapped[str]
    nonce: Mapped[str | None]
    code_challenge: Mapped[str]
    dpop_jkt: Mapped[str | None]
    authenticated_at: Mapped[datetime]
    level: Mapped[int] = mapped_column(default=1)
    expires_at: Mapped[datetime] = mapped_column(index=True)
    used_at: Mapped[datetime | None]


class AccessToken(Base):
    """An opaque access token bound to a DPoP key (RFC 9449); without a person it is the client's own."""

    __tablename__ = "access_token"
    __table_args__ = ({"info": {"directory": "found by the token a client sends"}},)

    token_hash: Mapped[bytes] = mapped_column(primary_key=True)
    client_id: Mapped[str]
    company_id: Mapped[UUID]
    person_id: Mapped[UUID | None]
    grant_id: Mapped[UUID | None] = mapped_column(index=True)
    scope: Mapped[str]
    jkt: Mapped[str]
    code_hash: Mapped[bytes | None] = mapped_column(index=True)
    authenticated_at: Mapped[datetime | None]
    level: Mapped[int | None]
    issued_at: Mapped[datetime]
    expires_at: Mapped[datetime] = mapped_column(index=True)
    revoked_at: Mapped[datetime | None]


class RefreshToken(Base):
    """A refresh token bound to client and grant; it is not rotated (FAPI 2.0 section 5.3.2.1)."""

    __tablename__ = "refresh_token"
    __table_args__ = ({"info": {"directory": "found by the token a client sends"}},)

    token_hash: Mapped[bytes] = mapped_column(primary_key=True)
    client_id: Mapped[str]
    person_id: Mapped[UUID]
    grant_id: Mapped[UUID] = mapped_column(index=True)
    scope: Mapped[str]
    code_hash: Mapped[bytes] = mapped_column(index=True)
    authenticated_at: Mapped[datetime]
    level: Mapped[int] = mapped_column(default=1)
    issued_at: Mapped[datetime]
    used_at: Mapped[datetime] = mapped_column(index=True)
    expires_at: Mapped[datetime] = mapped_column(index=True)
    revoked_at: Mapped[datetime | None]


class BackchannelRequest(Base):
    """A request for approval away from the browser (CIBA Core 1.0 section 7), found by the SHA-256 of `auth_req_id`.

    The question itself and its answer are `consent.models.ApprovalRequest`.  `interval` is in seconds and grows
    with every poll that comes too soon.  A client that is pinged sent a token for it, kept wrapped by the keyring
    until the ping has arrived or was given up.
    """

    __tablename__ = "backchannel_request"
    __table_args__ = ({"info": {"directory": "found by the auth_req_id a client sends"}},)

    request_hash: Mapped[bytes] = mapped_column(primary_key=True)
    person_id: Mapped[UUID]
    request_id: Mapped[UUID] = mapped_column(index=True)
    client_id: Mapped[str]
    scope: Mapped[str]
    interval: Mapped[int]
    polled_at: Mapped[datetime | None]
    used_at: Mapped[datetime | None]
    expires_at: Mapped[datetime] = mapped_column(index=True)
    keyring_version: Mapped[int | None]
    wrapped_notification_token: Mapped[bytes | None]
    sealed_auth_req_id: Mapped[bytes | None]
    ping_due_at: Mapped[datetime | None] = mapped_column(index=True)
    ping_attempts: Mapped[int] = mapped_column(default=0)


class UsedProof(Base):
    """The `jti` of an assertion or DPoP proof already seen, as SHA-256 of its key and itself."""

    __tablename__ = "used_proof"

    proof_hash: Mapped[bytes] = mapped_column(primary_key=True)
    expires_at: Mapped[datetime] = mapped_column(index=True)
