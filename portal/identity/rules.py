"""What is a good password, a well-formed code and a safe way back: plain Python."""

from __future__ import annotations

import unicodedata
from itertools import pairwise
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Container, Iterable

SHORTEST_PASSWORD = 15  # NIST SP 800-63B-4 section 3.1.1.2: a password that stands alone
LONGEST_PASSWORD = 256
CODE_DIGITS = 6
LONG_CODE_DIGITS = 12
_LONGEST_UNIT = 4  # "abcabcabcabcabc" is a unit of three
_SPARE = 5  # what may stand around a known word before the password counts as the person's own
_LONGEST_ADDRESS = 2000
_PRINTABLE = {chr(number) for number in range(0x21, 0x7F)}


def normal(password: str) -> str:
    """Return the password in the form that is hashed: NFC, nothing trimmed (NIST SP 800-63B-4, 3.1.1.2)."""
    return unicodedata.normalize("NFC", password)


def fault_of(password: str, *, common: Container[str], words: Iterable[str] = ()) -> str | None:
    """Return what is wrong with a new password as a sentence, or None.

    `common` are the passwords that many people have, case folded (NIST SP 800-63B-4 asks for such a list);
    `words` are what an attacker would try for this person first: their e-mail address, the service's name.
    """
    password = normal(password)
    if len(password) < SHORTEST_PASSWORD:
        return f"Your password must have at least {SHORTEST_PASSWORD} characters"
    if len(password) > LONGEST_PASSWORD:
        return f"Your password must have {LONGEST_PASSWORD} characters or fewer"
    folded = password.casefold()
    if folded in common or _repeats(folded) or _counts(folded):
        return "That password is easy to guess. Choose another, for example four words that do not belong together"
    if any(_is_about(folded, word.casefold()) for word in words):
        return "Your password must not be your email address or our name"
    return None


def _repeats(password: str) -> bool:
    # A text that is one short unit again and again.
    return any(password == (password[:size] * len(password))[: len(password)] for size in range(1, _LONGEST_UNIT + 1))


def _counts(password: str) -> bool:
    # 123456789012345, abcdefghijklmno: each character follows the last, the digits round the corner.
    steps = {(ord(b) - ord(a)) % 10 if a.isdigit() and b.isdigit() else ord(b) - ord(a) for a, b in pairwise(password)}
    return steps <= {1} or steps <= {9} or steps <= {-1}


def _is_about(password: str, word: str) -> bool:
    squeezed = "".join(word.split())
    return bool(squeezed) and squeezed in "".join(password.split()) and len(password) - len(squeezed) < _SPARE


def code_of(typed: str) -> str | None:
    """Return the digits of what was typed, spaces and hyphens put aside; None when it is no code."""
    digits = "".join(sign for sign in typed if not sign.isspace() and unicodedata.category(sign) != "Pd")
    well_formed = len(digits) in {CODE_DIGITS, LONG_CODE_DIGITS} and digits.isascii() and digits.isdigit()
    return digits if well_formed else None


def way_back(address: str | None, *, default: str) -> str:
    """Return `address` when it is a path of this site, else `default`: nobody is led elsewhere.

    Browsers drop control characters and read a backslash as a slash, so only printable ASCII without
    backslashes passes, it starts with exactly one slash, and no part of it names a host.
    """
    if not address or len(address) > _LONGEST_ADDRESS or not set(address) <= _PRINTABLE - {"\\"}:
        return default
    if not address.startswith("/") or address.startswith("//"):
        return default
    try:
        parts = urlsplit(address)
    except ValueError:
        return default
    return default if parts.scheme or parts.netloc or parts.path.startswith("//") else address
