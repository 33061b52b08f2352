"""granian with the portal in it: a few processes, each with a few threads."""

from __future__ import annotations

from typing import Any

from granian import Granian
from granian.constants import Interfaces

_FORM = "portal.logs.WordlessFormatter"
_RESPAWN_SECONDS = 1.0


def serve(*, host: str, port: int, workers: int, blocking_threads: int) -> None:
    """Serve until told to stop; a worker process that dies is replaced."""
    Granian(
        "portal.app:create_app",
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
    ).serve()


def _logging() -> dict[str, Any]:
    # granian configures logging in each of its processes from this, so it says what `logs.configure` does.
    return {
        "formatters": {"one": {"()": _FORM}},
        "handlers": {"error": {"class": "logging.StreamHandler", "formatter": "one", "stream": "ext://sys.stderr"}},
        "root": {"handlers": ["error"], "level": "INFO"},
        "loggers": {"_granian": {"level": "INFO"}, "urllib3": {"level": "CRITICAL"}},
    }
