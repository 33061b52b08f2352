"""A server that takes every message and takes its time for it: on one loopback port, as many at once as come."""

from __future__ import annotations

import asyncio
import threading
from contextlib import closing, contextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class Lingering:
    """Answers 202 after `seconds`; `most` is how many waited at once."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self.answered, self.waiting, self.most = seconds, 0, 0, 0
        self._speaks = asyncio.Event()
        self._speaks.set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        started = asyncio.run_coroutine_threadsafe(asyncio.start_server(self._serve, "127.0.0.1", 0), self._loop)
        self._server = started.result()
        self.port = int(self._server.sockets[0].getsockname()[1])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/events"

    @contextmanager
    def silent(self) -> Iterator[None]:
        """Answer nobody meanwhile."""
        self._loop.call_soon_threadsafe(self._speaks.clear)
        yield
        self._loop.call_soon_threadsafe(self._speaks.set)

    def close(self) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with closing(writer), suppress(asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
                await reader.readexactly(int(length))
                await self._answer(writer)

    async def _end(self) -> None:
        self._server.close()
        serving = asyncio.all_tasks() - {asyncio.current_task()}
        for each in serving:
            each.cancel()
        await asyncio.gather(*serving)

    async def _answer(self, writer: asyncio.StreamWriter) -> None:
        self.waiting += 1
        self.most = max(self.most, self.waiting)
        await asyncio.sleep(self.seconds)
        await self._speaks.wait()
        self.waiting -= 1
        self.answered += 1
        writer.write(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
