"""What we ship of other people's work is what they published, and each piece has its licence beside it."""

from __future__ import annotations

import hashlib
import json
import re
from base64 import b64encode

import pytest

from portal.config import asset_folder

STATIC = asset_folder("static")
VENDOR = STATIC / "vendor"
MANIFEST = json.loads((VENDOR / "manifest.json").read_text())
PERMISSIVE = {"0BSD", "OFL-1.1"}


@pytest.mark.parametrize("entry", MANIFEST, ids=lambda entry: entry["file"])
def test_each_file_is_as_published(entry: dict[str, str]) -> None:
    digest = hashlib.sha384((VENDOR / entry["file"]).read_bytes()).digest()
    assert entry["sha384"] == "sha384-" + b64encode(digest).decode()
    assert entry["licence"] in PERMISSIVE
    assert entry["name"]
    assert entry["version"]


def test_nothing_lies_there_unlisted() -> None:
    found = {path.relative_to(VENDOR).as_posix() for path in VENDOR.rglob("*") if path.is_file()}
    assert found - {"manifest.json"} == {entry["file"] for entry in MANIFEST}


def test_each_package_brings_its_licence() -> None:
    for name in {entry["name"] for entry in MANIFEST}:
        assert any(entry["name"] == name and entry["file"].endswith("/LICENSE") for entry in MANIFEST)


def test_the_style_sheet_loads_only_what_is_there() -> None:
    addresses = re.findall(r"url\(([^)]+)\)", (STATIC / "app.css").read_text())
    assert addresses
    assert [address for address in addresses if not (STATIC / address).is_file()] == []
