from __future__ import annotations

import logging
import sys

import pytest

from portal.errors import RefusedError
from portal.logs import WordlessFormatter, wordless


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
