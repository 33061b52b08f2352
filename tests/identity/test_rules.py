"""Passwords, codes and ways back."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal.config import PACKAGE
from portal.identity import browser, rules

COMMON = frozenset((Path(PACKAGE) / "identity/common_passwords.txt").read_text("utf-8").splitlines())


@pytest.mark.parametrize(
    "password",
    [
        "fourteen chars",
        "x" * 257,
        "correcthorsebatterystaple",
        "CorrectHorseBatteryStaple",
        "aaaaaaaaaaaaaaaa",
        "abcabcabcabcabcabc",
        "123456789012345678",
        "987654321098765432",
        "abcdefghijklmnopqr",
        "amelie.oneill@example.org",
        "amelie.oneill@example.org1!",
        "ultimate customer master",
    ],
)
def test_weak_passwords_are_refused(password: str) -> None:
    assert rules.fault_of(password, common=COMMON, words=["amelie.oneill@example.org", "Ultimate Customer Master"])


@pytest.mark.parametrize(
    "password",
    [
        "plinth otter kelp sonnet",
        "x7" * 2 + "lowercaseonlywords",
        "ключ от старого сарая",
        "鍵鍵錠 鳥 川 山 海 空 星 月 風",
        "y" + "z q" * 80,
    ],
)
def test_no_rule_asks_for_kinds_of_characters(password: str) -> None:
    assert rules.fault_of(password, common=COMMON, words=["amelie@example.org", "amelie", ""]) is None


def test_every_listed_password_is_one_that_length_would_let_pass() -> None:
    assert COMMON
    assert all(len(password) >= rules.SHORTEST_PASSWORD and password == password.casefold() for password in COMMON)


@pytest.mark.parametrize("typed", ["123456", "123 456", " 12-34-56 ", "123\u2013456", "1 2 3 4 5 6", "123\u00a0456"])
def test_codes_are_taken_as_people_write_them(typed: str) -> None:
    assert rules.code_of(typed) == "123456"


@pytest.mark.parametrize("typed", ["", "12345", "1234567", "12345a", "\u0661\u0662\u0663\u0664\u0665\u0666", "123_456"])
def test_what_is_no_code_is_none(typed: str) -> None:
    assert rules.code_of(typed) is None


@pytest.mark.parametrize(
    "address", ["/", "/details", "/sharing/x/change?view=detail&a=1", "/a?next=https://b", "/a%2F"]
)
def test_paths_of_this_site_are_ways_back(address: str) -> None:
    assert rules.way_back(address, default="/home") == address


@pytest.mark.parametrize(
    "address",
    [
        None,
        "",
        "https://evil.example",
        "//evil.example",
        "///evil.example",
        "////evil.example",
        "/\\evil.example",
        "\\\\evil.example",
        "/\t/evil.example",
        "/\n/evil.example",
        "\t//evil.example",
        " //evil.example",
        "/ /evil.example",
        "javascript:alert(1)",
        "data:text/html,x",
        "http:evil.example",
        "https:/evil.example",
        "evil.example",
        "@evil.example",
        "?next=//evil.example",
        "#//evil.example",
        "/\u2044/evil.example",
        "\uff0f\uff0fevil.example",
        "/\x00/evil.example",
        "/x\r\nLocation: https://evil.example",
        "//[::1",
        "//evil.example@localhost",
        "/" + "a" * 2001,
    ],
)
def test_no_address_leads_elsewhere(address: str | None) -> None:
    assert rules.way_back(address, default="/home") == "/home"


@given(st.text(max_size=40))
def test_a_way_back_always_starts_with_one_slash(address: str) -> None:
    way = rules.way_back(address, default="/home")
    assert way[0] == "/"
    assert way[1:2] not in {"/", "\\"}


@pytest.mark.parametrize(
    ("user_agent", "name"),
    [
        ("Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:140.0) Gecko/20100101 Firefox/140.0", "Firefox on Windows"),
        ("Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) Version/18.0 Safari/604.1", "Safari on iPhone"),
        ("Mozilla/5.0 (X11; Linux x86_64) Chrome/150.0 Safari/537.36 Edg/150.0", "Edge on Linux"),
        ("<script>", "A browser"),
        ("", "A browser"),
    ],
)
def test_a_browser_is_described_in_words_of_ours(user_agent: str, name: str) -> None:
    assert browser.describe(user_agent) == name
