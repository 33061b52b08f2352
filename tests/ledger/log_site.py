"""A portal over a place's database, served on this machine, and somebody signed in there with a real browser."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from werkzeug.serving import make_server

from portal import db
from portal.app import create_app
from portal.ledger import publisher
from portal.vault.notes import Signer
from tests.consent.browser import Browser
from tests.journeys import browser as browsers
from tests.ledger.log_place import ORIGIN

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser as Chromium
    from playwright.sync_api import Page

    from portal.config import Settings
    from portal.vault.keyring import Keyring
    from tests.journeys.browser import Scheme
    from tests.ledger.log_place import Place

SIGNER = Signer(ORIGIN, bytes(range(32)))


class Site:
    """The portal of a place, and the person whose log is looked at."""

    def __init__(self, place: Place, settings: Settings, keys: Keyring, folder: Path) -> None:
        self.place, self._head = place, folder / "head"
        self.settings = replace(settings, database_url=place.url)
        self.app = create_app(self.settings)
        self.browser = Browser(self.app, self.settings, keys, {"name.full": "Zenobia Quill"})
        self.person_id = self.browser.person_id
        self.url = ""

    def publish(self, signer: Signer = SIGNER) -> None:
        self.place.grow()
        with db.transaction(self.place.url) as session:
            publisher.publish(session, signer=signer, head=self._head, now=db.now())

    def forget_head(self) -> None:
        """Let it be signed as if nothing had been signed before."""
        self._head.unlink()

    @contextmanager
    def served(self) -> Iterator[None]:
        server = make_server("localhost", 0, self.app, threaded=True)
        self.url = f"http://localhost:{server.port}"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()
            server.server_close()

    @contextmanager
    def window(
        self, chromium: Chromium, *, scripts: bool = True, width: int = 1280, scheme: Scheme = "light"
    ) -> Iterator[Page]:
        """Somebody's browser, signed in; it asserts at its end that nothing went wrong."""
        with browsers.window(chromium, scripts=scripts, width=width, scheme=scheme) as page:
            cookie = self.browser.client.get_cookie("session", domain="localhost")
            assert cookie is not None
            page.context.add_cookies([{"name": "session", "value": cookie.value, "url": self.url}])
            yield page
