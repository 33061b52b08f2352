"""What people type, made storable: one Unicode form, nothing that hides, nothing that breaks what it is shown in."""

from __future__ import annotations

import unicodedata

from portal.errors import InvalidError

LONGEST_NAME = 300
LONGEST_TEXT = 300
LONGEST_LINE = 200
LONGEST_LINES = 1000
# Characters that turn the direction of the text around them: a value could pretend to be another one.
_TURNING = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
# Controls, halves of characters, and separators that would start a line nobody asked for.
_REFUSED = frozenset({"Cc", "Cs", "Zl", "Zp"})
_REPLACEMENT = "\ufffd"


class InvalidValueError(InvalidError):
    """What was typed cannot be kept; `errors` maps each form field to a sentence that says how to mend it."""

    code = "invalid-value"
    public = "Something in this detail needs mending."

    def __init__(self, errors: dict[str, str]) -> None:
        super().__init__()
        self.errors = errors


def clean(text: str, *, what: str, field: str = "value", longest: int = LONGEST_LINE, lines: bool = False) -> str:
    """Return `text` in Unicode form NFC without space around it; case and inner spacing stay as typed.

    Raises `InvalidValueError` for control characters, broken Unicode and more than `longest` characters;
    `what` names the detail in the sentence ("Full name"), `lines` allows line breaks.
    """
    if lines:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    tidy = unicodedata.normalize("NFC", text.strip())
    if problem := _problem(tidy, what, longest, lines=lines):
        raise InvalidValueError({field: problem})
    return tidy if any(map(_shows, tidy)) else ""


def _problem(text: str, what: str, longest: int, *, lines: bool) -> str:
    if len(text) > longest:
        return f"{what} must be {longest} characters or fewer"
    if _REPLACEMENT in text or any("\ud800" <= character <= "\udfff" for character in text):
        return f"{what} contains a character that arrived damaged. Type it again instead of pasting it"
    allowed = "\n" if lines else ""
    if any(_is_refused(character) for character in text if character not in allowed):
        return f"{what} contains a hidden control character. Type it again instead of pasting it"
    return ""


def _is_refused(character: str) -> bool:
    return character in _TURNING or unicodedata.category(character) in _REFUSED


def _shows(character: str) -> bool:
    # A value made of joiners and spaces alone looks empty, so it counts as empty.
    return unicodedata.category(character)[0] not in "CZM"
