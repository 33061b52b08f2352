"""The form of one detail: which inputs it has, what the browser may fill in for people, and what they typed.

Fields are made from the catalogue; what they hold is judged by `formats.parse`, which also reads the form of
the API and of sign-up, so nothing is checked twice and in two ways.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from wtforms import Form, HiddenField, RadioField, SelectField, StringField, TextAreaField

from portal.consumer import addresses, birthdays, formats
from portal.consumer.catalogue import Attribute, Format
from portal.consumer.languages import LANGUAGES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from wtforms import Field

    from portal.consumer.text import InvalidValueError

_CHOOSE = {"": "Choose from the list"}
# HTML lets only "shipping" and "billing" stand before the parts of an address.
_SECTIONS = {"shipping": "shipping "}
_TYPES = {Format.EMAIL: "email", Format.PHONE: "tel"}
_BIRTHDAY_CSS = {"day": "w2", "month": "w2", "year": "w4"}


class EditForm(Form):
    """The base, without a field; `form_for` adds those of one attribute.  The template carries the CSRF input."""

    def refuse(self, error: InvalidValueError) -> None:
        """Put each sentence of `error` beside its field."""
        for name, sentence in error.errors.items():
            self[name].errors = [sentence]


def slug(attribute: Attribute) -> str:
    """Return the attribute's name as it may stand in an `id`."""
    return attribute.name.replace(".", "-").replace("_", "-")


def form_for(attribute: Attribute, given: Mapping[str, str]) -> EditForm:
    """Return the form of `attribute` showing `given` (fields as in `formats.fill`)."""
    if "country" in given:
        # As `addresses.parse` reads it, or the form would lack the fields that its errors stand beside.
        given = {**given, "country": given["country"].strip().upper()}
    fields = dict(_fields(attribute, given))
    made = type("EditForm", (EditForm,), fields)
    form: EditForm = made(formdata=None, data={name: given.get(name, "") for name in fields})
    return form


def _fields(attribute: Attribute, given: Mapping[str, str]) -> Iterator[tuple[str, Field]]:
    if attribute.format is Format.ADDRESS:
        yield from _address(attribute, given)
    elif attribute.format is Format.DATE:
        for part in birthdays.PARTS:
            yield part, _birthday(attribute, part)
    else:
        yield "value", _single(attribute)


def _single(attribute: Attribute) -> Field:
    described: dict[str, Any] = {"id": _id(attribute, "value"), "description": attribute.hint}
    if attribute.format is Format.CHANNEL:
        return RadioField(attribute.label, choices=formats.CHANNELS, **described)
    keywords = {"autocomplete": attribute.autocomplete}
    if attribute.format is Format.LANGUAGE:
        return SelectField(attribute.label, choices=_CHOOSE | dict(LANGUAGES), render_kw=keywords, **described)
    keywords |= {"type": _TYPES.get(attribute.format, "text"), "spellcheck": "false", "dir": "auto"}
    return StringField(attribute.label, render_kw=keywords, **described)


def _birthday(attribute: Attribute, part: str) -> Field:
    keywords = {"autocomplete": f"{attribute.autocomplete}-{part}", "class": _BIRTHDAY_CSS[part]}
    if part != "month":
        # The month may be a word, so its keyboard has letters too.
        keywords["inputmode"] = "numeric"
    return StringField(part.capitalize(), id=_id(attribute, part), render_kw=keywords)


def _address(attribute: Attribute, given: Mapping[str, str]) -> Iterator[tuple[str, Field]]:
    section = _SECTIONS.get(attribute.autocomplete, "")
    choices = _CHOOSE | addresses.countries()
    yield (
        "country",
        SelectField(
            "Country",
            id=_id(attribute, "country"),
            choices=choices,
            render_kw={"autocomplete": f"{section}country"},
        ),
    )
    if given.get("as_lines"):
        yield "as_lines", HiddenField(id=_id(attribute, "as-lines"))
        keywords = {"autocomplete": f"{section}street-address", "rows": "5", "dir": "auto", "spellcheck": "false"}
        yield addresses.LINES, TextAreaField("Address", id=_id(attribute, "lines"), render_kw=keywords)
    elif given.get("country", "") in addresses.countries():
        for line in addresses.inputs(given["country"]):
            yield line.name, _address_line(attribute, line, section)


def _address_line(attribute: Attribute, line: addresses.Line, section: str) -> Field:
    described: dict[str, Any] = {"id": _id(attribute, line.name.replace("_", "-")), "description": line.hint}
    keywords = {"autocomplete": f"{section}{line.autocomplete}"}
    if line.choices:
        return SelectField(line.label, choices=_CHOOSE | dict(line.choices), render_kw=keywords, **described)
    keywords |= {"spellcheck": "false", "dir": "auto"}
    return StringField(line.label, render_kw=keywords, **described)


def _id(attribute: Attribute, name: str) -> str:
    return f"{slug(attribute)}-{name}"
