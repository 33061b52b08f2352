"""The fixtures of consents: a question is about what was shared."""

from tests.consent.conftest import app, browser, lasting, offer, person

__all__ = ["app", "browser", "lasting", "offer", "person"]
