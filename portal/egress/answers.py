"""What comes back: an HTTP/1.1 answer, read strictly and within bounds, or the reason why there is none.

Answers come from strangers, over lines that are kept.  Two programs that disagree on where an answer ends let one
company's bytes pass for the next answer, so whatever RFC 9112 leaves to taste is refused here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from portal.errors import PortalError

if TYPE_CHECKING:
    from collections.abc import Generator

HEAD_BYTES = 16 * 1024
BODY_BYTES = 64 * 1024
_CHUNKS = 1024
_CHUNK_LINE_BYTES = 256
_INTERIM_ANSWERS = 8
_SWITCHING_PROTOCOLS = 101
_WITHOUT_BODY = {204, 304}
# Possessive, so that no stranger's header makes the match try a second way (RFC 9112 sections 4 and 5).
_HEAD = re.compile(
    rb"HTTP/1\.([01]) ([1-5][0-9]{2})(?: [\t -~\x80-\xff]*+)?+"
    rb"(?:\r\n[!#$%&'*+.^_`|~0-9A-Za-z-]++:[\t -~\x80-\xff]*+)*+"
)
_FIELD = re.compile(
    rb"\r\n(content-length|transfer-encoding|connection|content-type|retry-after):([^\r]*)", re.IGNORECASE
)
_DIGITS = re.compile(rb"[0-9]{1,12}")
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,8})(?:[ \t]*;[\t -~\x80-\xff]*)?")
_TRAILER = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]++:[\t -~\x80-\xff]*+")


class NoAnswerError(PortalError):
    """There was no answer; `maybe_sent` says whether the receiver may have got the request.

    `stale` is a kept line on which nothing came back: where nothing had left either, a new one may do at once.
    """

    code = "no-answer"
    status = 502
    public = "It did not answer."
    too_slow = False
    stale = False

    def __init__(self, *, private: str = "", maybe_sent: bool = False) -> None:
        super().__init__(private=private)
        self.maybe_sent = maybe_sent


class TooSlowError(NoAnswerError):
    public = "It did not answer in time."
    too_slow = True


class UnreachableError(NoAnswerError):
    public = "Nobody accepts connections there."


class UntrustedError(NoAnswerError):
    public = "Its certificate is not valid for this name, or TLS failed."


class GarbageError(NoAnswerError):
    public = "It closed the connection or answered with garbage."


class StaleError(GarbageError):
    stale = True


class TooLongError(NoAnswerError):
    public = "Its answer was longer than 64 KiB."


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: at most 64 KiB of body, never decompressed; `milliseconds` from first byte to last."""

    status: int
    content_type: str
    body: bytes
    retry_after: timedelta | None
    milliseconds: int


class Reader:
    """Reads one answer to a GET or POST, in whatever pieces it comes; every error is a `NoAnswerError`.

    `keep` says, once `done`, whether the line may carry another request: not when the answer ended with the line,
    nor when there were bytes behind it.
    """

    __slots__ = ("_buffer", "_ended", "_fields", "_steps", "began", "body", "done", "keep", "status")

    def __init__(self) -> None:
        self.began = self.done = self.keep = self._ended = False
        self.status = 0
        self.body = bytearray()
        self._fields: dict[bytes, list[bytes]] = {}
        self._buffer = bytearray()
        self._steps = self._read()

    def feed(self, data: bytes) -> bool:
        """Take bytes in, none for the end of the line; return whether the answer is complete."""
        self._buffer += data
        self._ended = not data
        self.began = self.began or bool(data)
        next(self._steps)
        return self.done

    def answer(self, milliseconds: int) -> Answer:
        kind = self._field(b"content-type").partition(b";")[0]
        return Answer(
            status=self.status,
            content_type=kind.decode("latin-1").strip().lower(),
            body=bytes(self.body),
            retry_after=retry_after(self._field(b"retry-after").decode("latin-1")),
            milliseconds=milliseconds,
        )

    def _field(self, name: bytes) -> bytes:
        return self._fields.get(name, [b""])[-1]

    def _read(self) -> Generator[None]:
        newer = yield from self._read_head()
        lengths = self._fields.get(b"content-length", [])
        coding = self._fields.get(b"transfer-encoding", [])
        kept = newer and b"close" not in b",".join(self._fields.get(b"connection", [])).lower()
        # RFC 9112 section 6.3, without the choices it leaves: two ways to say the length are one too many.
        if self.status in _WITHOUT_BODY:
            kept = kept and not coding and set(lengths) <= {b"0"}
        elif coding:
            yield from self._read_chunks(coding, allowed=newer and not lengths)
        elif lengths:
            yield from self._read_counted(lengths)
        else:
            kept = False
            yield from self._read_until_end()
        self.keep, self.done = kept, True
        while True:
            # Whatever is there now was not asked for.
            self.keep = self.keep and not self._buffer
            yield

    def _read_head(self) -> Generator[None, None, bool]:
        for _ in range(_INTERIM_ANSWERS + 1):
            head = yield from self._until(b"\r\n\r\n", HEAD_BYTES)
            parsed = _HEAD.fullmatch(head)
            if parsed is None:
                raise GarbageError(private="head", maybe_sent=True)
            self.status = int(parsed[2])
            if self.status == _SWITCHING_PROTOCOLS:
                raise GarbageError(private="101", maybe_sent=True)
            if self.status >= 200:  # noqa: PLR2004 - the final answer
                for name, value in _FIELD.findall(head):
                    self._fields.setdefault(name.lower(), []).append(value.strip(b" \t"))
                return parsed[1] == b"1"
        raise GarbageError(private="interim answers", maybe_sent=True)

    def _read_counted(self, lengths: list[bytes]) -> Generator[None]:
        if len(set(lengths)) > 1 or not _DIGITS.fullmatch(lengths[0]):
            raise GarbageError(private="content-length", maybe_sent=True)
        length = int(lengths[0])
        self._admit(length)
        self.body += yield from self._take(length)

    def _read_until_end(self) -> Generator[None]:
        while not self._ended:
            self._admit(len(self._buffer))
            yield
        self._admit(len(self._buffer))
        self.body += self._buffer
        self._buffer.clear()

    def _read_chunks(self, coding: list[bytes], *, allowed: bool) -> Generator[None]:
        if not allowed or [each.lower() for each in coding] != [b"chunked"]:
            raise GarbageError(private="transfer-encoding", maybe_sent=True)
        for _ in range(_CHUNKS):
            size = _CHUNK.fullmatch((yield from self._until(b"\r\n", _CHUNK_LINE_BYTES)))
            if size is None:
                break
            length = int(size[1], 16)
            if length == 0:
                yield from self._read_trailers()
                return
            self._admit(length)
            self.body += yield from self._take(length)
            if (yield from self._take(2)) != b"\r\n":
                break
        raise GarbageError(private="chunks", maybe_sent=True)

    def _read_trailers(self) -> Generator[None]:
        left = HEAD_BYTES
        while line := (yield from self._until(b"\r\n", left)):
            left -= len(line) + 2
            if not _TRAILER.fullmatch(line):
                raise GarbageError(private="trailers", maybe_sent=True)

    def _admit(self, length: int) -> None:
        if len(self.body) + length > BODY_BYTES:
            raise TooLongError(maybe_sent=True)

    def _until(self, mark: bytes, most: int) -> Generator[None, None, bytes]:
        looked = 0
        while (found := self._buffer.find(mark, looked)) < 0:
            looked = max(0, len(self._buffer) - len(mark) + 1)
            if looked > most or self._ended:
                raise GarbageError(private="no end" if self._ended else "no line end", maybe_sent=True)
            yield
        if found > most:
            raise GarbageError(private="too long a line", maybe_sent=True)
        taken = bytes(self._buffer[:found])
        del self._buffer[: found + len(mark)]
        return taken

    def _take(self, length: int) -> Generator[None, None, bytes]:
        while len(self._buffer) < length:
            if self._ended:
                raise GarbageError(private="cut short", maybe_sent=True)
            yield
        taken = bytes(self._buffer[:length])
        del self._buffer[:length]
        return taken


def retry_after(text: str) -> timedelta | None:
    """Read `Retry-After` (RFC 9110 section 10.2.3): seconds or a date; nonsense is no wish."""
    text = text.strip()
    if text.isascii() and text.isdigit():
        return timedelta(seconds=min(int(text[:9]), 86_400))
    try:
        wanted = parsedate_to_datetime(text) if text else None
    except (ValueError, TypeError, OverflowError):
        return None
    if wanted is None:
        return None
    aware = wanted if wanted.tzinfo else wanted.replace(tzinfo=UTC)
    return max(aware - datetime.now(UTC), timedelta())
