"""The short form for what is shared already."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flask import request
from flask_wtf import FlaskForm

from portal.consent.forms import SHARE

if TYPE_CHECKING:
    from portal.consent.asking import Ask


class ConfirmForm(FlaskForm):  # type: ignore[misc]  # Flask-WTF ships no annotations
    """Nothing to choose: go on with what is shared already, or do not."""

    @property
    def declined(self) -> bool:
        """Whether the person pressed anything but "Continue"."""
        return request.form.get("answer") != SHARE

    @property
    def answer(self) -> str:
        """Nothing but yes and no is offered here: whatever is not yes is no."""
        return SHARE if request.form.get("answer") == SHARE else "decline"

    @staticmethod
    def words(ask: Ask) -> dict[str, Any]:
        """Return what this page says instead of the full screen's own words."""
        title = f"Continue with {ask.organisation.name}?"
        answers = ["Continue", "Do not continue"]
        return {"title": title, "replaces": "", "how": ask.how_now, "often": "", "answers": answers}
