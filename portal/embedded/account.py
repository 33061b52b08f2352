"""Which account a server runs as: the caller, or, for root, an unprivileged one that can reach the files."""

from __future__ import annotations

import os
import pwd
import shutil
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from portal.errors import MisconfiguredError

_UNPRIVILEGED = ("postgres", "nobody")
_POINTER = "elsewhere"
_FALLBACK = Path("/var/tmp")  # noqa: S108 - every account can pass through it; what lies below is 0700


@dataclass(frozen=True)
class Account:
    """`uid` and `gid` to run as; None for the caller's own."""

    uid: int | None
    gid: int | None

    def popen_options(self) -> dict[str, Any]:
        """Return the arguments of `subprocess` that change to this account before the program starts."""
        if self.uid is None:
            return {}
        return {"user": self.uid, "group": self.gid, "extra_groups": []}

    def own(self, path: Path) -> None:
        if self.uid is not None and self.gid is not None:
            os.chown(path, self.uid, self.gid)

    def can_pass(self, path: Path) -> bool:
        """Say whether this account can reach `path` through every folder above it."""
        if self.uid is None:
            return True
        return all(_passable(folder) for folder in (path, *path.parents) if folder.exists())

    def home(self, wanted: Path) -> Path:
        """Return `wanted`, or a folder of its own elsewhere when this account cannot reach it.

        Which one was chosen stays: a file in `wanted` names the other place.  Raises `MisconfiguredError` rather
        than begin anew elsewhere when there is something at `wanted` that can no longer be reached.
        """
        pointer = wanted / _POINTER
        if pointer.is_file():
            return Path(pointer.read_text())
        if self.can_pass(wanted.parent):
            return wanted
        if wanted.exists() and any(wanted.iterdir()):
            raise MisconfiguredError(f"The database's account can no longer reach {wanted}: let it pass (chmod o+x).")
        wanted.mkdir(parents=True, exist_ok=True, mode=0o700)
        place = tempfile.mkdtemp(prefix="ucm-", dir=_FALLBACK)
        pointer.write_text(place)
        return Path(place)

    def reachable(self, installed: Path, home: Path) -> Path:
        """Return `installed`, or a copy of it in `home` when this account cannot reach it where it is."""
        if self.can_pass(installed):
            return installed
        copy = home / "programs" / installed.name
        if not copy.exists():
            shutil.copytree(installed, copy, symlinks=True)
        return copy


def choose() -> Account:
    """Return the account for servers that refuse to run as root."""
    if os.geteuid() != 0:
        return Account(None, None)
    for name in _UNPRIVILEGED:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(entry.pw_uid, entry.pw_gid)
    return Account(65534, 65534)


def _passable(folder: Path) -> bool:
    return bool(folder.stat().st_mode & stat.S_IXOTH)
