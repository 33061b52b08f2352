"""Accounts: how a person is found, proves who they are, and stays signed in."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from sqlalchemy.orm import Mapped, mapped_column

from portal.db import Base, new_id


class Person(Base):
    """An individual with an account; `sealed_email` opens as attribute `identity.email`, version 1."""

    __tablename__ = "person"

    person_id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    sealed_email: Mapped[bytes]
    state: Mapped[str] = mapped_column(default="unconfirmed")
    created_at: Mapped[datetime]


class Operator(Base):
    """An account that looks after the portal itself: named on the command line, and asked for on every page."""

    __tablename__ = "operator"

    person_id: Mapped[UUID] = mapped_column(primary_key=True)
    added_at: Mapped[datetime]


class SignInIdentifier(Base):
    """Finds a person by the blind index of a confirmed sign-in e-mail."""

    __tablename__ = "sign_in_identifier"
    __table_args__ = ({"info": {"directory": "found by the index, before the person is known"}},)

    index: Mapped[bytes] = mapped_column(primary_key=True)
    person_id: Mapped[UUID] = mapped_column(index=True)


class Password(Base):
    """An Argon2id hash; a person need not have one.

    One that was replaced by somebody who showed a code alone counts as a proof beside a code from
    `second_proof_from` on.
    """

    __tablename__ = "password"

    person_id: Mapped[UUID] = mapped_column(primary_key=True)
    hash: Mapped[str]
    changed_at: Mapped[datetime]
    failures: Mapped[int] = mapped_column(default=0)
    locked_until: Mapped[datetime | None]
    second_proof_from: Mapped[datetime | None]


class SignInCode(Base):
    """A code sent by e-mail, sealed as `identity.code` version 1 so that the mail job can open it.

    `purpose` is what it is good for and was asked for: `sign-in` or `second-proof`.
    """

    __tablename__ = "sign_in_code"

    person_id: Mapped[UUID] = mapped_column(primary_key=True)
    code_id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    purpose: Mapped[str] = mapped_column(default="sign-in")
    sealed_code: Mapped[bytes]
    expires_at: Mapped[datetime]
    tries: Mapped[int] = mapped_column(default=0)
    used_at: Mapped[datetime | None]


class BrowserSession(Base):
    """A signed-in browser; the cookie holds the token, the table its SHA-256."""

    __tablename__ = "browser_session"
    __table_args__ = ({"info": {"directory": "found by the token, before the person is known"}},)

    token_hash: Mapped[bytes] = mapped_column(primary_key=True)
    person_id: Mapped[UUID] = mapped_column(index=True)
    method: Mapped[str]
    browser: Mapped[str]
    authenticated_at: Mapped[datetime]
    level: Mapped[int] = mapped_column(default=1)
    seen_at: Mapped[datetime]
    expires_at: Mapped[datetime] = mapped_column(index=True)
    ended_at: Mapped[datetime | None]
