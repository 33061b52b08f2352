"""No row of the checklist is without a test."""

from __future__ import annotations

import re
from pathlib import Path

from tests.fapi.checklist import ELSEWHERE, ROWS
from tests.fapi.server import ROOT

_TESTS = re.compile(r"^def test_row_(\d+)_\w+?__\w+\(", re.MULTILINE)


def test_every_row_has_a_test() -> None:
    texts = [path.read_text() for path in Path(__file__).parent.glob("test_*.py")]
    held = {int(number) for text in texts for number in _TESTS.findall(text)} | ELSEWHERE.keys()
    assert sorted(set(ROWS) - held) == []
    assert held <= set(ROWS)


def test_what_is_held_elsewhere_is_there() -> None:
    for names in ELSEWHERE.values():
        for name in names:
            path, _, function = name.partition("::")
            assert re.search(rf"^def {function}\(", (ROOT / path).read_text(), re.MULTILINE), name


def test_every_row_names_its_clause() -> None:
    for path in Path(__file__).parent.glob("test_*.py"):
        named = re.findall(r"^def (test_row_\w+)\(", path.read_text(), re.MULTILINE)
        assert [name for name in named if "__" not in name] == []
