"""What the log says of itself: checkpoints (C2SP tlog-checkpoint 1.0) and proofs to keep (C2SP tlog-proof)."""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Self

from portal.errors import PortalError
from portal.ledger import tree
from portal.vault import notes
from portal.vault.notes import NoteRefusedError

if TYPE_CHECKING:
    from portal.vault.notes import Verifier

_FORMAT = "c2sp.org/tlog-proof@v1"
# The last letter of 32 bytes has two bits that say nothing: zeros, so that two texts never say one hash.
_NUMBER, _HASH = r"(?:0|[1-9][0-9]{0,18})", r"[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]="
_CHECKPOINT = re.compile(rf"(?P<origin>[^\n]+)\n(?P<size>{_NUMBER})\n(?P<root>{_HASH})\n")
# What is extra is for whoever wrote it; a tree has no more than 63 levels.
_PROOF = re.compile(
    rf"{re.escape(_FORMAT)}\n(?:extra [^\n]*\n)?index (?P<index>{_NUMBER})\n"
    rf"(?P<path>(?:{_HASH}\n){{0,63}})\n(?P<note>.+)",
    re.DOTALL,
)


class CheckpointUnreadableError(PortalError):
    code = "checkpoint-unreadable"
    public = "This is not a checkpoint of a log."


class ProofUnreadableError(PortalError):
    code = "proof-unreadable"
    public = "This is not a proof that something is in a log."


class Checkpoint(NamedTuple):
    """How large the log named `origin` is, and the hash of all of it."""

    origin: str
    size: int
    root: bytes

    @classmethod
    def read(cls, text: str) -> Self:
        """Return what a note's text says; raises `CheckpointUnreadableError`."""
        found = _CHECKPOINT.fullmatch(text)
        if found is None:
            raise CheckpointUnreadableError
        return cls(found["origin"], int(found["size"]), b64decode(found["root"]))

    @classmethod
    def opened(cls, note: str, *known: Verifier) -> Self:
        """Return what a note says that `known` have signed; a log's key signs for the log of its own name alone.

        Raises `NoteRefusedError` or `CheckpointUnreadableError`.
        """
        text, signed_by = notes.opened(note, *known)
        found = cls.read(text)
        if any(each.kind == notes.LOG and each.name != found.origin for each in signed_by):
            raise NoteRefusedError(private="it is the key of another log")
        return found

    @property
    def text(self) -> str:
        return f"{self.origin}\n{self.size}\n{b64encode(self.root).decode()}\n"


@dataclass(frozen=True)
class Proof:
    """That an entry stands at `index` of the log whose signed checkpoint is `note`."""

    index: int
    path: tuple[bytes, ...]
    note: str

    @classmethod
    def read(cls, text: str) -> Self:
        """Return what was written by `str`, without believing any of it; raises `ProofUnreadableError`."""
        found = _PROOF.fullmatch(text)
        if found is None:
            raise ProofUnreadableError
        return cls(int(found["index"]), tuple(map(b64decode, found["path"].split())), found["note"])

    def __str__(self) -> str:
        path = "".join(f"{b64encode(each).decode()}\n" for each in self.path)
        return f"{_FORMAT}\nindex {self.index}\n{path}\n{self.note}"

    def checked(self, entry: bytes, *known: Verifier) -> Checkpoint:
        """Return the checkpoint, whose log has `entry`.

        Raises `NoteRefusedError`, `CheckpointUnreadableError` or, where the entry is not proved, `ProofRefusedError`.
        """
        found = Checkpoint.opened(self.note, *known)
        leaf = tree.leaf_hash(entry)
        if not tree.included(leaf, index=self.index, size=found.size, root=found.root, path=self.path):
            raise ProofRefusedError
        return found


class ProofRefusedError(PortalError):
    code = "proof-refused"
    public = "The log does not have this entry where the proof says."
