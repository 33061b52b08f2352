"""Looking for values in everything that is written down: each table, each key of Valkey, each file."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import sql
from redis import Redis

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator
    from pathlib import Path

_BLOCK = 1 << 22


@dataclass(frozen=True)
class Find:
    """Where a value was found; the value itself is not repeated."""

    place: str
    form: str


class Needles:
    """Values to look for, as they are and as they look in hex and in base64, wherever in a block they start."""

    def __init__(self, values: Iterable[str]) -> None:
        self._forms = {needle: form for value in values for form, needle in _forms_of(value.encode())}
        self._longest = max(map(len, self._forms))

    def in_bytes(self, content: bytes, place: str) -> list[Find]:
        # Upper case is tried as well, but not for base64, where it means something else.
        lower = content.lower()
        return [
            Find(place, form)
            for needle, form in self._forms.items()
            if needle in content or ("base64" not in form and needle in lower)
        ]

    def in_file(self, file: Path) -> list[Find]:
        """Read in blocks that overlap by a needle's length, so that nothing hides on an edge."""
        found: list[Find] = []
        with file.open("rb") as content:
            rest = b""
            while block := content.read(_BLOCK):
                found += self.in_bytes(rest + block, str(file))
                rest = block[-self._longest :]
        return found


def database(needles: Needles, url: str) -> list[Find]:
    """Search every row of every table of every schema; binary columns as they are, all else as text."""
    found: list[Find] = []
    with psycopg.connect(url.replace("postgresql+psycopg://", "postgresql://")) as connection:
        for schema, table in _tables(connection):
            name = sql.Identifier(schema, table)
            rows = connection.execute(sql.SQL("SELECT * FROM {}").format(name))
            for row in rows:
                found += needles.in_bytes(b"\n".join(map(_bytes, row)), f"table {schema}.{table}")
    return found


def valkey(needles: Needles, url: str) -> list[Find]:
    """Search every key, its name and, by DUMP, whatever it holds."""
    found: list[Find] = []
    with Redis.from_url(url) as client:
        for key in client.scan_iter():
            # DUMP may compress what is long; the plain commands show it as it is.
            content = key + b"\n" + (client.dump(key) or b"") + b"\n" + _plain(client, key)
            found += needles.in_bytes(content, f"Valkey {key!r}")
    return found


def files(needles: Needles, *folders: Path, leave_out: Collection[Path] = ()) -> list[Find]:
    """Search every file below `folders`; what lies below `leave_out` is somebody else's."""
    return [find for folder in folders for file in _below(folder, leave_out) for find in needles.in_file(file)]


def _below(folder: Path, leave_out: Collection[Path]) -> Iterator[Path]:
    for file in folder.rglob("*"):
        if file.is_file() and not set(leave_out) & set(file.parents):
            yield file


def _forms_of(value: bytes) -> Iterator[tuple[str, bytes]]:
    yield "as it is", value
    yield "in hex", value.hex().encode()
    for shift in range(3):
        # Base64 looks different for each place in a group of three; only the characters that no neighbour of the
        # value has a part in are looked for.
        first, end = -(-8 * shift // 6), 8 * (shift + len(value)) // 6
        middle = base64.b64encode(b"\0" * shift + value)[first:end]
        yield "in base64", middle
        yield "in base64url", middle.translate(bytes.maketrans(b"+/", b"-_"))


def _tables(connection: psycopg.Connection[Any]) -> list[tuple[str, str]]:
    return connection.execute(
        "SELECT schemaname, tablename FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
    ).fetchall()


def _bytes(value: object) -> bytes:
    return bytes(value) if isinstance(value, bytes | memoryview) else str(value).encode()


def _plain(client: Redis, key: bytes) -> bytes:
    kind = client.type(key)
    readers: dict[bytes | str, Callable[[bytes], object]] = {
        b"string": client.get,
        b"hash": client.hgetall,
        b"list": lambda name: client.lrange(name, 0, -1),
        b"set": client.smembers,
        b"zset": lambda name: client.zrange(name, 0, -1),
        b"stream": client.xrange,
    }
    return repr(readers[kind](key)).encode() if kind in readers else b""
