"""Engine, session and the declarative base; no Flask in sight."""

from __future__ import annotations

import os
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any
from uuid import UUID

from sqlalchemy import DateTime, MetaData, Uuid, create_engine, event
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import DeclarativeBase, Session, sessionmaker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy import Engine

    from portal.errors import PortalError

NAMES = {
    "ix": "%(table_name)s_%(column_0_N_name)s_idx",
    "uq": "%(table_name)s_%(column_0_N_name)s_key",
    "ck": "%(table_name)s_%(constraint_name)s_check",
    "fk": "%(table_name)s_%(column_0_N_name)s_fkey",
    "pk": "%(table_name)s_pkey",
}


class Base(DeclarativeBase):
    """Base of every table.

    A table that has a `person_id` leads its primary key and every unique constraint with it, so that the
    schema can be spread by person; one that cannot says why in `info["directory"]`.
    """

    metadata = MetaData(naming_convention=NAMES)
    type_annotation_map = {  # noqa: RUF012 - SQLAlchemy reads the plain attribute
        datetime: DateTime(timezone=True),
        UUID: Uuid(),
        dict[str, Any]: JSONB(),
        list[Any]: JSONB(),
        list[str]: JSONB(),
        dict[str, str]: JSONB(),
    }


def now() -> datetime:
    """Return the current time with its zone; edges read it once and pass it down."""
    return datetime.now(UTC)


def new_id() -> UUID:
    """Return a time-ordered identifier (RFC 9562 section 5.7), so that indexes grow at one end."""
    milliseconds = time.time_ns() // 1_000_000
    noise = int.from_bytes(os.urandom(10))
    value = milliseconds << 80 | 7 << 76 | (noise >> 68) << 64 | 2 << 62 | noise & (1 << 62) - 1
    return UUID(int=value)


@cache
def engine(url: str) -> Engine:
    """Return the process's pool of connections for `url`; made on first use, so after any fork."""
    made = create_engine(url, pool_size=10, max_overflow=10, pool_pre_ping=False, hide_parameters=True)
    event.listen(made, "connect", _use_utc)
    return made


@cache
def at_once(url: str) -> Engine:
    """Return a pool whose every statement commits by itself: for paths that count round trips."""
    made = create_engine(
        url,
        pool_size=10,
        max_overflow=10,
        isolation_level="AUTOCOMMIT",
        pool_reset_on_return=None,
        hide_parameters=True,
    )
    event.listen(made, "connect", _use_utc)
    return made


def _use_utc(connection: Any, _record: object) -> None:  # noqa: ANN401 - the driver's own type
    with connection.cursor() as cursor:
        cursor.execute("SET TIME ZONE 'UTC'")
    connection.commit()


@cache
def sessions(url: str) -> sessionmaker[Session]:
    """Return the maker of sessions on `url`."""
    return sessionmaker(engine(url), expire_on_commit=False)


@contextmanager
def transaction(url: str) -> Iterator[Session]:
    """Open a session, commit at the end, roll back on any exception: what an edge wraps its work in."""
    with sessions(url).begin() as session:
        yield session


def after_commit(session: Session, action: Callable[[], object]) -> None:
    """Run `action` once when `session` has committed; forget it when it rolls back."""
    session.info.setdefault("after_commit", []).append(action)


@event.listens_for(Session, "after_commit")
def _run_actions(session: Session) -> None:
    # SQLAlchemy says this for savepoints too; nothing is kept before the whole transaction is.
    if session.in_nested_transaction():
        return
    for action in session.info.pop("after_commit", []):
        action()


@event.listens_for(Session, "after_rollback")
def _forget_actions(session: Session) -> None:
    if session.in_nested_transaction():
        return
    session.info.pop("after_commit", None)


@contextmanager
def refused_by(constraint: str, error: PortalError) -> Iterator[None]:
    """Turn the violation of the named `constraint` into `error`; let every other violation pass."""
    try:
        yield
    except IntegrityError as violation:
        diagnosis = getattr(violation.orig, "diag", None)
        if getattr(diagnosis, "constraint_name", None) != constraint:
            raise
        raise error from violation
