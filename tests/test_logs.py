from __future__ import annotations

import logging
import logging.config
import sys
from typing import TYPE_CHECKING

import pytest

from portal import server
from portal.errors import RefusedError
from portal.logs import WordlessFormatter, configure, wordless

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture
def _logging() -> Iterator[None]:
    root = logging.getLogger()
    kept, level = root.handlers[:], root.level
    yield
    root.handlers[:] = kept
    root.setLevel(level)
    for name in ("urllib3", "mail.log", "rq.worker", "alembic", "_granian"):
        logging.getLogger(name).setLevel(logging.NOTSET)


def _raise_with_words() -> None:
    try:
        int("canary-value")
    except ValueError as error:
        raise RefusedError(private="no such grant") from error


def test_a_traceback_is_told_without_its_words() -> None:
    try:
        _raise_with_words()
    except RefusedError:
        record = logging.LogRecord("portal", logging.ERROR, "x.py", 1, "it failed", None, sys.exc_info())
    line = WordlessFormatter().format(record)
    assert "canary" not in line
    assert "it failed" in line
    assert "RefusedError (refused: no such grant)" in line
    assert "ValueError" in line
    assert "test_logs.py:" in line


@pytest.mark.parametrize("error", [None, KeyError("canary")])
def test_no_words_of_any_error(error: Exception | None) -> None:
    assert "canary" not in wordless(error)


def _granian() -> None:
    logging.config.dictConfig({"version": 1, "disable_existing_loggers": False} | server._logging())  # noqa: SLF001 - what granian gets


@pytest.mark.usefixtures("_logging")
@pytest.mark.parametrize("set_up", [configure, _granian])
def test_receivers_addresses_and_headers_are_not_logged(
    set_up: Callable[[], None], capsys: pytest.CaptureFixture[str]
) -> None:
    set_up()
    for name in ("urllib3", "urllib3.connection", "urllib3.connectionpool"):
        logging.getLogger(name).warning(
            "Failed to parse headers (url=%s)", "https://receiver.example.com/events?key=canary"
        )
    assert "canary" not in capsys.readouterr().err
