"""The whole way with npm's openid-client, certified for FAPI 2.0 and not of our making, without special cases."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest

from tests.openid_client.conftest import HERE

if TYPE_CHECKING:
    from tests.openid_client.conftest import Report

STEPS = [*re.findall(r"step\('([^']+)'", (HERE / "flow.mjs").read_text()), "the end"]
# What the certified client must at least be taken through; a step that is renamed or dropped is missed here.
WANTED = {
    "discovery", "discovery by RFC 8414", "pushed authorization request", "consent", "authorization code", "ID token",
    "userinfo", "introspection", "refresh", "revocation", "client credentials", "protected resource",
    "rich authorization request", "grant management", "signed request object (JAR), pushed",
    "signed authorization response (JARM)", "signed introspection and userinfo",
    "encrypted ID token, userinfo and introspection", "approval away from the browser (CIBA)", "dynamic registration",
    "RP-initiated logout", "prompt none",
}  # fmt: skip


@pytest.mark.parametrize("step", STEPS)
def test_step(report: Report, step: str) -> None:
    told = report.get(step, {"ok": False, "error": "the client did not get here"})
    assert told["ok"], told


def test_no_step_is_left_out() -> None:
    assert set(STEPS) >= WANTED
    assert len(STEPS) == len(set(STEPS))


def test_versions_are_pinned_and_name_no_registry() -> None:
    wanted = json.loads((HERE / "package.json").read_text())["dependencies"]
    lock = json.loads((HERE / "package-lock.json").read_text())["packages"]
    for name, version in wanted.items():
        assert re.fullmatch(r"\d+\.\d+\.\d+", version), name
        assert lock[f"node_modules/{name}"]["version"] == version
    for name, entry in lock.items():
        assert "resolved" not in entry, name
        assert not name or entry["integrity"].startswith("sha512-"), name
