"""Odd values for every detail, in every field of its form: kept or sent back with a sentence, never a fault."""

from __future__ import annotations

import re
from html import unescape
from typing import TYPE_CHECKING

import pytest

from portal.consumer.catalogue import CATALOGUE

if TYPE_CHECKING:
    from tests.bad_input.cast import Cast
    from tests.bad_input.unchanged import State

ODD = (
    "", " ", "\u00a0", "\u200b", "\u202eevil", "\ufffd", "\ufeff", "\U0010ffff", "\ud7ff", "e\u0301" * 200, "ß", "İ",
    "²", "٣٣", "\uff19", "-0", "1e9", "0x10", "9" * 30, "00000000000000000001", "+", "+" * 50, "00", "+999999999999999",
    "+353 85 012 3456;ext=9", "tel:+353850123456", "a@b", "@", "a@" + "b" * 300, '"a b"@example.org',
    "a@[127.0.0.1]", "a@exam\r\nple.org", "a\r\nBcc: b@example.org", "null", "true", "{}", "[]", "{{7*7}}", "${7*7}",
    "' OR 1=1--", "\\", "%s%n", "../..", "<b>", "IE", "ie", "ZZ", "X" * 301, "\n" * 50, "é" * 900,
)  # fmt: skip
COUNTRIES = ("IE", "JP", "AE", " ie", "ZZ", "", "ÅÅ", "I" * 300)


def _fields(cast: Cast, attribute: str, country: str) -> list[str]:
    step = [("country", country), ("step", "country")]
    answer = cast.ada.send(f"/details/{attribute}/edit", step)
    assert answer.status_code == 200
    main = answer.text.partition("<main")[2]
    return [unescape(name) for name in re.findall(r'<(?:input|select|textarea)[^>]* name="([^"]+)"', main)]


@pytest.mark.parametrize("attribute", sorted(CATALOGUE))
def test_odd_values(cast: Cast, state: State, attribute: str) -> None:
    names = ["day", "month", "year"] if attribute == "birth.date" else ["value"]
    before = state.hashes()
    for odd in ODD:
        answer = cast.ada.send(f"/details/{attribute}/edit", [(name, odd) for name in names])
        assert answer.status_code in {303, 422}, (odd, answer.status_code)
        after = state.hashes()
        if answer.status_code == 422:
            assert after == before
            assert "There is a problem" in answer.text or 'class="err"' in answer.text
        before = after
    for page in ("/details", "/home", "/details/history", f"/details/{attribute}/edit"):
        assert cast.ada.client.get(page).status_code == 200


@pytest.mark.parametrize("country", COUNTRIES)
def test_odd_addresses(cast: Cast, country: str) -> None:
    names = [*_fields(cast, "address.home", country), "lines", "street_address", "formatted"]
    names = [name for name in dict.fromkeys(names) if name not in {"csrf_token", "country", "step", "as_lines"}]
    for odd in ODD[:: 1 if country == " ie" else 6]:
        for more in ({}, {"as_lines": "1"}, {"step": "lines"}, {"step": "fields", "as_lines": odd}):
            fields = [("country", country), *((name, odd) for name in names), *more.items()]
            answer = cast.ada.send("/details/address.home/edit", fields)
            assert answer.status_code in {200, 303, 422}, (odd, more, answer.status_code)
    assert cast.ada.client.get("/details").status_code == 200
