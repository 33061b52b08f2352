"""Somebody's signed-in browser: it keeps cookies and sends the form token back, as a form does."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from portal import db
from portal.identity import services as identity

if TYPE_CHECKING:
    from uuid import UUID

    from flask import Flask
    from werkzeug.test import TestResponse

    from portal.config import Settings
    from portal.vault.keyring import Keyring


class Browser:
    def __init__(self, app: Flask, settings: Settings, keys: Keyring) -> None:
        now = db.now()
        with db.transaction(settings.database_url) as session:
            made = identity.register(session, keyring=keys, email=f"{db.new_id().hex}@example.org", now=now)
            identity.confirm(session, keyring=keys, person_id=made.person_id)
            token = identity.open_session(session, person_id=made.person_id, method="code", browser="a test", now=now)
        self.person_id: UUID = made.person_id
        self.client = app.test_client()
        self.client.environ_base["HTTP_HOST"] = settings.url.partition("//")[2]
        self.client.set_cookie("session", token, domain="localhost")

    def get(self, path: str, **keywords: Any) -> TestResponse:  # noqa: ANN401 - Werkzeug's own arguments
        return self.client.get(path, **keywords)

    def send(self, path: str, **fields: Any) -> TestResponse:  # noqa: ANN401 - form fields
        token = re.search(r'name="csrf_token" value="([^"]+)"', self.get("/org/join").text)
        assert token
        return self.client.post(path, data={**fields, "csrf_token": token.group(1)})
