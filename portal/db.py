"""Engine, session and the declarative base; no Flask in sight."""

from __future__ import annotations

import os
import re
import time
from collections import deque, namedtuple
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import count
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID

import orjson
from psycopg import OperationalError, errors
from psycopg.pq import ConnStatus, DiagnosticField, ExecStatus, PGconn, TransactionStatus
from sqlalchemy import DateTime, MetaData, Uuid, create_engine, event, make_url
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import DeclarativeBase, Session, sessionmaker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from psycopg.pq.abc import PGconn as Libpq
    from psycopg.pq.abc import PGresult
    from sqlalchemy import Connection, Engine

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


# Rows are found by their keys, and those that are asked for again and again are in memory.  A page costs hardly more
# there than its neighbour; PostgreSQL's own figure is of turning disks, and has it read whole tables instead.
_BY_INDEX = "SET random_page_cost = 1.1"


@cache
def engine(url: str) -> Engine:
    """Return the process's pool of connections for `url`; made on first use, so after any fork."""
    made = create_engine(url, pool_size=10, max_overflow=10, pool_pre_ping=False, hide_parameters=True)
    event.listen(made, "connect", _set_up)
    # The driver forgets every statement the server has prepared when it rolls back.
    event.listen(made, "rollback", _forget_prepared)
    event.listen(made, "rollback_savepoint", _forget_prepared)
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
    event.listen(made, "connect", _set_up)
    return made


def _set_up(connection: Any, _record: object) -> None:  # noqa: ANN401 - the driver's own type
    with connection.cursor() as cursor:
        cursor.execute("SET TIME ZONE 'UTC'")
        cursor.execute(_BY_INDEX)
    connection.commit()


def _forget_prepared(connection: Connection, *_savepoint: object) -> None:
    if not connection.invalidated:
        connection.info.pop("prepared", None)


class _Line:
    """A connection of libpq's own, and the statements it has prepared; used by one thread at a time."""

    def __init__(self, url: str) -> None:
        plain = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
        self._libpq = PGconn.connect(plain.encode())
        if self._libpq.status != ConnStatus.OK:
            raise OperationalError("no connection to the database")
        _checked(self._libpq.exec_(b"SET client_encoding TO 'UTF8'"))
        _checked(self._libpq.exec_(_BY_INDEX.encode()))
        self._prepared: dict[str, bytes] = {}

    def run(self, name: str, sql: str, values: list[Any]) -> PGresult:
        return _run(self._libpq, self._prepared, name, sql, values)


def _run(libpq: Libpq, prepared: dict[str, bytes], name: str, sql: str, values: list[Any]) -> PGresult:
    known = prepared.get(name)
    if known is None:
        # A name of its own each time: what was forgotten here may still be known there.
        known = f"{name}_{next(_numbers)}".encode()
        _checked(libpq.prepare(known, sql.encode()))
        prepared[name] = known
    return _checked(libpq.exec_prepared(known, values, None, _BINARY))


@cache
def _idle(_url: str) -> deque[_Line]:
    # As many as there are threads that ask at once; taking and giving back are atomic.
    return deque()


_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)


def _read_tree(value: bytes) -> Any:  # noqa: ANN401 - whatever the JSON holds
    # The first byte is the version of the form.
    return orjson.loads(value[1:])


# The binary form of each type, by PostgreSQL's own number of it; any other is text.
_READ: dict[int, Callable[[bytes], Any]] = {
    16: b"\x01".__eq__,
    17: bytes,
    20: lambda value: int.from_bytes(value, signed=True),
    21: lambda value: int.from_bytes(value, signed=True),
    23: lambda value: int.from_bytes(value, signed=True),
    114: orjson.loads,
    1184: lambda value: _EPOCH + timedelta(microseconds=int.from_bytes(value, signed=True)),
    2950: lambda value: UUID(bytes=value),
    3802: _read_tree,
}
_BINARY = 1
_numbers = count()
_PARAMETER = re.compile(r"(?<!:):(\w+)")


class Prepared:
    """One statement of a hot path: planned once a connection, one round trip.

    libpq sends it and its rows are read here, which costs a tenth of what a session does
    (docs/decisions/0007-libpq-for-the-pull.md).  Parameters are written `:name`, as in `text()`; lists are arrays.
    """

    def __init__(self, name: str, sql: str) -> None:
        self.names = tuple(dict.fromkeys(_PARAMETER.findall(sql)))
        self.sql = _PARAMETER.sub(lambda found: f"${self.names.index(found[1]) + 1}", sql)
        self.name = name
        self._read: tuple[Callable[[Iterable[Any]], Any], list[Callable[[bytes], Any]]] | None = None

    def one(self, url: str, parameters: Mapping[str, object]) -> Any:  # noqa: ANN401 - a row of this statement
        """Run it by itself and return its first row by column names, or None.

        Raises the driver's error, without the server's words.
        """
        result = self._at_once(url, parameters)
        return self._rows(result)[0] if result.ntuples else None

    def all(self, url: str, parameters: Mapping[str, object]) -> list[Any]:
        """Run it by itself, as `one` does, and return every row."""
        return self._rows(self._at_once(url, parameters))

    def within(self, session: Session, parameters: Mapping[str, object]) -> list[Any]:
        """Run it as a part of the session's transaction and return every row; raises as `one` does."""
        connection = session.connection().connection
        libpq: Libpq = cast("Any", connection.driver_connection).pgconn
        if libpq.transaction_status == TransactionStatus.IDLE:
            _checked(libpq.exec_(b"BEGIN"))
        values = [_written(parameters[name]) for name in self.names]
        try:
            result = _run(libpq, connection.info.setdefault("prepared", {}), self.name, self.sql, values)
        except BaseException:
            if libpq.status != ConnStatus.OK:
                session.connection().invalidate()
            raise
        return self._rows(result)

    def _at_once(self, url: str, parameters: Mapping[str, object]) -> PGresult:
        idle = _idle(url)
        try:
            line = idle.pop()
        except IndexError:
            line = _Line(url)
        try:
            result = line.run(self.name, self.sql, [_written(parameters[name]) for name in self.names])
        except BaseException:
            # The server may be gone, or a plan no longer fit: whoever comes next begins anew.
            idle.clear()
            raise
        idle.append(line)
        return result

    def _rows(self, result: PGresult) -> list[Any]:
        make, readers = self._read or self._described(result)
        if result.ntuples == 1:
            written = [result.get_value(0, at) for at in range(len(readers))]
            return [make([None if each is None else read(each) for each, read in zip(written, readers, strict=True)])]
        numbers = range(result.ntuples)
        columns = [_column(result, at, read, numbers) for at, read in enumerate(readers)]
        return [make(values) for values in zip(*columns, strict=True)]

    def _described(self, result: PGresult) -> tuple[Callable[[Iterable[Any]], Any], list[Callable[[bytes], Any]]]:
        fields = range(result.nfields)
        names = [(result.fname(column) or b"").decode() for column in fields]
        readers = [_READ.get(result.ftype(column), bytes.decode) for column in fields]
        self._read = rows_of(self.name, tuple(names)), readers
        return self._read


@cache
def rows_of(name: str, fields: tuple[str, ...]) -> Callable[[Iterable[Any]], Any]:
    """Return what makes a row with these fields of their values: a statement says what it returns once it has run."""
    row: Any = namedtuple(name, fields)  # type: ignore[misc] # noqa: PYI024
    make: Callable[[Iterable[Any]], Any] = row._make
    return make


def _column(result: PGresult, column: int, read: Callable[[bytes], Any], numbers: range) -> list[Any]:
    """Return a column's values; what rows repeat is read once, so they may share it and nobody changes it."""
    value = result.get_value
    written = [value(number, column) for number in numbers]
    known = {each: None if each is None else read(each) for each in set(written)}
    return [known[each] for each in written]


def _written(value: object) -> bytes | None:
    # In text form, which for a bytea is hexadecimal.
    if value is None:
        return None
    if isinstance(value, bytes):
        return b"\\x" + value.hex().encode()
    if isinstance(value, list):
        return b"{" + b",".join(map(_element, value)) + b"}"
    return str(value).encode()


def _element(value: object) -> bytes:
    if value is None:
        return b"NULL"
    if isinstance(value, UUID):
        return value.hex.encode()
    if isinstance(value, (int, float)):
        return str(value).encode()
    escaped = str(value).replace("\\", "\\\\").replace('"', '\\"')
    return b'"' + escaped.encode() + b'"'


def _checked(result: PGresult) -> PGresult:
    if result.status in {ExecStatus.TUPLES_OK, ExecStatus.COMMAND_OK}:
        return result
    # The server's own words may quote a value.
    state = result.error_field(DiagnosticField.SQLSTATE)
    raise (errors.lookup(state.decode()) if state else OperationalError)("a statement of the hot path failed")


@cache
def sessions(url: str) -> sessionmaker[Session]:
    """Return the maker of sessions on `url`."""
    return sessionmaker(engine(url), expire_on_commit=False)


@contextmanager
def transaction(url: str) -> Iterator[Session]:
    """Open a session, commit at the end, roll back on any exception: what an edge wraps its work in."""
    with sessions(url).begin() as session:
        yield session


def repeat(url: str, step: Callable[[Session], bool], *, seconds: float) -> bool:
    """Take a step again and again, each in a transaction of its own, for so long; return whether there is more to do.

    `step` says whether there is more; it is taken at least once.
    """
    ends, more = time.monotonic() + seconds, True
    while more:
        with transaction(url) as session:
            more = step(session)
        if time.monotonic() >= ends:
            break
    return more


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
