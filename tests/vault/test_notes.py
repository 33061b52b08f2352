"""Signed notes: what others' programs write is read, and nothing is believed that nobody known has signed."""

from __future__ import annotations

import base64
import hashlib
from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from portal.vault import notes
from portal.vault.notes import NoteRefusedError, Signer, Verifier, VerifierUnreadableError

TEXT = "example.org/log\n3\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"
LOG = Signer("example.org/log", bytes(range(32)))
WITNESS = Signer("witness.example.org/w1", bytes(range(1, 33)))
SEEN = datetime(2026, 11, 22, 9, 30, tzinfo=UTC)


def note(*lines: str, text: str = TEXT) -> str:
    return notes.signed(text, *lines)


def refused(written: str, *known: Verifier) -> None:
    with pytest.raises(NoteRefusedError):
        notes.opened(written, *(known or (LOG.verifier(),)))


def test_a_note_says_what_was_signed_and_by_whom() -> None:
    opened = notes.opened(note(LOG.sign(TEXT)), LOG.verifier())
    assert (opened.text, opened.signed_by) == (TEXT, frozenset([LOG.verifier()]))


def test_a_line_is_built_as_the_specification_says() -> None:
    mark, name, signature = LOG.sign(TEXT).removesuffix("\n").split(" ")
    made = base64.b64decode(signature)
    public = LOG.verifier().public
    assert (mark, name) == ("—", "example.org/log")
    assert made[:4] == hashlib.sha256(b"example.org/log\n\x01" + public).digest()[:4]
    Ed25519PublicKey.from_public_bytes(public).verify(made[4:], TEXT.encode())


def test_a_witness_signs_the_time_as_well() -> None:
    made = base64.b64decode(WITNESS.cosign(TEXT, at=SEEN).split(" ")[2])
    public = WITNESS.verifier().public
    seconds = int(SEEN.timestamp())
    assert made[:4] == hashlib.sha256(b"witness.example.org/w1\n\x04" + public).digest()[:4]
    assert int.from_bytes(made[4:12], "big") == seconds
    message = f"cosignature/v1\ntime {seconds}\n{TEXT}"
    Ed25519PublicKey.from_public_bytes(public).verify(made[12:], message.encode())


def test_all_who_are_known_are_found_and_others_passed_over() -> None:
    stranger = Signer("example.org/log", bytes(32))
    written = note(stranger.sign(TEXT), LOG.sign(TEXT), WITNESS.cosign(TEXT, at=SEEN))
    known = LOG.verifier(), WITNESS.verifier(notes.WITNESS)
    assert notes.opened(written, *known).signed_by == set(known)
    assert notes.opened(written, LOG.verifier()).signed_by == {LOG.verifier()}


def test_one_key_of_two_kinds_is_two_verifiers() -> None:
    refused(note(WITNESS.sign(TEXT)), WITNESS.verifier(notes.WITNESS))
    refused(note(WITNESS.cosign(TEXT, at=SEEN)), WITNESS.verifier())


def test_a_text_with_empty_lines_ends_at_the_last_one() -> None:
    text = "first\n\nsecond\n"
    assert notes.opened(note(LOG.sign(text), text=text), LOG.verifier()).text == text


@pytest.mark.parametrize(
    "written",
    [
        "",
        "\n",
        "\n\n",
        TEXT,
        TEXT + "\n",
        note("— example.org/log \n"),
        note("— example.org/log AAAA\n"),
        note("- example.org/log " + LOG.sign(TEXT).split(" ")[2]),
        note(LOG.sign(TEXT).removesuffix("\n")),
        note(LOG.sign(TEXT).replace("\n", "\r\n")),
        note(LOG.sign(TEXT) + "\n"),
        note(LOG.sign(TEXT).replace(" ", "  ", 1)),
        note(LOG.sign(TEXT), text=TEXT.replace("3", "4")),
        note(LOG.sign(TEXT), text=TEXT.removesuffix("\n")),
        note(LOG.sign(TEXT), text=TEXT + "more\n"),
        note(*[LOG.sign(TEXT)] * (notes.MOST_SIGNATURES + 1)),
        note(LOG.sign(TEXT), "anything\n"),
    ],
)
def test_what_is_no_note_or_another_text_is_refused(written: str) -> None:
    refused(written)


def test_one_wrong_signature_in_a_known_name_refuses_the_whole() -> None:
    refused(note(LOG.sign(TEXT), LOG.sign(TEXT + "more\n")))


@pytest.mark.parametrize("place", range(64))
def test_a_signature_with_one_bit_turned_is_refused(place: int) -> None:
    name, signature = LOG.sign(TEXT).removesuffix("\n").split(" ")[1:]
    made = bytearray(base64.b64decode(signature))
    made[4 + place] ^= 1
    refused(note(f"— {name} {base64.b64encode(made).decode()}\n"))


def test_a_signature_that_is_too_short_is_refused() -> None:
    name, signature = LOG.sign(TEXT).removesuffix("\n").split(" ")[1:]
    refused(note(f"— {name} {base64.b64encode(base64.b64decode(signature)[:-1]).decode()}\n"))


@given(written=st.text())
def test_whatever_is_shown_is_refused_or_signed(written: str) -> None:
    refused(written)
    refused(written + "\n\n— example.org/log " + written + "\n")


@pytest.mark.parametrize("kind", [notes.LOG, notes.WITNESS])
def test_a_verifier_is_read_as_it_is_written(kind: int) -> None:
    verifier = LOG.verifier(kind)
    assert Verifier.read(f" {verifier}\n") == verifier


@pytest.mark.parametrize(
    "text",
    [
        "",
        "example.org/log",
        str(LOG.verifier()).replace("+", "-", 1),
        str(LOG.verifier())[:-4],
        str(LOG.verifier()).replace("example.org", "example.com"),
        str(LOG.verifier(2)),
    ],
)
def test_what_is_no_verifier_is_refused(text: str) -> None:
    with pytest.raises(VerifierUnreadableError):
        Verifier.read(text)


@pytest.mark.parametrize("name", ["", "with space", "with+plus", "with\nbreak"])
def test_a_name_can_always_be_read_again(name: str) -> None:
    with pytest.raises(ValueError, match="name of a key"):
        Signer(name, bytes(32))


def test_a_new_key_is_another_one() -> None:
    assert len(notes.new_key()) == 32
    assert notes.new_key() != notes.new_key()


def test_a_signer_does_not_show_its_key() -> None:
    assert repr(Signer("example.org/log", b"k" * 32)) == "Signer(name='example.org/log')"
