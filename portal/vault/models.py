"""Tables of keys; every private part in them is wrapped."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Mapped, mapped_column

from portal.db import Base


class PersonKey(Base):
    """A person's root key, wrapped by the keyring; deleting the row shreds everything they own."""

    __tablename__ = "person_key"

    person_id: Mapped[UUID] = mapped_column(primary_key=True)
    keyring_version: Mapped[int] = mapped_column(index=True)
    wrapped_root: Mapped[bytes]
    commitment: Mapped[bytes]


class SigningKey(Base):
    """A key the portal signs with: its public JWK, and its private part wrapped.

    It is published from `created_at`, signs from `signs_from` until a younger one does, and stays published for a
    while after `retired_at`.
    """

    __tablename__ = "signing_key"

    kid: Mapped[str] = mapped_column(primary_key=True)
    public_jwk: Mapped[dict[str, Any]]
    keyring_version: Mapped[int]
    wrapped_private: Mapped[bytes]
    created_at: Mapped[datetime]
    signs_from: Mapped[datetime]
    retired_at: Mapped[datetime | None]


class RecordKey(Base):
    """A key that consents are signed with: its public JWK, kept for ever, and its private part, wrapped.

    It signs from `created_at` to `retired_at`; `revoked_at` is when it turned out to be in other hands.
    """

    __tablename__ = "record_key"

    kid: Mapped[str] = mapped_column(primary_key=True)
    public_jwk: Mapped[dict[str, Any]]
    keyring_version: Mapped[int]
    wrapped_private: Mapped[bytes]
    created_at: Mapped[datetime]
    retired_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
