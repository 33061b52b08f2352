"""Checking a receipt without trusting who shows it: the file and the published keys are all it takes.

Nothing is asked of the portal or its database.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from portal.consent import chain, receipts
from portal.errors import InvalidError
from portal.vault import record_keys

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


_LARGEST = 16 * 1024 * 1024


class ReceiptUnreadableError(InvalidError):
    code = "receipt-unreadable"
    public = "This is not a receipt: it has no signature, no keys or no steps."


class ReceiptChangedError(InvalidError):
    """The signature is not of what the receipt says, or not by a key that is trusted."""

    code = "receipt-changed"
    public = "This receipt is not what was signed, or was signed by a key that is not known."


class StepChangedError(InvalidError):
    """A step is not what was signed, or steps are missing or in another order."""

    code = "step-changed"

    def __init__(self, number: int) -> None:
        super().__init__(f"Step {number} of this receipt is not what was signed, or one before it is missing.")


@dataclass(frozen=True, kw_only=True)
class Checked:
    """What was found: `signed` says how many of the steps bear a signature of their own."""

    number: str
    steps: int
    signed: int
    kids: Sequence[str]
    revoked: Sequence[str]
    keys_url: str


def read(file: Path) -> dict[str, Any]:
    """Return a receipt, or a key set, from its file; raise ReceiptUnreadableError."""
    try:
        if file.stat().st_size > _LARGEST:
            raise ReceiptUnreadableError
        document = json.loads(file.read_bytes(), object_pairs_hook=_each_once)
    except (OSError, ValueError, RecursionError) as error:
        raise ReceiptUnreadableError from error
    if not isinstance(document, dict):
        raise ReceiptUnreadableError
    return document


def _each_once(members: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return the members of an object: of two with one name, another reader may take the other one."""
    found = dict(members)
    if len(found) < len(members):
        raise ValueError
    return found


def check(told: Mapping[str, Any], keys: Mapping[str, Any] | None = None) -> Checked:
    """Check a receipt with the published keys, or without them with those that came with it; return what was found.

    The keys in the file prove that nothing was changed since; that they are the portal's, only the published set does.
    Raises one of the errors above.
    """
    try:
        trusted, events = keys or told["keys"], told["events"]
        signature, url, number = told["signature"], told["keys_url"], told["receipt_id"]
    except KeyError as error:
        raise ReceiptUnreadableError from error
    _check_whole(told, signature, trusted)
    for place, event in enumerate(events, start=1):
        _check_step(event, place, events[place - 2]["hash"] if place > 1 else chain.START.hex(), trusted)
    if not events or events[-1]["hash"] != told.get("record_hash"):
        raise StepChangedError(len(events))
    kids = sorted({record_keys.kid_of(token) for token in (signature, *filter(None, (e["jws"] for e in events)))})
    return Checked(
        number=number,
        steps=len(events),
        signed=sum(event["jws"] is not None for event in events),
        kids=kids,
        revoked=[key["kid"] for key in trusted["keys"] if key["kid"] in kids and "revoked" in key],
        keys_url=url,
    )


def _check_whole(told: Mapping[str, Any], signature: str, trusted: Mapping[str, Any]) -> None:
    try:
        signed = record_keys.opened(signature, trusted, typ=receipts.TYP)
    except (record_keys.SignatureRefusedError, AttributeError, TypeError) as error:
        raise ReceiptChangedError from error
    if signed != receipts.canonical(told):
        raise ReceiptChangedError


def _check_step(event: Mapping[str, Any], place: int, before: str, trusted: Mapping[str, Any]) -> None:
    linked = event.get("version") == place and event.get("previous_hash") == before
    if not linked or not _signed_as_told(event, trusted):
        raise StepChangedError(place)


def _signed_as_told(event: Mapping[str, Any], trusted: Mapping[str, Any]) -> bool:
    # A step from before steps were signed is covered by the hash of the next one that is.
    if event.get("jws") is None:
        return True
    try:
        signed = record_keys.opened(event["jws"], trusted, typ=chain.TYP)
    except record_keys.SignatureRefusedError:
        return False
    said = json.loads(signed)
    same = all(said.get(name) == event.get(name) for name in ("version", "attributes", "mode", "shown", "about"))
    steps = said["step"] == event.get("event_type") and said["actor"] == event.get("entity_id")
    linked = said["previous"] == event.get("previous_hash")
    return same and steps and linked and chain.hash_of(signed).hex() == event.get("hash")
