"""Checking a person's exported log: nothing here asks the portal, and nothing is believed that is not proved.

What the log had of its person when it was signed is all there, unchanged and in its order, or it is said which entry
is not.  That nothing was kept out of the log from the beginning is for the receipts of those who received it to show.
"""

from __future__ import annotations

from base64 import b64decode
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from portal.errors import PortalError
from portal.ledger import entries, tree
from portal.ledger.checkpoints import Checkpoint
from portal.ledger.entries import Blinds
from portal.ledger.exports import FORMAT
from portal.vault import notes
from portal.vault.notes import Verifier

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence


class ExportUnreadableError(PortalError):
    code = "export-unreadable"
    public = "This is not a file with a log that this program can check."


@dataclass(frozen=True)
class Verified:
    """What was checked: how many entries, in a log of which size, and what is wrong with which of them, in words."""

    entries: int
    checkpoint: Checkpoint
    wrong: Sequence[str]


def verify(exported: Mapping[str, Any], *, known: Verifier | None = None) -> Verified:
    """Check what `exports.export` wrote; `known` is whose signature it must bear, else whom the file itself names.

    Raises `ExportUnreadableError`, or `NoteRefusedError` where the log's head is not signed by them.
    """
    try:
        read = _Export.read(exported)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ExportUnreadableError from error
    found = Checkpoint.read(notes.opened(read.note, known or read.verifier).text)
    return Verified(len(read.entries), found, _wrong(read, found))


class _Entry(NamedTuple):
    n: int
    leaf: int
    hash: bytes
    blinds: Blinds
    said: dict[str, Any] | None

    @classmethod
    def read(cls, exported: Mapping[str, Any]) -> Self:
        said = exported["said"]
        return cls(
            n=int(exported["n"]),
            leaf=int(exported["leaf"]),
            hash=_bytes(exported["hash"]),
            blinds=Blinds(_bytes(exported["blinds"]["said"]), _bytes(exported["blinds"]["place"])),
            said=None if said is None else dict(said),
        )


class _Export(NamedTuple):
    verifier: Verifier
    note: str
    entries: list[_Entry]
    path: list[bytes]

    @classmethod
    def read(cls, exported: Mapping[str, Any]) -> Self:
        if exported["format"] != FORMAT:
            raise ValueError(exported["format"])
        return cls(
            verifier=Verifier.read(exported["verifier"]),
            note=str(exported["checkpoint"]),
            entries=[_Entry.read(each) for each in exported["entries"]],
            path=[_bytes(each) for each in exported["path"]],
        )


def _bytes(text: str) -> bytes:
    return b64decode(text, validate=True)


def _wrong(read: _Export, found: Checkpoint) -> list[str]:
    return [*_disorder(read.entries), *_changed(read.entries), *_unproved(read, found)]


def _disorder(listed: list[_Entry]) -> Iterator[str]:
    """Yield which of the person's own numbers are left out, and whether the others are where they belong."""
    numbers = [each.n for each in listed]
    for n in sorted(set(range(1, max(numbers, default=0) + 1)) - set(numbers)):
        yield f"Entry {n} is missing."
    if any((later.n, later.leaf) <= (each.n, each.leaf) or later.leaf <= each.leaf for each, later in pairwise(listed)):
        yield "The entries are not in the order in which the log has them."


def _changed(listed: list[_Entry]) -> Iterator[str]:
    """Yield which entries do not say what the log has of them; one whose forerunner is missing cannot be checked."""
    hashes = {0: b""} | {each.n: each.hash for each in listed}
    for each in listed:
        if each.said is None:
            yield f"Entry {each.n} is gone: the log has it, and nobody says any more what it was."
        elif (previous := hashes.get(each.n - 1)) is not None:
            said = entries.said_hash(each.said, blind=each.blinds.said)
            place = entries.place_hash(each.n, previous=previous, blind=each.blinds.place)
            if tree.leaf_hash(entries.entry(said, place)) != each.hash:
                yield f"Entry {each.n} was changed: it is not what the log has."


def _unproved(read: _Export, found: Checkpoint) -> Iterator[str]:
    """Yield whether the hashes are those of the signed log; without any entry there is nothing to prove."""
    hashes = {each.leaf: each.hash for each in read.entries}
    try:
        proved = not hashes or tree.root_around(hashes, size=found.size, path=read.path) == found.root
    except IndexError:
        proved = False
    if not proved:
        yield "The file's proof does not lead to the log that was signed."
