"""The guide for a company's engineer as pages: `docs/companies.md` and what stands beside it, of this very version."""

from __future__ import annotations

import re
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from flask import Blueprint, redirect
from markdown_it import MarkdownIt
from markupsafe import Markup, escape

from portal.config import asset_folder
from portal.errors import NotFoundError
from portal.web.access import public
from portal.web.context import settings
from portal.web.pages import page

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from flask import Response
    from flask.typing import ResponseReturnValue
    from markdown_it.renderer import RendererHTML
    from markdown_it.token import Token

pages = Blueprint("guide", __name__, url_prefix="/docs")

_START: Final = "companies"
# What the documents call the portal, where it is not known yet.
_ANY_PORTAL: Final = "https://portal.example"
_NOT_A_WORD: Final = re.compile(r"[^\w -]")


class Guide(NamedTuple):
    """One document: its first heading, and all of it as HTML."""

    title: str
    body: Markup


@pages.get("")
@public
def start() -> ResponseReturnValue:
    return redirect(f"{pages.url_prefix}/{_START}", 302)


@pages.get(f"/{_START}")
@public
def guide() -> Response:
    return page("docs/guide.html", guide=_read(_START, settings().url))


@pages.get(f"/{_START}/<name>")
@public
def part(name: str) -> Response:
    if name not in _names():
        raise NotFoundError(private="no such part of the guide")
    return page("docs/guide.html", guide=_read(f"{_START}/{name}", settings().url))


@cache
def _names() -> frozenset[str]:
    return frozenset(document.stem for document in (asset_folder("docs") / _START).glob("*.md"))


@cache
def _read(name: str, url: str) -> Guide:
    markdown = MarkdownIt("commonmark", {"html": False}).enable("table")
    for rule in (_table_open, _table_close, _fence):
        markdown.add_render_rule(rule.__name__.removeprefix("_"), rule)
    written = (asset_folder("docs") / f"{name}.md").read_text().replace(_ANY_PORTAL, url)
    tokens = list(_without_empty_heads(markdown.parse(written)))
    for token, following in pairwise(tokens):
        if token.type == "heading_open":
            token.attrSet("id", _anchor(following.content))
    for token in tokens:
        token.children = _served(token.children) if token.children else token.children
    title = next(token.content for token in tokens if token.type == "inline")
    return Guide(title, Markup(markdown.renderer.render(tokens, markdown.options, {})))  # noqa: S704 - our own documents


def _anchor(heading: str) -> str:
    """Return the name by which links reach a heading, as code hosts make it."""
    return _NOT_A_WORD.sub("", heading.lower()).replace(" ", "-")


def _served(tokens: Sequence[Token]) -> list[Token]:
    """Return the tokens of a paragraph with links to documents as links to pages; of what no page shows, the words."""
    found, dropped = [], False
    for token in tokens:
        if token.type == "link_open":
            address = _address(str(token.attrs["href"]))
            dropped = not address
            token.attrSet("href", address)
        if not (dropped and token.type in {"link_open", "link_close"}):
            found.append(token)
    return found


def _address(link: str) -> str:
    place, mark, heading = link.partition("#")
    if not place or "://" in place or place.startswith("/"):
        return link
    document = place.removeprefix("../")
    if not document.endswith(".md"):
        return ""
    name = document.removesuffix(".md")
    if name != _START:
        name = f"{_START}/{name.removeprefix(f'{_START}/')}"
    return f"{pages.url_prefix}/{name}{mark}{heading}"


def _without_empty_heads(tokens: Sequence[Token]) -> Iterator[Token]:
    """Yield the tokens of a document; a head of a table says something, or is none."""
    head: list[Token] = []
    for token in tokens:
        if head or token.type == "thead_open":
            head.append(token)
        else:
            yield token
        if token.type == "thead_close":
            yield from _head(head)
            head = []


def _head(tokens: Sequence[Token]) -> Sequence[Token]:
    if not any(token.content for token in tokens):
        return ()
    for before, token, after in zip(tokens, tokens[1:], tokens[2:], strict=False):
        if token.type == "inline" and not token.content:
            before.tag = after.tag = "td"
    return tokens


# What is wider than a small window is scrolled by itself, by keyboard too: each such place has a name of its own.


def _table_open(*rule: Any) -> str:  # noqa: ANN401 - as every rule is called
    return f'<div class="tblwrap" {_place("Table", *rule)}><table class="tbl">\n'


def _table_close(*_rule: Any) -> str:  # noqa: ANN401 - as every rule is called
    return "</table></div>\n"


def _fence(renderer: RendererHTML, tokens: Sequence[Token], index: int, *rest: Any) -> str:  # noqa: ANN401 - as every rule is called
    return (
        f"<pre {_place('Program', renderer, tokens, index, *rest)}><code>{escape(tokens[index].content)}</code></pre>\n"
    )


def _place(kind: str, *rule: Any) -> str:  # noqa: ANN401 - as every rule is called
    _renderer, tokens, index, *_rest = rule
    number = sum(token.type == tokens[index].type for token in tokens[: index + 1])
    return f'tabindex="0" role="region" aria-label="{kind} {number}"'
