"""The short form for what is shared already."""

from __future__ import annotations

from flask import request
from flask_wtf import FlaskForm

from portal.consent.forms import SHARE


class ConfirmForm(FlaskForm):  # type: ignore[misc]  # Flask-WTF ships no annotations
    """Nothing to choose: go on with what is shared already, or do not."""

    @property
    def declined(self) -> bool:
        """Whether the person pressed anything but "Continue"."""
        return request.form.get("answer") != SHARE
