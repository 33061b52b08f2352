"""What can be typed into each format, what is kept of it, and what the sentence says when it cannot be."""

from __future__ import annotations

import json
import re
import unicodedata
from datetime import date

import pytest
from babel import Locale, localedata
from hypothesis import given
from hypothesis import strategies as st

from portal.consumer import addresses, formats
from portal.consumer.catalogue import CATALOGUE
from portal.consumer.languages import LANGUAGES
from portal.consumer.text import InvalidValueError

TODAY = date(2026, 11, 22)
FORBIDDEN_WORDS = re.compile(r"please|invalid|oops|forbidden|error", re.IGNORECASE)


def parse(name: str, **form: str) -> formats.JsonValue:
    return formats.parse(CATALOGUE[name], form, today=TODAY)


def refusals(name: str, **form: str) -> dict[str, str]:
    with pytest.raises(InvalidValueError) as refused:
        parse(name, **form)
    assert not FORBIDDEN_WORDS.search(" ".join(refused.value.errors.values()))
    return refused.value.errors


@pytest.mark.parametrize(
    ("name", "typed", "kept"),
    [
        ("name.full", " Prince ", "Prince"),
        ("name.full", "Zoe\u0308", "Zo\u00eb"),
        ("name.full", "X \u00c6 A-12", "X \u00c6 A-12"),
        ("name.full", "O\u2019Neill-D\u0105browska", "O\u2019Neill-D\u0105browska"),
        ("name.full", "d'ARTAGNAN  de  la Fère", "d'ARTAGNAN  de  la Fère"),
        ("name.full", "山田 太郎", "山田 太郎"),
        ("name.full", "محمد بن عبد الله", "محمد بن عبد الله"),
        ("name.full", "न" * 300, "न" * 300),
        ("name.full", "می\u200cنو", "می\u200cنو"),
        ("name.known_as", "Bob", "Bob"),
        ("email.main", " Me@Example.ORG ", "Me@example.org"),
        ("email.main", "amélie@bücher.example", "amélie@bücher.example"),
        ("phone.mobile", "+353 (85) 012-3456", "+353850123456"),
        ("phone.mobile", "00353850123456", "+353850123456"),
        ("phone.mobile", "+81 90-1234-5678", "+819012345678"),
        ("phone.home", "\uff0b44 20 7946 0018", "+442079460018"),
        ("language.preferred", "ga", "ga"),
        ("contact.channel", "post", "post"),
    ],
)
def test_what_is_kept(name: str, typed: str, kept: str) -> None:
    assert parse(name, value=typed) == kept


@pytest.mark.parametrize(
    ("name", "typed", "sentence"),
    [
        ("name.full", "", "Enter your full name"),
        ("name.full", " \u200d\u00a0 ", "Enter your full name"),
        ("name.full", "x" * 301, "Full name must be 300 characters or fewer"),
        ("name.full", "a\x00b", "hidden control character"),
        ("name.full", "a\nb", "hidden control character"),
        ("name.full", "a\u2028b", "hidden control character"),
        ("name.full", "a\u202eb", "hidden control character"),
        ("name.full", "a" + chr(0xD800) + "b", "arrived damaged"),
        ("name.full", "a\ufffdb", "arrived damaged"),
        ("name.known_as", "", "Enter what we should call you"),
        ("email.main", "", "Enter your email address, like name@example.org"),
        ("email.main", "me@", "in the right form, like name@example.org"),
        ("email.main", "me you@example.org", "in the right form"),
        ("email.main", "x" * 250 + "@example.org", "254 characters or fewer"),
        ("phone.mobile", "085 012 3456", "Start the number with + and its country code"),
        ("phone.mobile", "call me", "Enter a phone number"),
        ("phone.mobile", "+353 1 23", "too few digits"),
        ("phone.mobile", "+353 85 012 3456 7890 12", "digits"),
        ("phone.mobile", "+999 85 012 3456", "no country with this code"),
        ("phone.mobile", "+353 85 012 3456 ext. 5", "without an extension"),
        ("language.preferred", "klingon", "Choose a language from the list"),
        ("contact.channel", "pigeon", "Choose how you like to be contacted"),
    ],
)
def test_what_is_refused_says_how_to_mend_it(name: str, typed: str, sentence: str) -> None:
    assert sentence in refusals(name, value=typed)["value"]


@pytest.mark.parametrize(
    ("day", "month", "year", "kept"),
    [
        ("27", "3", "1984", "1984-03-27"),
        ("27", "march", "1984", "1984-03-27"),
        (" 27 ", "Mar.", "1984", "1984-03-27"),
        ("29", "SEPT", "2000", "2000-09-29"),
        ("29", "02", "2000", "2000-02-29"),
        ("٢٧", "٣", "١٩٨٤", "1984-03-27"),
        ("22", "11", "2026", "2026-11-22"),
    ],
)
def test_dates_kept(day: str, month: str, year: str, kept: str) -> None:
    assert parse("birth.date", day=day, month=month, year=year) == kept


@pytest.mark.parametrize(
    ("day", "month", "year", "field", "sentence"),
    [
        ("", "", "", "day", "Enter your date of birth"),
        ("27", "", "1984", "month", "Date of birth must include a month"),
        ("", "", "1984", "day", "Date of birth must include a day and a month"),
        ("99", "", "84", "month", "Date of birth must include a month"),
        ("27", "3", "84", "year", "Year must include 4 numbers"),
        ("27", "3", "abcd", "year", "Year must include 4 numbers"),
        ("31", "2", "1984", "day", "Date of birth must be a real date"),
        ("27", "13", "1984", "month", "Date of birth must be a real date"),
        ("27", "ma", "1984", "month", "Date of birth must be a real date"),
        ("23", "11", "2026", "year", "Date of birth must be in the past"),
        ("1", "1", "1700", "year", "Date of birth must be in 1880 or later"),
        ("1\x00", "1", "1984", "day", "Date of birth contains a hidden control character"),
    ],
)
def test_dates_refused_one_message_at_a_time(day: str, month: str, year: str, field: str, sentence: str) -> None:
    errors = refusals("birth.date", day=day, month=month, year=year)
    assert list(errors) == [field]
    assert errors[field].startswith(sentence)


@pytest.mark.parametrize(
    ("form", "envelope"),
    [
        (
            {"country": "IE", "line1": "14 Bramble Row", "city": "Cork", "postal_code": "t12x70a"},
            ["14 Bramble Row", "Cork", "T12 X70A", "Ireland"],
        ),
        (
            {"country": "ie", "line1": "1", "line2": "Main St", "city": "Bray", "country_area": "co. wicklow"},
            ["1", "Main St", "Bray", "Co. Wicklow", "Ireland"],
        ),
        (
            {"country": "GB", "line1": "1 High St", "city": "London", "postal_code": "ec1y-8sy"},
            ["1 High St", "London", "EC1Y 8SY", "United Kingdom"],
        ),
        (
            {"country": "DE", "line1": "Domkloster 4", "city": "Köln", "postal_code": "5 0667"},
            ["Domkloster 4", "50667 Köln", "Germany"],
        ),
        (
            {"country": "JP", "line1": "千代田1-1", "country_area": "Tokyo", "postal_code": "1000001"},
            ["〒100-0001", "東京都", "千代田1-1", "Japan"],
        ),
        (
            {"country": "BR", "line1": "Rua A 1", "city": "São Paulo", "country_area": "SP", "postal_code": "01310100"},
            ["Rua A 1", "São Paulo-SP", "01310-100", "Brazil"],
        ),
        (
            {
                "country": "US",
                "line1": "1 Main",
                "city": "SF",
                "country_area": "California",
                "postal_code": "941101234",
            },
            ["1 Main", "SF, CA 94110-1234", "United States"],
        ),
        ({"country": "AQ", "street_address": "Hut 1", "city": "Ross"}, ["Hut 1", "Ross", "Antarctica"]),
        ({"country": "IE", "as_lines": "1", "lines": " a \r\n\r\nb"}, ["a", "b", "Ireland"]),
    ],
    ids=lambda case: case.get("country") if isinstance(case, dict) else "",
)
def test_addresses_are_written_as_their_country_does(form: dict[str, str], envelope: list[str]) -> None:
    value = parse("address.home", **form)
    assert isinstance(value, dict)
    assert addresses.lines(value) == envelope
    assert parse("address.home", **addresses.fill(value)) == value


@pytest.mark.parametrize(
    ("form", "field", "sentence"),
    [
        ({}, "country", "Choose a country from the list"),
        ({"country": "ZZ"}, "country", "Choose a country from the list"),
        ({"country": "../zz"}, "country", "Choose a country from the list"),
        ({"country": "IE"}, "line1", "Enter the first line of the address"),
        ({"country": "US"}, "country_area", "Choose the state"),
        ({"country": "US", "country_area": "Bavaria"}, "country_area", "Choose the state from the list"),
        ({"country": "GB", "postal_code": "nonsense"}, "postal_code", "Enter a full postcode, like EC1Y 8SY"),
        ({"country": "GB", "postal_code": "GIR 0AA and more"}, "postal_code", "Enter a full postcode"),
        ({"country": "IE", "postal_code": "12"}, "postal_code", "Enter a full Eircode, like A65 F4E2"),
        ({"country": "IE", "city": "x" * 201}, "city", "Town or city must be 200 characters or fewer"),
        ({"country": "IE", "city": "C\x07rk"}, "city", "hidden control character"),
        ({"country": "IE", "as_lines": "1", "lines": " \n "}, "lines", "Enter your address, one line below the other"),
        ({"country": "IE", "as_lines": "1", "lines": "x" * 300}, "lines", "Each line must be"),
        ({"country": "IE", "as_lines": "1", "lines": "x" * 1001}, "lines", "1000 characters or fewer"),
    ],
)
def test_addresses_refused_field_by_field(form: dict[str, str], field: str, sentence: str) -> None:
    assert sentence in refusals("address.home", **form)[field]


@pytest.mark.parametrize("country", sorted(addresses.countries()))
def test_every_country_has_a_street_and_names_for_its_fields(country: str) -> None:
    inputs = addresses.inputs(country)
    assert {"line1", "line2"} <= {line.name for line in inputs}
    assert all(line.label and line.autocomplete for line in inputs)


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("birth.date", "1984-03-27", "27 March 1984"),
        ("phone.mobile", "+353850123456", "+353 85 012 3456"),
        ("language.preferred", "ga", "Irish (Gaeilge)"),
        ("contact.channel", "post", "By letter"),
        ("name.full", None, ""),
        ("address.home", {"country": "IE", "formatted": "a\nb"}, "a, b"),
    ],
)
def test_what_people_read(name: str, value: formats.JsonValue | None, shown: str) -> None:
    assert formats.display(CATALOGUE[name], value) == shown


@given(st.text(max_size=320))
def test_a_name_is_kept_as_typed_or_refused(typed: str) -> None:
    try:
        kept = parse("name.full", value=typed)
    except InvalidValueError:
        return
    assert kept == unicodedata.normalize("NFC", typed.strip())
    json.dumps(kept, ensure_ascii=False).encode()
    assert parse("name.full", value=str(kept)) == kept


@given(st.dates(min_value=date(1880, 1, 1), max_value=TODAY))
def test_every_date_comes_back(day: date) -> None:
    entry = CATALOGUE["birth.date"]
    assert formats.parse(entry, formats.fill(entry, day.isoformat()), today=TODAY) == day.isoformat()


@given(
    st.sampled_from(sorted(addresses.countries())),
    st.dictionaries(
        st.sampled_from(
            ["line1", "line2", "city", "city_area", "country_area", "postal_code", "sorting_code", "lines", "as_lines"]
        ),
        st.text(max_size=20),
    ),
)
def test_any_address_is_kept_whole_or_refused_by_field(country: str, form: dict[str, str]) -> None:
    try:
        value = parse("address.home", country=country, **form)
    except InvalidValueError:
        return
    assert isinstance(value, dict)
    assert parse("address.home", **addresses.fill(value)) == value


def test_languages_are_those_of_the_cldr() -> None:
    english = Locale("en").languages
    codes = {code for code in localedata.locale_identifiers() if code.isalpha() and code in english}
    assert codes == LANGUAGES.keys()
    for code, name in LANGUAGES.items():
        own = Locale(code).get_display_name() or english[code]
        assert name == (english[code] if own.casefold() == english[code].casefold() else f"{english[code]} ({own})")
