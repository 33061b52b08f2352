"""Every format of the catalogue: from a form to the value that is kept, and back to what people read.

A value is a string for every format but the address, which is a dictionary (see `addresses`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import phonenumbers
from email_validator import EmailNotValidError, validate_email

from portal.consumer import addresses, birthdays
from portal.consumer.catalogue import Attribute, Format
from portal.consumer.languages import LANGUAGES
from portal.consumer.text import LONGEST_NAME, LONGEST_TEXT, InvalidValueError, clean

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import date

JsonValue = str | dict[str, str]

LONGEST_EMAIL = 254  # RFC 5321 section 4.5.3.1.3, without the angle brackets
_LONGEST_PHONE = 40
CHANNELS = {"email": "By email", "text": "By text message", "phone": "By phone call", "post": "By letter"}


def parse(attribute: Attribute, form: Mapping[str, str], *, today: date | None = None) -> JsonValue:
    """Return the value that `form` holds for `attribute`; raise `InvalidValueError` naming what to mend where.

    Fields: `value`; for a date `day`, `month`, `year`; for an address those of `addresses.parse`.
    """
    return _PARSERS[attribute.format](attribute, form, today)


def fill(attribute: Attribute, value: JsonValue | None) -> dict[str, str]:
    """Return the form fields that `parse` would turn into `value` again; all empty for none."""
    if attribute.format is Format.DATE:
        return birthdays.fill(value if isinstance(value, str) else None)
    if attribute.format is Format.ADDRESS:
        return addresses.fill(value if isinstance(value, dict) else None)
    return {"value": display(attribute, value) if attribute.format is Format.PHONE and value else str(value or "")}


def display(attribute: Attribute, value: JsonValue | None) -> str:
    """Return `value` as one line of text; empty for none."""
    return ", ".join(lines(attribute, value))


def lines(attribute: Attribute, value: JsonValue | None) -> list[str]:
    """Return `value` as people write it, line by line: more than one for an address."""
    if value is None or value == "":
        return []
    if isinstance(value, dict):
        return addresses.lines(value)
    return [_SHOWN.get(attribute.format, str)(value)]


def _text(attribute: Attribute, form: Mapping[str, str], _today: date | None) -> str:
    longest = LONGEST_NAME if attribute.format is Format.NAME else LONGEST_TEXT
    return _filled(attribute, form, longest)


def _filled(attribute: Attribute, form: Mapping[str, str], longest: int) -> str:
    value = clean(form.get("value", ""), what=attribute.label, longest=longest)
    if not value:
        raise InvalidValueError({"value": _ENTER.get(attribute.name, f"Enter your {attribute.noun}")})
    return value


def _date(attribute: Attribute, form: Mapping[str, str], today: date | None) -> str:
    return birthdays.parse(attribute.label, form, today=today)


def _address(_attribute: Attribute, form: Mapping[str, str], _today: date | None) -> dict[str, str]:
    return addresses.parse(form)


def _email(attribute: Attribute, form: Mapping[str, str], _today: date | None) -> str:
    typed = _filled(attribute, form, LONGEST_EMAIL)
    try:
        address = validate_email(typed, check_deliverability=False).normalized
    except EmailNotValidError:
        # The library's sentence quotes what was typed, which then would stand in tracebacks: it is dropped.
        address = ""
    if not address:
        raise InvalidValueError({"value": "Enter an email address in the right form, like name@example.org"})
    return address


def _phone(attribute: Attribute, form: Mapping[str, str], _today: date | None) -> str:
    typed = _filled(attribute, form, _LONGEST_PHONE)
    number = _number("+" + typed[2:] if typed.startswith("00") else typed)
    if number.extension:
        raise InvalidValueError({"value": "Enter the number without an extension"})
    reason = phonenumbers.is_possible_number_with_reason(number)
    if reason in _PHONE_REASONS:
        raise InvalidValueError({"value": _PHONE_REASONS[reason]})
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


def _number(typed: str) -> phonenumbers.PhoneNumber:
    try:
        return phonenumbers.parse(typed, None)
    except phonenumbers.NumberParseException as error:
        # The library's error quotes nothing, but only its type is needed.
        without_code = error.error_type == phonenumbers.NumberParseException.INVALID_COUNTRY_CODE
    sentence = "Enter a phone number, like +353 85 012 3456"
    if without_code and typed.startswith("+"):
        sentence = _NO_SUCH_CODE
    elif without_code:
        sentence = "Start the number with + and its country code, like +353 85 012 3456"
    raise InvalidValueError({"value": sentence})


def _shown_phone(value: str) -> str:
    return phonenumbers.format_number(phonenumbers.parse(value, None), phonenumbers.PhoneNumberFormat.INTERNATIONAL)


def _language_code(_attribute: Attribute, form: Mapping[str, str], _today: date | None) -> str:
    return _chosen(form, LANGUAGES, "Choose a language from the list")


def _channel(_attribute: Attribute, form: Mapping[str, str], _today: date | None) -> str:
    return _chosen(form, CHANNELS, "Choose how you like to be contacted")


def _chosen(form: Mapping[str, str], choices: Mapping[str, str], sentence: str) -> str:
    value = form.get("value", "").strip().lower()
    if value not in choices:
        raise InvalidValueError({"value": sentence})
    return value


_ENTER = {
    "name.known_as": "Enter what we should call you",
    "email.main": "Enter your email address, like name@example.org",
    "phone.mobile": "Enter your mobile phone number, like +353 85 012 3456",
    "phone.home": "Enter your home phone number, like +353 1 800 1234",
}
_NO_SUCH_CODE = "There is no country with this code. Check what follows the +"
_PHONE_REASONS = {
    phonenumbers.ValidationResult.TOO_SHORT: "The number has too few digits. Check it and add the missing ones",
    phonenumbers.ValidationResult.TOO_LONG: "The number has too many digits. Check it and take the extra ones out",
    phonenumbers.ValidationResult.INVALID_LENGTH: "The number has the wrong count of digits. Check it",
    phonenumbers.ValidationResult.INVALID_COUNTRY_CODE: _NO_SUCH_CODE,
    phonenumbers.ValidationResult.IS_POSSIBLE_LOCAL_ONLY: "Add the area code after the country code",
}
_PARSERS: dict[Format, Callable[[Attribute, Mapping[str, str], date | None], JsonValue]] = {
    Format.NAME: _text,
    Format.TEXT: _text,
    Format.DATE: _date,
    Format.EMAIL: _email,
    Format.PHONE: _phone,
    Format.ADDRESS: _address,
    Format.LANGUAGE: _language_code,
    Format.CHANNEL: _channel,
}
_SHOWN: dict[Format, Callable[[str], str]] = {
    Format.DATE: birthdays.shown,
    Format.PHONE: _shown_phone,
    Format.LANGUAGE: lambda code: LANGUAGES.get(code, code),
    Format.CHANNEL: lambda channel: CHANNELS.get(channel, channel),
}
