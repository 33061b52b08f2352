"""The guide for a company's engineer in the browser: the documents of this very version, every link of them good."""

from __future__ import annotations

import html
import re
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

import pytest

from portal.app import create_app

if TYPE_CHECKING:
    from flask.testing import FlaskClient

    from portal.config import Settings
    from portal.vault.keyring import Keyring

_DOCS = Path(__file__).parents[2] / "docs"
PAGES = ["/docs/companies", *(f"/docs/companies/{one.stem}" for one in sorted((_DOCS / "companies").glob("*.md")))]
_SOURCES = [_DOCS / f"{page.removeprefix('/docs/')}.md" for page in PAGES]


@pytest.fixture(scope="module")
def client(settings: Settings, keys: Keyring) -> FlaskClient:
    assert keys
    return create_app(settings).test_client()


def read(client: FlaskClient, address: str) -> str:
    answer = client.get(address)
    assert (answer.status_code, answer.mimetype) == (200, "text/html"), address
    return answer.text


@pytest.mark.parametrize(("page", "source"), list(zip(PAGES, _SOURCES, strict=True)), ids=PAGES)
def test_a_page_of_the_guide_holds_all_of_its_document(client: FlaskClient, page: str, source: Path) -> None:
    text, written = read(client, page), source.read_text()
    headings = re.findall(r"^#+ (.*)$", re.sub(r"```.*?```", "", written, flags=re.DOTALL), re.MULTILINE)
    shown = [html.unescape(re.sub("<[^>]*>", "", each)) for each in re.findall(r"<h[123][^>]*>(.*?)</h[123]>", text)]
    assert shown == headings
    assert text.count("<pre") == written.count("```") / 2
    assert f"<title>{headings[0]} – " in html.unescape(text)
    assert " style=" not in text


@pytest.mark.parametrize("page", PAGES)
def test_every_link_of_the_guide_leads_somewhere_in_the_browser(client: FlaskClient, page: str) -> None:
    main = read(client, page).partition("<main")[2].partition("</main>")[0]
    for link in re.findall(r'<a href="([^"]*)"', main):
        to = urlsplit(urljoin(page, html.unescape(link)))
        assert not to.path.endswith((".md", ".mjs"))
        if to.netloc:
            continue
        found = client.get(to.path)
        assert found.status_code in {200, 302}, link
        assert not to.fragment or f'id="{to.fragment}"' in found.text, link


def test_its_programs_name_the_portal_they_are_read_at(client: FlaskClient) -> None:
    text = read(client, "/docs/companies")
    assert "portal.example" not in text
    assert "http://localhost:8000/.well-known/oauth-authorization-server" in text


def test_the_way_to_it_is_short(client: FlaskClient) -> None:
    assert client.get("/docs").location == "/docs/companies"
    assert 'href="/docs/companies"' in read(client, "/")
    assert client.get("/docs/companies/nothing").status_code == 404
    assert client.get("/docs/companies/..%2f..%2fREADME").status_code == 404
    for page in ("/docs/companies", "/docs/companies/streams", "/docs/errors", "/docs/errors/too-often"):
        text = read(client, page)
        for other in ("/docs/companies", "/api/v1/openapi.json", "/docs/errors"):
            assert f'href="{other}"' in text, (page, other)
