"""An upgrade of Authlib is a deliberate act."""

from __future__ import annotations

import ast
import re
import tomllib
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = "docs/upgrading-authlib.md"
REVIEWED = "1.9.9"


def test_the_installed_one_is_the_one_that_was_reviewed() -> None:
    assert version("authlib") == REVIEWED, f"Read {PAGE} before you change the version."


def test_the_pin_is_exact() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert f"authlib=={REVIEWED}" in project["dependencies"]
    assert f"authlib=={REVIEWED} " in (ROOT / "requirements" / "base.txt").read_text()


def test_the_page_lists_what_is_used() -> None:
    rows = re.findall(r"^\| `(authlib\.[\w.]+)` \| (.+?) \|", (ROOT / PAGE).read_text(), re.MULTILINE)
    listed = {(module, name) for module, names in rows for name in re.findall(r"`(\w+)`", names)}
    assert listed == _imported()


def _imported() -> set[tuple[str, str]]:
    found = set()
    for source in (ROOT / "portal").rglob("*.py"):
        for node in ast.walk(ast.parse(source.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("authlib"):
                found |= {(str(node.module), alias.name) for alias in node.names}
            assert not isinstance(node, ast.Import) or not any(a.name.startswith("authlib") for a in node.names)
    return found
