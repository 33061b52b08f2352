"""Histories of a log, as large as one likes, without a database: what a log would show a witness of them."""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha256
from typing import TYPE_CHECKING

from portal.ledger import tree
from portal.ledger.checkpoints import Checkpoint
from portal.vault import notes

if TYPE_CHECKING:
    from portal.ledger.tree import Node
    from portal.vault.notes import Signer


class History:
    """The leaves of one: those before `fork` are the same in every history, those behind it are its own."""

    def __init__(self, signer: Signer, *, leaves: int, name: str = "", fork: int = 0) -> None:
        self.signer = signer
        self._kept: dict[Node, bytes] = {}
        growth = tree.Growth(size=0, edge=[])
        for number in range(leaves):
            own = name if number >= fork else ""
            self._kept.update(growth.add(sha256(f"{own} {number}".encode()).digest()))

    def note(self, size: int, *, signer: Signer | None = None) -> str:
        found = Checkpoint(self.signer.name, size, tree.root(size, self._kept))
        return notes.signed(found.text, (signer or self.signer).sign(found.text))

    def proof(self, old: int, size: int) -> list[bytes]:
        return [span.hash(self._kept) for span in tree.consistency(old, size)] if 0 < old < size else []

    def body(self, old: int, size: int) -> bytes:
        return body(old, self.proof(old, size), self.note(size))


def body(old: int | str, proof: list[bytes], note: str) -> bytes:
    lines = "".join(f"{b64encode(each).decode()}\n" for each in proof)
    return f"old {old}\n{lines}\n{note}".encode()
