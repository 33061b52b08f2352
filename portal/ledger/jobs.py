"""What the sequencer does once a second: the log grows by what was logged, and is signed as it stands then."""

from __future__ import annotations

from typing import TYPE_CHECKING

from portal import config, db, faults
from portal.errors import MisconfiguredError
from portal.ledger import publisher, sequencer, witnessing
from portal.vault import log_key

if TYPE_CHECKING:
    from portal.config import LogFiles
    from portal.ledger.checkpoints import Checkpoint
    from portal.vault.notes import Signer


class LogKeyUnsetError(MisconfiguredError):
    code = "log-key-unset"
    public = "LOG_KEY_FILE is not set: portal log-key makes the file."


def signer() -> Signer:
    """Return who signs the log; raises `LogKeyUnsetError` or what `log_key.load` does."""
    return log_key.load(_files().key)


def sequence() -> Checkpoint | None:
    """Take one turn; return what is signed now, or None where another process is at it.

    Raises what `signer`, `sequencer.grow` and `publisher.publish` raise.
    """
    url, signs = config.current().database_url, signer()
    with db.transaction(url) as session:
        size = sequencer.grow(session, origin=signs.name, now=db.now())
        faults.reach("log.grown")
    faults.reach("log.committed")
    if size is None:
        return None
    with db.transaction(url) as session:
        found = publisher.publish(session, signer=signs, head=_files().head, now=db.now())
        faults.reach("log.signed")
    return found


def ask_witness(verifier: str) -> None:
    """Have one witness sign what is published; the reconciler rings again for what is left."""
    settings = config.current()
    for each in witnessing.read(settings.log_witnesses):
        if str(each.verifier) == verifier:
            witnessing.ask(settings, each)


def _files() -> LogFiles:
    files = config.current().log_files
    if files is None:
        raise LogKeyUnsetError
    return files
