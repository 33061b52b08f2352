"""The habits that linters cannot see: routes, templates and the words in them."""

from __future__ import annotations

import ast
import re
import tomllib
from fnmatch import fnmatch
from importlib import import_module
from typing import TYPE_CHECKING

import pytest

from portal.app import APIS, create_app
from portal.config import PACKAGE, asset_folder

if TYPE_CHECKING:
    from pathlib import Path

    from apiflask import APIFlask

    from portal.config import Settings

TEMPLATES = sorted(asset_folder("templates").rglob("*.html"))
PAGES = [path for path in TEMPLATES if "{% extends" in path.read_text()]
README = PACKAGE.parent / "README.md"
MODULES = sorted(PACKAGE.rglob("*.py"))
# Flask and APIFlask add these themselves; they show nothing of anyone.
FOREIGN = {"static", "openapi.spec"}
PERSONS_PAGES = ("consumer", "consent", "ledger", "identity", "oauth")
EDGE = re.compile(r"portal\.\w+\.(?:\w+_)?(?:web|api)")
# The two pages of a company's deletions are one page in two files.
KNOWN_ENTRIES = {("consent/deletions_web.py", "portal.consent.deletion_rounds_web")}
FLASK = {"flask", "werkzeug", "flask_login", "flask_wtf", "apiflask"}
AT_THE_EDGE = re.compile(r"app|(?:\w+_)?(?:web|api|forms)")
WITH_PAGES = {
    # Who may open what, and what several pages or parts of the API have in common.
    "companies/access.py", "companies/declaring.py", "companies/looks.py", "ledger/filters.py", "oauth/protection.py",
    "sync/bodies.py", "sync/own_grants.py", "sync/counter.py",
    # What a browser says of who is at the keyboard.
    "identity/browser.py", "identity/onward.py", "identity/pending.py", "identity/second_proof.py",
    # They hold forms of their own.
    "consent/approving.py", "consent/offering.py",
}  # fmt: skip
MACHINE_WORDS = re.compile(r"data subject|\bscopes?\b|\bgrants?\b|\brevoke|\btokens?\b|\bcontroller\b", re.IGNORECASE)


@pytest.fixture(scope="module")
def app(settings: Settings) -> APIFlask:
    return create_app(settings)


def test_every_route_says_who_may_open_it(app: APIFlask) -> None:
    unguarded = [
        rule.rule
        for rule in app.url_map.iter_rules()
        if rule.endpoint not in FOREIGN and not hasattr(app.view_functions[rule.endpoint], "access")
    ]
    assert unguarded == []


def test_every_path_is_kebab_case(app: APIFlask) -> None:
    paths = {re.sub(r"<[^>]+>", "x", rule.rule) for rule in app.url_map.iter_rules() if rule.endpoint not in FOREIGN}
    assert [path for path in paths if not re.fullmatch(r"(/[a-z0-9.\-]*)+", path)] == []


def test_only_addresses_of_machines_take_a_post_without_a_form_token(app: APIFlask) -> None:
    exempt = {module.__name__ for module in APIS}
    posts = [
        rule.rule
        for rule in app.url_map.iter_rules()
        if "POST" in (rule.methods or ()) and app.view_functions[rule.endpoint].__module__ in exempt
    ]
    assert posts
    assert [rule for rule in posts if not rule.startswith(("/api/", "/oauth/"))] == []


def test_the_address_tells_the_folder(app: APIFlask) -> None:
    """The README's table names, for every first path segment, the slices that answer there."""
    table = {}
    for addresses, slices in re.findall(r"^\| (`/[^|]*) \| ([^|]*) \|", README.read_text(), flags=re.MULTILINE):
        named = set(re.findall(r"`([a-z]+)`", slices))
        table.update(dict.fromkeys(re.findall(r"`/([\w.-]*)", addresses), named))
    for rule in app.url_map.iter_rules():
        if rule.endpoint not in FOREIGN:
            module = app.view_functions[rule.endpoint].__module__
            assert module.split(".")[1] in table[rule.rule.split("/")[1]], rule.rule


@pytest.mark.parametrize("path", PAGES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_every_page_has_a_title(path: Path) -> None:
    assert "{% block title %}" in path.read_text()


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_no_template_carries_script_or_style(path: Path) -> None:
    text = path.read_text()
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son[a-z]+=|hx-on|hx-boost|js:|\|\s*safe\b", text)


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_templates_stay_short(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 200


@pytest.mark.parametrize(
    "path",
    [path for path in TEMPLATES if path.parent.name in PERSONS_PAGES],
    ids=lambda path: f"{path.parent.name}/{path.name}",
)
def test_people_read_plain_words(path: Path) -> None:
    words = re.sub(r"\{[{%#].*?[}%#]\}|<[^>]*>", " ", path.read_text(), flags=re.DOTALL)
    assert MACHINE_WORDS.findall(words) == []


def _imports(path: Path) -> set[str]:
    """Return all that a module imports when it runs: modules, and names that may be modules."""
    whole = list(ast.walk(ast.parse(path.read_text())))
    for_types = {id(node) for each in whole if _is_for_types(each) for node in ast.walk(each)}
    found = [node for node in whole if id(node) not in for_types]
    parts = [node for node in found if isinstance(node, ast.ImportFrom)]
    return {
        *(alias.name for node in found if isinstance(node, ast.Import) for alias in node.names),
        *(str(node.module) for node in parts),
        *(f"{node.module}.{alias.name}" for node in parts for alias in node.names),
    }


def _is_for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def test_nothing_imports_an_edge_but_the_application() -> None:
    """Of a contract in `pyproject.toml` each name would have to be told: its wildcards stand for whole names alone."""
    entered = {
        (str(path.relative_to(PACKAGE)), name)
        for path in MODULES
        for name in _imports(path)
        if EDGE.fullmatch(name) and path.name != "app.py"
    }
    assert entered - KNOWN_ENTRIES == set()


def test_flask_stays_at_the_edges() -> None:
    """Pages, forms and APIs, and what is named with them; no service, job or rule needs a request to be called."""
    met = {
        str(path.relative_to(PACKAGE))
        for path in MODULES
        if any(name.partition(".")[0] in FLASK for name in _imports(path)) and not AT_THE_EDGE.fullmatch(path.stem)
    }
    assert {path for path in met if not path.startswith("web/")} - WITH_PAGES == set()


def test_what_promises_to_be_plain_python_is_held_to_it() -> None:
    contracts = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    [held] = [each["source_modules"] for each in contracts if each["name"] == "Rules are plain Python"]
    for path in MODULES:
        words = ast.get_docstring(ast.parse(path.read_text())) or ""
        if re.search(r"\b(?:pure|plain) python\b", words, re.IGNORECASE):
            name = ".".join(("portal", *path.relative_to(PACKAGE).with_suffix("").parts))
            assert any(fnmatch(name, pattern) for pattern in held), name


def test_every_enqueued_name_resolves() -> None:
    names = {name for path in MODULES for name in re.findall(r'"(portal(?:\.\w+)+\.jobs\.\w+)"', path.read_text())}
    assert names
    for name in names:
        module, _, function = name.rpartition(".")
        assert callable(getattr(import_module(module), function))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_modules_stay_readable(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 400 or "migrations" in path.parts
    assert path.stem not in {"utils", "helpers", "common", "misc"}
