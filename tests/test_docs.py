"""What the documents tell people to type is there to be typed."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from portal import cli

ROOT = Path(__file__).parents[1]
# What the commands are given; whoever types them has it.
_FILES = ("client.json", "activity-log.json", "R-2026-1A2B3C4D-2.json")
_BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def _commands(document: str) -> list[tuple[str, str]]:
    blocks = _BLOCK.findall((ROOT / document).read_text())
    return [(document, line) for block in blocks for line in block.splitlines() if line.strip()]


COMMANDS = [*_commands("README.md"), *_commands("CONTRIBUTING.md")]
TARGETS = set(re.findall(r"^([a-z]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE))


@pytest.mark.parametrize(("document", "line"), COMMANDS, ids=lambda part: part)
def test_a_command_in_the_documents_can_be_typed(
    document: str, line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in _FILES:
        (tmp_path / name).write_text("{}")
    program, verb, *arguments = shlex.split(line, comments=True)
    if program == "make":
        assert verb in TARGETS, document
        assert not arguments
        return
    assert program == "portal", document
    command = cli.portal.commands[verb]
    with command.make_context(verb, arguments) as context:
        assert isinstance(context, click.Context)


def test_the_documents_name_commands() -> None:
    assert {document for document, _line in COMMANDS} == {"README.md", "CONTRIBUTING.md"}


def test_every_verb_stands_in_the_readme() -> None:
    readme = (ROOT / "README.md").read_text()
    assert all(f"portal {verb}" in readme for verb in cli.portal.commands)


def test_help_lists_every_target() -> None:
    assert {"help", "setup", "run", "reset", "test", "check", "bench", "chaos", "lock"} == TARGETS


def test_ci_calls_the_readmes_test_command() -> None:
    script = (ROOT / ".ci" / "run").read_text()
    assert script.rstrip().endswith("CI=true exec make test")
    assert (ROOT / ".ci" / "run").stat().st_mode & 0o111


@pytest.mark.parametrize("name", ["base", "dev"])
def test_locks_hold_names_versions_and_hashes_only(name: str) -> None:
    lines = (ROOT / "requirements" / f"{name}.txt").read_text().splitlines()
    assert all(re.fullmatch(r"[a-z0-9._-]+(\[[a-z0-9,-]+\])?==\S+( ; .+)? \\|    --hash=sha256:[0-9a-f]{64}( \\)?", x)
               for x in lines)  # fmt: skip


@pytest.mark.parametrize("folder", ["bench/peer", "tests/openid_client"])
def test_npms_locks_hold_no_addresses(folder: str) -> None:
    assert "://" not in (ROOT / folder / "package-lock.json").read_text()
    assert "omit-lockfile-registry-resolved=true" in (ROOT / folder / ".npmrc").read_text().splitlines()


@pytest.mark.parametrize("name", ["base", "dev"])
def test_every_wanted_package_is_pinned(name: str) -> None:
    wanted = re.findall(r"^([a-zA-Z][\w.-]*)", (ROOT / "requirements" / f"{name}.in").read_text(), re.MULTILINE)
    pinned = re.findall(r"^([\w.-]+)(?:\[.*\])?==", (ROOT / "requirements" / f"{name}.txt").read_text(), re.MULTILINE)
    assert {package.lower() for package in wanted} <= set(pinned)


_DECISIONS = sorted((ROOT / "docs" / "decisions").glob("*.md"))


def test_decisions_are_numbered_without_gaps() -> None:
    assert [int(record.name[:4]) for record in _DECISIONS] == list(range(1, len(_DECISIONS) + 1))


@pytest.mark.parametrize("record", _DECISIONS, ids=lambda path: path.stem)
def test_a_decision_says_why_what_and_what_follows(record: Path) -> None:
    written = record.read_text()
    assert written.startswith(f"# {int(record.name[:4])}. ")
    places = [written.find(f"\n**{part}.**") for part in ("Context", "Decision", "Consequences")]
    assert -1 < places[0] < places[1] < places[2]


_DOCUMENTS = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
_LINK = re.compile(r"\]\((?!https?://|mailto:)([^)#]*)(?:#([^)]*))?\)")
_HEADING = re.compile(r"^#{1,4} (.*)$", re.MULTILINE)


@pytest.mark.parametrize("document", _DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_of_a_document_leads_somewhere(document: Path) -> None:
    for place, heading in _LINK.findall(document.read_text()):
        target = (document.parent / place).resolve() if place else document
        assert target.exists(), place
        if heading:
            there = {
                re.sub(r"[^\w -]", "", each.lower()).replace(" ", "-") for each in _HEADING.findall(target.read_text())
            }
            assert heading in there, f"{place}#{heading}"
