"""granian with the portal in it: a few processes, each with a few threads."""

from __future__ import annotations

import gc
import ssl
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from granian import Granian
from granian.constants import Interfaces, SSLProtocols

from portal import app
from portal.errors import MisconfiguredError

if TYPE_CHECKING:
    from pathlib import Path

_FORM = "portal.logs.WordlessFormatter"
_RESPAWN_SECONDS = 1.0
# A worker loses the signal to stop that comes before it serves, and would be waited for for ever.  Longer than an
# endpoint may take to prove itself: but for a poll that waits for news, nothing that is under way takes as long.
_STOP_SECONDS = 12


class KeyExposedError(MisconfiguredError):
    code = "tls-key-exposed"
    public = "The TLS key file can be read by everybody on this machine: run chmod 640 or 600 on it."


class CertificateError(MisconfiguredError):
    code = "tls-certificate"
    public = (
        "The TLS certificate and key cannot be read, or do not belong together: give both as PEM, without a passphrase."
    )


@dataclass(frozen=True, kw_only=True)
class Tls:
    """The files of the server's certificate, with its chain, and of its key: both PEM."""

    certificate: Path
    key: Path

    def check(self) -> None:
        """Raise `KeyExposedError` or `CertificateError` rather than start workers that cannot serve."""
        try:
            if stat.S_IMODE(self.key.stat().st_mode) & stat.S_IRWXO:
                raise KeyExposedError
            # Without an answer to give, a passphrase is an error and not a question at the terminal.
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(self.certificate, self.key, password=lambda: "")
        except (OSError, ValueError) as error:
            raise CertificateError(private=type(error).__name__) from error


def serve(*, host: str, port: int, workers: int, blocking_threads: int, tls: Tls | None = None) -> None:
    """Serve until told to stop; a worker process that dies is replaced.

    With `tls` it speaks TLS 1.3, and 1.2 with the suites that BCP 195 (RFC 9325 section 4.2) recommends: granian's
    TLS knows no others, and nothing older.
    """
    if tls is not None:
        tls.check()
    # The workers are forks of this process: what it has loaded they share with it, as long as nobody writes to it, and
    # whoever collects garbage does.
    gc.freeze()
    Granian(
        f"{app.__name__}:{app.create_app.__name__}",
        factory=True,
        address=host,
        port=port,
        interface=Interfaces.WSGI,
        workers=workers,
        blocking_threads=blocking_threads,
        websockets=False,
        log_access=False,
        log_dictconfig=_logging(),
        respawn_failed_workers=True,
        respawn_interval=_RESPAWN_SECONDS,
        workers_kill_timeout=_STOP_SECONDS,
        ssl_cert=tls.certificate if tls else None,
        ssl_key=tls.key if tls else None,
        ssl_protocol_min=SSLProtocols.tls12,
    ).serve()


def _logging() -> dict[str, Any]:
    # granian configures logging in each of its processes from this, so it says what `logs.configure` does.
    return {
        "formatters": {"one": {"()": _FORM}},
        "handlers": {"error": {"class": "logging.StreamHandler", "formatter": "one", "stream": "ext://sys.stderr"}},
        "root": {"handlers": ["error"], "level": "INFO"},
        "loggers": {"_granian": {"level": "INFO"}},
    }
