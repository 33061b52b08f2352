"""What company staff fill in about their endpoint."""

from __future__ import annotations

from flask_wtf import FlaskForm
from wtforms import StringField
from wtforms.validators import InputRequired


class EndpointForm(FlaskForm):  # type: ignore[misc] # Flask-WTF ships no annotations
    url = StringField("Address of your endpoint", [InputRequired("Enter the address of your endpoint.")])
