"""What a request works with: settings, keyring, one clock reading and one database session.

The session is committed when the view has returned and rolled back when it raised, so an edge owns its
transaction without saying so in every view.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from flask import current_app, g

from portal import db

if TYPE_CHECKING:
    from datetime import datetime

    from flask import Flask, Response
    from sqlalchemy.orm import Session

    from portal.config import Settings
    from portal.vault.keyring import Keyring


def init_app(app: Flask, settings: Settings, keyring: Keyring) -> None:
    app.extensions["portal_settings"] = settings
    app.extensions["portal_keyring"] = keyring
    app.after_request(_finish)
    app.teardown_appcontext(_abandon)


def settings() -> Settings:
    return cast("Settings", current_app.extensions["portal_settings"])


def keyring() -> Keyring:
    return cast("Keyring", current_app.extensions["portal_keyring"])


def now() -> datetime:
    """Return the moment this request began to ask: the same for everything it does."""
    if "now" not in g:
        g.now = db.now()
    return cast("datetime", g.now)


def session() -> Session:
    """Return the request's session, opened on first use."""
    if "session" not in g:
        g.session = db.sessions(settings().database_url)()
    return cast("Session", g.session)


def fail() -> None:
    """Mark the request as failed: nothing it wrote is kept."""
    g.failed = True


def _finish(response: Response) -> Response:
    opened = g.pop("session", None)
    if opened is not None:
        with opened:
            if g.get("failed"):
                opened.rollback()
            else:
                opened.commit()
    return response


def _abandon(_error: BaseException | None) -> None:
    # Only reached with a session when `_finish` did not run: the request died outside the handlers.
    opened = g.pop("session", None)
    if opened is not None:
        opened.close()
