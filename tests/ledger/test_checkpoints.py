"""Checkpoints and proofs as text that is read only as it is written, and believed only where it is signed."""

from __future__ import annotations

import base64

import pytest

from portal.ledger import checkpoints, tree
from portal.ledger.checkpoints import Checkpoint, CheckpointUnreadableError, Proof, ProofUnreadableError
from portal.vault import notes
from portal.vault.notes import NoteRefusedError, Signer

LOG = Signer("example.org/log", bytes(range(32)))
ENTRIES = [f"entry {number}".encode() for number in range(5)]
# The one that the specification shows.
SHOWN = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"


def proof(index: int = 3) -> Proof:
    kept: dict[tree.Node, bytes] = {}
    growth = tree.Growth(size=0, edge=[])
    for entry in ENTRIES:
        kept.update(growth.add(tree.leaf_hash(entry)))
    text = Checkpoint(LOG.name, growth.size, growth.root).text
    path = tuple(span.hash(kept) for span in tree.inclusion(index, growth.size))
    return Proof(index, path, notes.signed(text, LOG.sign(text)))


def test_a_checkpoint_is_read_as_it_is_written() -> None:
    root = base64.b64decode("CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=")
    assert Checkpoint.read(SHOWN) == ("example.com/behind-the-sofa", 20852163, root)
    assert Checkpoint.read(SHOWN).text == SHOWN


@pytest.mark.parametrize(
    "text",
    [
        "",
        SHOWN.removesuffix("\n"),
        "\n" + SHOWN,
        SHOWN + "more\n",
        SHOWN.replace("20852163", "020852163"),
        SHOWN.replace("20852163", "-1"),
        SHOWN.replace("20852163", "٣"),
        SHOWN.replace("20852163", "9" * 20),
        SHOWN.replace("q2I=", "q2I"),
        SHOWN.replace("q2I=", "q2J="),
        SHOWN.replace("CsUY", "CsU"),
        SHOWN.replace("CsUY", "Cs_Y"),
        SHOWN.replace("\n", "\r\n"),
    ],
)
def test_what_is_no_checkpoint_is_refused(text: str) -> None:
    with pytest.raises(CheckpointUnreadableError):
        Checkpoint.read(text)


@pytest.mark.parametrize("index", range(5))
def test_a_proof_is_read_as_it_is_written_and_checks(index: int) -> None:
    again = Proof.read(str(proof(index)))
    assert again == proof(index)
    assert again.checked(ENTRIES[index], LOG.verifier()).size == 5


def test_what_is_extra_is_passed_over() -> None:
    text = str(proof()).replace("index", "extra YW55dGhpbmc=\nindex", 1)
    assert Proof.read(text) == proof()


def test_another_entry_is_not_proved() -> None:
    for entry in (ENTRIES[2], b"", ENTRIES[3] + b"\n"):
        with pytest.raises(checkpoints.ProofRefusedError):
            proof().checked(entry, LOG.verifier())


def test_a_proof_of_somebody_else_is_not_believed() -> None:
    with pytest.raises(NoteRefusedError):
        proof().checked(ENTRIES[3], Signer(LOG.name, bytes(32)).verifier())


@pytest.mark.parametrize(
    "text",
    [
        "",
        "c2sp.org/tlog-proof@v1\n",
        str(proof()).replace("@v1", "@v2"),
        str(proof()).replace("index 3", "index 03"),
        str(proof()).replace("index 3\n", ""),
        str(proof()).replace("=\n", "\n", 1),
        str(proof()).replace("index 3\n", "index 3\n" + "A" * 43 + "=\n" * 64),
        str(proof()).replace("index 3\n", "index 3\n" + ("A" * 43 + "=\n") * 64),
        str(proof()).split("\n\n", maxsplit=1)[0],
    ],
)
def test_what_is_no_proof_is_refused(text: str) -> None:
    with pytest.raises(ProofUnreadableError):
        Proof.read(text)
