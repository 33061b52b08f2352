"""Checking a person's exported log: nothing here asks the portal, and nothing is believed that is not proved.

What the log had of its person when it was signed is there, unchanged and in its order, or it is said which entry is
not.  That nothing was kept out of the log from the beginning is for the receipts of those who received it to show; that
the newest entries are not left out of the file, for whoever has an older one, or checked before.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from bisect import bisect_left
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

import orjson

from portal.errors import PortalError
from portal.ledger import entries, tree
from portal.ledger.checkpoints import Checkpoint, CheckpointUnreadableError
from portal.ledger.entries import Blinds
from portal.ledger.exports import FORMAT
from portal.vault.notes import NoteRefusedError, Verifier

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

# As far as a browser counts exactly: it checks the same files (static/log-verify.js).
_MOST: Final = 2**53
_WORDS: Final = {
    "missing": "{which} missing.",
    "moved": "{which} not where the log has it.",
    "gone": "{which} gone: the log has it, and nobody says any more what it was.",
    "changed": "Entry {n} was changed: it is not what the log has.",
    "forgotten": "Entry {n} of the older file is not in this one, or not as it was.",
    "unproved": "The file's proof does not lead to the log that was signed.",
}


class ExportUnreadableError(PortalError):
    code = "export-unreadable"
    public = "This is not a file with a log that this program can check."


class HeadRefusedError(NoteRefusedError):
    """The log's head does not bear the signature that it must bear."""

    code = "log-head-refused"
    public = "The log in this file is not signed by the key that it must be signed by: do not believe it."


class Finding(NamedTuple):
    """What is wrong with the entries `n` to `last`, or with the file as a whole, where `n` is 0.

    `kind` is `missing`, `moved`, `gone`, `changed`, `forgotten` or `unproved`; `about` is what it says of itself.
    """

    kind: str
    n: int = 0
    last: int = 0
    about: str = ""

    def __str__(self) -> str:
        several = self.last > self.n
        which = f"Entries {self.n} to {self.last} are" if several else f"Entry {self.n} is"
        return _WORDS[self.kind].format(which=which, n=self.n)


@dataclass(frozen=True)
class Verified:
    """What was checked: how many entries, in a log of which size, signed by whom, and what is wrong with which.

    `signed_at` is what the file says of it.
    """

    entries: int
    checkpoint: Checkpoint
    verifier: Verifier
    signed_at: str
    wrong: Sequence[Finding]


def verify(
    exported: Mapping[str, Any], *, known: Verifier | None = None, older: Mapping[str, Any] | None = None
) -> Verified:
    """Check what `exports.written` wrote; `known` is whose signature it must bear, else whom the file itself names.

    An `older` file of the same log must be how this one begins.  Raises `ExportUnreadableError`, or `HeadRefusedError`
    where the log's head is not signed by them.
    """
    try:
        listed, before = _Export.read(exported), _Export.read(older) if older else None
    except (KeyError, TypeError, ValueError, AttributeError, PortalError) as error:
        raise ExportUnreadableError from error
    by = known or listed.verifier
    try:
        found = Checkpoint.opened(listed.note, by)
    except (NoteRefusedError, CheckpointUnreadableError) as error:
        raise HeadRefusedError(private=error.private) from error
    forgotten = _forgotten(listed, before) if before else []
    return Verified(len(listed.entries), found, by, listed.signed_at, [*_wrong(listed, found), *forgotten])


def read(file: Path) -> Mapping[str, Any]:
    """Return what a file holds; raises `ExportUnreadableError`."""
    try:
        found: Any = orjson.loads(file.read_bytes())
    except (OSError, ValueError) as error:
        raise ExportUnreadableError from error
    if not isinstance(found, dict):
        raise ExportUnreadableError
    return found


def words(found: Verified, *, given: bool) -> Iterator[str]:
    """Yield in plain words what was checked and what is wrong; `given` says that the key came from elsewhere."""
    log = found.checkpoint
    many = "1 entry was checked" if found.entries == 1 else f"{found.entries:,} entries were checked"
    yield f"{many}: whether they say what the log {log.origin} has, in the order in which it has them."
    yield f"That log had {log.size:,} entries in all when it was signed, with this key: {found.verifier}"
    if found.signed_at:
        yield f"It was signed at {found.signed_at}, as the file says."
    if not given:
        yield "The file itself names that key. Compare it with the one that others see, and give it as --verifier."
    for each in found.wrong:
        yield f"{each} It says: {each.about}." if each.about else str(each)
    if not found.wrong:
        yield "Nothing was changed, left out or put elsewhere."


class _Entry(NamedTuple):
    n: int
    leaf: int
    hash: bytes
    blinds: Blinds
    said: dict[str, Any] | None

    @classmethod
    def read(cls, exported: Mapping[str, Any]) -> Self:
        said = exported["said"]
        if said is not None and not isinstance(said, dict):
            raise TypeError(said)
        return cls(
            n=_number(exported["n"], least=1),
            leaf=_number(exported["leaf"], least=0),
            hash=_bytes(exported["hash"]),
            blinds=Blinds(_bytes(exported["blinds"]["said"]), _bytes(exported["blinds"]["place"])),
            said=said,
        )

    @property
    def about(self) -> str:
        """What it says that it is about, which nobody needs to believe."""
        said = self.said or {}
        return ", ".join(str(said[name]) for name in ("company_name", "outcome", "at") if said.get(name))


class _Export(NamedTuple):
    verifier: Verifier
    note: str
    signed_at: str
    total: int
    entries: list[_Entry]
    path: list[bytes]

    @classmethod
    def read(cls, exported: Mapping[str, Any]) -> Self:
        if exported["format"] != FORMAT:
            raise ValueError(exported["format"])
        return cls(
            verifier=Verifier.read(exported["verifier"]),
            note=str(exported["checkpoint"]),
            signed_at=str(exported["signed_at"]),
            total=_number(exported["count"], least=0),
            entries=[_Entry.read(each) for each in exported["entries"]],
            path=[_bytes(each) for each in exported["path"]],
        )


def _bytes(text: str) -> bytes:
    data = b64decode(text, validate=True)
    if b64encode(data).decode() != text:
        # The last letter may have bits that say nothing: two files never say one thing.
        raise ValueError(text)
    return data


def _number(given: object, *, least: int) -> int:
    if type(given) is not int or not least <= given < _MOST:
        raise ValueError(given)
    return given


def _wrong(file: _Export, found: Checkpoint) -> list[Finding]:
    about = {each.n: each.about for each in file.entries}
    named = [*_missing(file), *_moved(file.entries), *_changed(file.entries), *_unproved(file, found)]
    return [each._replace(about=about.get(each.n, "")) for each in named]


def _missing(file: _Export) -> Iterator[Finding]:
    """Yield which of the person's own numbers are left out; how many there are, the file itself has to say."""
    numbers = sorted({each.n for each in file.entries})
    for before, n in pairwise([0, *numbers, max([file.total, *numbers]) + 1]):
        if n > before + 1:
            yield Finding("missing", before + 1, n - 1)


def _forgotten(file: _Export, older: _Export) -> list[Finding]:
    """Return what was in an older file and is not in this one: the newest entries can be left out of a file unseen."""
    hashes = {each.n: each.hash for each in file.entries}
    lost = [each for each in older.entries if hashes.get(each.n) != each.hash]
    return [Finding("forgotten", each.n, about=each.about) for each in lost]


def _moved(listed: list[_Entry]) -> Iterator[Finding]:
    """Yield those that are out of order: as few as would have to be put elsewhere for the rest to stand in order."""
    stay, leaf = _in_order([each.n for each in listed]), -1
    for at, each in enumerate(listed):
        if at not in stay or each.leaf <= leaf:
            yield Finding("moved", each.n)
        else:
            leaf = each.leaf


def _in_order(numbers: list[int]) -> set[int]:
    """Return the places of a longest part of `numbers` that ascends (patience sorting)."""
    ends: list[int] = []
    places: list[int] = []
    before: list[int] = []
    for at, number in enumerate(numbers):
        length = bisect_left(ends, number)
        before.append(places[length - 1] if length else -1)
        ends[length:], places[length:] = [number, *ends[length + 1 :]], [at, *places[length + 1 :]]
    found, at = set(), places[-1] if places else -1
    while at >= 0:
        found.add(at)
        at = before[at]
    return found


def _changed(listed: list[_Entry]) -> Iterator[Finding]:
    """Yield which entries do not say what the log has of them; one whose forerunner is missing cannot be checked."""
    hashes = {0: b""} | {each.n: each.hash for each in listed}
    for each in listed:
        if each.said is None:
            yield Finding("gone", each.n)
        elif (previous := hashes.get(each.n - 1)) is not None and not _is_said(each, previous):
            yield Finding("changed", each.n)


def _is_said(each: _Entry, previous: bytes) -> bool:
    try:
        said = entries.said_hash(each.said or {}, blind=each.blinds.said)
    except TypeError:
        # Numbers and depths that the log never wrote: whatever this is, it is not what the log has.
        return False
    place = entries.place_hash(each.n, previous=previous, blind=each.blinds.place)
    return tree.leaf_hash(entries.entry(said, place)) == each.hash


def _unproved(file: _Export, found: Checkpoint) -> Iterator[Finding]:
    """Yield whether the hashes are those of the signed log; without any entry there is nothing to prove."""
    hashes = {each.leaf: each.hash for each in file.entries}
    try:
        proved = not hashes or tree.root_around(hashes, size=found.size, path=file.path) == found.root
    except IndexError:
        proved = False
    if not proved:
        yield Finding("unproved")
