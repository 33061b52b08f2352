"""The key that a log's checkpoints are signed with, in a file that only its owner can read.

One line, as Go's `note` package writes it: `PRIVATE+KEY+name+id+base64`.  Whoever serves the log has no use for it.
"""

from __future__ import annotations

import os
import re
import stat
from base64 import b64decode, b64encode
from typing import TYPE_CHECKING

from portal.errors import MisconfiguredError
from portal.vault import notes
from portal.vault.notes import LOG, Signer

if TYPE_CHECKING:
    from pathlib import Path

_WRITTEN = re.compile(r"PRIVATE\+KEY\+(?P<name>[^\s+]+)\+(?P<id>[0-9a-f]{8})\+(?P<key>[A-Za-z0-9+/]{44})\s*")


class LogKeyExposedError(MisconfiguredError):
    code = "log-key-exposed"
    public = "The log's key file can be read by others than its owner: run chmod 600 on it."


class LogKeyDamagedError(MisconfiguredError):
    code = "log-key-damaged"
    public = "The log's key file is damaged: put it back from a copy."


class LogKeyMissingError(MisconfiguredError):
    code = "log-key-missing"
    public = "The log's key file does not exist: portal log-key makes it."


class LogKeyThereError(MisconfiguredError):
    code = "log-key-there"
    public = "There is a file at LOG_KEY_FILE already, and a log keeps its key: name another file for another log."


class LogNameError(MisconfiguredError):
    code = "log-name"
    public = "The name of a log has neither spaces nor a plus, such as portal.example/log."


def create(path: Path, *, name: str) -> Signer:
    """Write a new key for the log of this name, mode 0600; raises `LogKeyThereError` rather than overwrite one."""
    private = notes.new_key()
    try:
        signer = Signer(name, private)
    except ValueError as error:
        raise LogNameError from error
    written = b64encode(bytes([LOG]) + private).decode()
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as error:
        raise LogKeyThereError from error
    with os.fdopen(descriptor, "w") as file:
        file.write(f"PRIVATE+KEY+{name}+{signer.verifier().key_id.hex()}+{written}\n")
    return signer


def load(path: Path) -> Signer:
    """Return who signs the log; raises `LogKeyMissingError`, `LogKeyExposedError` or `LogKeyDamagedError`."""
    try:
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            raise LogKeyExposedError
        written = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise LogKeyMissingError from error
    except UnicodeDecodeError as error:
        raise LogKeyDamagedError from error
    found = _WRITTEN.fullmatch(written)
    material = b64decode(found["key"]) if found else b""
    if found is None or material[0] != LOG:
        raise LogKeyDamagedError
    signer = Signer(found["name"], material[1:])
    if signer.verifier().key_id.hex() != found["id"]:
        raise LogKeyDamagedError
    return signer
