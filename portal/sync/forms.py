"""What company staff fill in about their endpoint, and by which they look for what was sent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flask_wtf import FlaskForm
from wtforms import IntegerField, SelectField, StringField
from wtforms.validators import InputRequired, Length, NumberRange, Optional

from portal.sync import deliveries, replays, streams
from portal.web.fields import DayField

if TYPE_CHECKING:
    from collections.abc import Mapping

_RESULTS = {
    "": "Any result",
    "delivered": "Delivered",
    "failed": "Failed",
    "waiting": "Waiting",
    "held": "Held back",
    "not-sent": "Not sent",
}
_SCOPES = {
    replays.FAILED: "What failed since a date",
    replays.MISSING: "What is missing",
}


class EndpointForm(FlaskForm):  # type: ignore[misc] # Flask-WTF ships no annotations
    url = StringField("Address of your endpoint", [InputRequired("Enter the address of your endpoint.")])


def _within(most: int) -> list[Any]:
    words = f"Enter a number from 1 to {most}."
    return [InputRequired(words), NumberRange(min=1, max=most, message=words)]


class NumberField(IntegerField):
    """A whole number; anything else is said in words of ours."""

    def process_formdata(self, valuelist: list[Any]) -> None:
        try:
            super().process_formdata(valuelist)
        except ValueError:
            raise ValueError("Enter a whole number.") from None


class PaceForm(FlaskForm):  # type: ignore[misc] # Flask-WTF ships no annotations
    """How much an endpoint is sent at once."""

    batch = NumberField("Messages in one request", _within(streams.MOST_IN_ONE))
    in_flight = NumberField("Requests at the same time", _within(streams.MOST_IN_FLIGHT))
    per_second = NumberField("Requests in a second", _within(streams.MOST_PER_SECOND))


# By what a list of deliveries is narrowed, and how far on it is.
_LIST = ("app", "result", "kind", "person", "first", "last", "before")


def kept(arguments: Mapping[str, str]) -> dict[str, Any]:
    """Return the filter and the page of the list of deliveries that a request came from, for the way back to it."""
    return {name: value for name in _LIST if (value := arguments.get(name))}


class _Looking(FlaskForm):  # type: ignore[misc] # Flask-WTF ships no annotations
    """A form that changes nothing and is sent with the address."""

    class Meta:
        csrf = False


class DeliveriesForm(_Looking):
    """Which messages to show; every field left empty shows all."""

    app = SelectField("App", choices={}, default="")
    result = SelectField("Result", choices=_RESULTS, default="")
    kind = SelectField("Event", choices={"": "Any event"} | {kind: kind for kind in deliveries.KINDS}, default="")
    person = StringField("Person", [Length(max=100, message="Enter an identifier of at most 100 characters.")])
    first = DayField("From", [Optional()])
    last = DayField("Until", [Optional()])

    def __init__(self, *, apps: Mapping[str, str], **arguments: Any) -> None:  # noqa: ANN401 - the form's own
        super().__init__(**arguments)
        self.app.choices = {"": "All apps", **apps}

    def chosen(self) -> dict[str, Any]:
        """Return what is filled in, as the address carries it."""
        return {field.name: str(field.data) for field in self if field.data and not field.errors}


class ReplayForm(_Looking):
    """What to send again."""

    scope = SelectField(
        "Send again", [InputRequired("Choose what to send again.")], choices=_SCOPES, default=replays.FAILED
    )
    since = DayField("Failed since", [Optional()])
