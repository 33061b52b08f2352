"""Companies' servers that answer every way a server can, and write down what they were sent.

A program of its own: `python receivers.py SEED JOURNAL PORTS` prints its ports as JSON, then obeys lines on its
standard input: `calm` (from now on everything is accepted), `wild`.  Each whole request is one JSON line in JOURNAL,
written before it is answered: the port, the moment its first byte came (CLOCK_MONOTONIC), and its tokens.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

Answer = tuple[asyncio.StreamWriter, bytes]
_SLOW_SECONDS = 25.0


def _plain(status: str, body: bytes = b"", *headers: str) -> bytes:
    lines = (f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", "")
    return "\r\n".join(lines).encode() + body


async def _accept(writer: asyncio.StreamWriter, body: bytes) -> None:
    writer.write(body)


async def _cut(writer: asyncio.StreamWriter, _body: bytes) -> None:
    writer.transport.abort()


async def _half(writer: asyncio.StreamWriter, _body: bytes) -> None:
    writer.write(b"HTTP/1.1 202 Acce")
    await writer.drain()
    writer.close()


async def _silence(writer: asyncio.StreamWriter, _body: bytes) -> None:
    # Longer than any sender waits.
    await asyncio.sleep(_SLOW_SECONDS)
    writer.close()


async def _drip(writer: asyncio.StreamWriter, body: bytes) -> None:
    for byte in body[:40]:
        writer.write(bytes([byte]))
        await writer.drain()
        # Each byte comes in time, and the answer never.
        await asyncio.sleep(1)
    writer.close()


async def _pause(writer: asyncio.StreamWriter, body: bytes) -> None:
    # It takes its time, and answers.
    await asyncio.sleep(random.uniform(0.05, 1.5))
    writer.write(body)


async def _endless(writer: asyncio.StreamWriter, _body: bytes) -> None:
    writer.write(b"HTTP/1.1 202 Accepted\r\nTransfer-Encoding: chunked\r\n\r\n")
    for _ in range(200):
        writer.write(b"400\r\n" + b"x" * 1024 + b"\r\n")
        await writer.drain()
    writer.close()


def _says(status: str, *headers: str) -> Callable[[asyncio.StreamWriter, bytes], Awaitable[None]]:
    async def say(writer: asyncio.StreamWriter, _body: bytes) -> None:
        writer.write(_plain(status, b"{}", *headers))

    return say


async def _interim(writer: asyncio.StreamWriter, body: bytes) -> None:
    writer.write(b"HTTP/1.1 102 Processing\r\n\r\n" + body)


async def _garbage(writer: asyncio.StreamWriter, _body: bytes) -> None:
    writer.write(b"SSH-2.0-OpenSSH_9.2p1\r\n" * 3)
    await writer.drain()
    writer.close()


# How often of a hundred; what is left is accepted at once.
WAYS: Mapping[str, tuple[float, Callable[[asyncio.StreamWriter, bytes], Awaitable[None]]]] = {
    "500": (5, _says("500 Broken")),
    "503": (2, _says("503 Away", "Retry-After: 1")),
    "429": (3, _says("429 Slowly", "Retry-After: 1")),
    "302": (0.5, _says("302 Elsewhere", "Location: /other")),
    "400": (0.3, _says("400 Bad")),
    "404": (0.5, _says("404 Nothing")),
    "cut": (1.5, _cut),
    "half": (0.5, _half),
    "silence": (0.5, _silence),
    "drip": (0.3, _drip),
    "pause": (5, _pause),
    "endless": (0.3, _endless),
    "interim": (2, _interim),
    "garbage": (0.5, _garbage),
}


class Receivers:
    """Several ports in one loop, their journal, and chance."""

    def __init__(self, seed: int, journal: TextIO) -> None:
        self._chance = random.Random(seed)
        self._journal = journal
        self.calm = False

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        port = writer.get_extra_info("sockname")[1]
        with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            while not writer.is_closing():
                await self._one(port, reader, writer)
        with suppress(ConnectionError):
            writer.close()

    async def _one(self, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first = await reader.readexactly(1)
        at = time.monotonic()
        head = (first + await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        fields = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line)
        way = self._way()
        if way == "deaf":
            # It hangs up before it has read what was sent.
            writer.transport.abort()
            return
        body = await reader.readexactly(int(fields["content-length"]))
        tokens = _tokens(fields.get("content-type", ""), body)
        self._note(port, at, way, tokens)
        await self._answer(way, writer, tokens, several="json" in fields.get("content-type", ""))

    def _way(self) -> str:
        if self.calm:
            return "202"
        drawn = self._chance.uniform(0, 100)
        for name, (share, _) in WAYS.items():
            drawn -= share
            if drawn < 0:
                return name
        return "deaf" if drawn < 1 else "202"

    def _note(self, port: int, at: float, way: str, tokens: Mapping[str, str]) -> None:
        line = {"port": port, "at": at, "way": way, "tokens": list(tokens.values())}
        self._journal.write(json.dumps(line) + "\n")
        self._journal.flush()

    async def _answer(
        self, way: str, writer: asyncio.StreamWriter, tokens: Mapping[str, str], *, several: bool
    ) -> None:
        acknowledged = _plain("202 Accepted")
        if several:
            body = json.dumps({"ack": list(tokens)}).encode()
            acknowledged = _plain("202 Accepted", body, "Content-Type: application/json")
        act = WAYS[way][1] if way in WAYS else _accept
        await act(writer, acknowledged)
        await writer.drain()


def _tokens(content_type: str, body: bytes) -> dict[str, str]:
    if "json" in content_type:
        return dict(json.loads(body)["sets"])
    return {"": body.decode()}


async def main(seed: int, journal: TextIO, count: int) -> None:
    receivers = Receivers(seed, journal)
    servers = [await asyncio.start_server(receivers.serve, "127.0.0.1", 0, limit=1 << 21) for _ in range(count)]
    print(json.dumps([server.sockets[0].getsockname()[1] for server in servers]), flush=True)
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    while order := await lines.readline():
        receivers.calm = order.strip() == b"calm"


if __name__ == "__main__":
    with open(sys.argv[2], "a", encoding="utf-8") as kept:  # noqa: PTH123 - one line says it
        asyncio.run(main(int(sys.argv[1]), kept, int(sys.argv[3])))
