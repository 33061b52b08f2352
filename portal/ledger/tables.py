"""A person's activity to take away: a table for a spreadsheet, or JSON for a program; written piece by piece."""

from __future__ import annotations

import csv
import io
import re
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import orjson

from portal.ledger import rules

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from portal.ledger.queries import Entry

# A spreadsheet takes what begins so for something to work out (OWASP, CSV Injection), also in full width, and also
# within what was one cell here: where commas are for decimals it parts cells by semicolons, whatever the quotes.
_BEGINS: Final = r"""(?=[\s"']*[=+\-@\uff1d\uff0b\uff0d\uff20])"""
_FORMULA: Final = re.compile(rf"(?:^|(?<=[;,|\t\r\n])){_BEGINS}|^(?=[\t\r\n])")
_HEADS: Final = (
    "When", "Organisation", "Details asked for", "Details sent", "Why", "How", "Outcome", "Answer at", "Sharing",
    "Version", "Reference",
)  # fmt: skip
_AT_ONCE: Final = 500


def as_csv(entries: Iterable[Entry], *, label: Callable[[str], str]) -> Iterator[bytes]:
    """Yield rows of a table (RFC 4180, UTF-8 with a mark that spreadsheets know it by); no cell is a formula."""
    buffer = io.StringIO()
    table = csv.writer(buffer, lineterminator="\r\n")
    buffer.write("\ufeff")
    table.writerow(_HEADS)
    for number, entry in enumerate(entries, 1):
        table.writerow(map(_harmless, _cells(entry, label)))
        if number % _AT_ONCE == 0:
            yield _taken(buffer)
    yield _taken(buffer)


def as_json(entries: Iterable[Entry]) -> Iterator[bytes]:
    """Yield an object with the list `entries`, names as in the API; a time is in UTC (RFC 3339)."""
    written, first = map(_members, entries), True
    yield b'{"entries":['
    while some := list(islice(written, _AT_ONCE)):
        yield (b"" if first else b",") + orjson.dumps(some)[1:-1]
        first = False
    yield b"]}"


def _cells(entry: Entry, label: Callable[[str], str]) -> tuple[object, ...]:
    return (
        entry.at.isoformat(timespec="seconds"),
        entry.company_name,
        "; ".join(map(label, entry.asked)),
        "; ".join(map(label, entry.given)),
        f"To {entry.purpose}",
        rules.how(entry.channel, entry.reason),
        rules.outcome(entry.channel, entry.outcome, entry.reason),
        entry.reported_at.isoformat(timespec="seconds") if entry.reported_at else "",
        entry.grant_id or "",
        entry.grant_version or "",
        entry.disclosure_id,
    )


def _members(entry: Entry) -> dict[str, Any]:
    return {
        "disclosure_id": entry.disclosure_id,
        "at": entry.at,
        "organisation": entry.company_name,
        "organisation_id": entry.company_id,
        "client_id": entry.client_id,
        "purpose": entry.purpose,
        "channel": entry.channel,
        "asked": entry.asked,
        "given": entry.given,
        "outcome": entry.outcome,
        "reason": entry.reason,
        "reported_at": entry.reported_at,
        "grant_id": entry.grant_id,
        "grant_version": entry.grant_version,
        "message_id": entry.message_id,
        "sealed_to": entry.sealed_to,
    }


def _harmless(cell: object) -> str:
    return _FORMULA.sub("'", str(cell))


def _taken(buffer: io.StringIO) -> bytes:
    written = buffer.getvalue().encode()
    buffer.seek(0)
    buffer.truncate()
    return written
