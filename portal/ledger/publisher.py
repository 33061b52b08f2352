"""Signing what the log has grown to, and never two checkpoints that contradict each other.

What was signed last is kept in a file, which belongs on another volume than the database: a database that was restored
to an earlier state, or changed, does not get a signature.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from sqlalchemy import text

from portal import faults
from portal.errors import PortalError
from portal.ledger import tiles, tree
from portal.ledger.checkpoints import Checkpoint
from portal.vault import notes

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from sqlalchemy.orm import Session

    from portal.vault.notes import Signer

# Held to the end: nobody else signs meanwhile, and the log does not grow.
_STANDS = text("SELECT log_id, size, note FROM log WHERE origin = :origin FOR UPDATE")
_PUBLISH = text("UPDATE log SET note = :note, verifier = :verifier, noted_at = :now WHERE log_id = :log_id")


class LogForkedError(PortalError):
    """The tree does not continue what was signed: it was rewritten, or restored to an earlier state."""

    code = "log-forked"
    status = 500
    public = "The log does not continue what was signed before: nothing is signed; open a new one under another name."


class HeadMissingError(PortalError):
    """The log has been signed, and the file that says what was signed last is not there."""

    code = "log-head-missing"
    status = 500
    public = "The file with the log's last signed head is missing: put it back, or open a new log under another name."


class HeadDamagedError(PortalError):
    code = "log-head-damaged"
    status = 500
    public = "The file with the log's last signed head cannot be read: put it back from a copy."


def publish(session: Session, *, signer: Signer, head: Path, now: datetime) -> Checkpoint | None:
    """Sign the log named as the signer is, as it stands, and keep the note; None where there is no such log yet.

    `head` is the file of what was signed last; it is written before anything is signed, so that a signature that
    nobody saw is still one that binds.  Raises `LogForkedError`, `HeadMissingError` or `HeadDamagedError`.
    """
    log = session.execute(_STANDS, {"origin": signer.name}).one_or_none()
    if log is None:
        return None
    last = _last(head)
    if last is None and log.note is not None:
        raise HeadMissingError
    found = _continued(session, last, origin=signer.name, size=log.size, log_id=log.log_id)
    if last != found:
        _write(head, found)
    faults.reach("log.kept")
    note = notes.signed(found.text, signer.sign(found.text))
    if note != log.note:
        signed_by = str(signer.verifier())
        session.execute(_PUBLISH, {"log_id": log.log_id, "note": note, "verifier": signed_by, "now": now})
    return found


def _continued(session: Session, last: Checkpoint | None, *, origin: str, size: int, log_id: int) -> Checkpoint:
    """Return the checkpoint of what stands now, once it is proved to begin with what was signed last."""
    before = last.size if last else 0
    if before > size or (last is not None and last.origin != origin):
        raise LogForkedError
    path = tree.consistency(before, size) if before else []
    kept = tiles.nodes(session, [*tree.edge(size), *(node for span in path for node in span.nodes)], log_id=log_id)
    found = Checkpoint(origin, size, tree.root(size, kept))
    proof = [span.hash(kept) for span in path]
    if (
        before
        and last is not None
        and not tree.consistent(first=before, first_root=last.root, second=size, second_root=found.root, path=proof)
    ):
        raise LogForkedError
    return found


def _last(head: Path) -> Checkpoint | None:
    try:
        return Checkpoint.read(head.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (PortalError, UnicodeDecodeError) as error:
        raise HeadDamagedError from error


def _write(head: Path, checkpoint: Checkpoint) -> None:
    """Replace the file as a whole, on the disk before this returns: there is always one that can be read."""
    fresh = head.with_name(f"{head.name}.new")
    with fresh.open("w", encoding="utf-8") as file:
        file.write(checkpoint.text)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(head)
    folder = os.open(head.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
