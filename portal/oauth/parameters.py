"""Parameters of a request to a machine's endpoint: a form body only, each parameter once."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl

from portal.oauth import resource_indicators
from portal.oauth.errors import InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Sequence

LARGEST: Final = 64 * 1024
_MOST = 50
# White space may stand between the parts of a JSON parameter; every other control character has no business here.
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_LONGEST_TEXT = 512
_VISIBLE = re.compile(r"[\x20-\x7e]*")
_FORM = "application/x-www-form-urlencoded"


class FormExpectedError(InvalidRequestError):
    public = "Parameters are sent as application/x-www-form-urlencoded in the body."


class QueryRefusedError(InvalidRequestError):
    """RFC 6749 section 3.2: what is in an address ends in logs."""

    public = "This endpoint takes no parameters in its address."


class BodyTooLargeError(InvalidRequestError):
    status = 413
    public = "The request is too large."


class BodyUnreadableError(InvalidRequestError):
    public = "The body is not a readable form in UTF-8."


class ParameterRepeatedError(InvalidRequestError):
    """RFC 6749 section 3.1 and 3.2."""

    public = "A parameter appears more than once."


class ControlCharacterError(InvalidRequestError):
    public = "A parameter holds a control character."


def read(*, mimetype: str, query: bytes, body: bytes) -> dict[str, str]:
    """Return the parameters; one without a value counts as left out (RFC 6749 section 3.2)."""
    if query:
        raise QueryRefusedError
    if mimetype != _FORM:
        raise FormExpectedError
    if len(body) > LARGEST:
        raise BodyTooLargeError
    return once(_pairs(body))


def scopes(text: str) -> list[str]:
    """Return the tokens of a `scope`, which one space each and nothing else keeps apart (RFC 6749 section 3.3)."""
    # Python's own split would also take tabs and the spaces of other alphabets for a separator.
    return text.split(" ") if text else []


def once(pairs: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Return `pairs` as a mapping; raise for repeated names and for characters no parameter may hold."""
    found = dict(pairs)
    resources = [value for name, value in pairs if name == resource_indicators.NAME]
    if len(found) != len(pairs) - max(0, len(resources) - 1):
        raise ParameterRepeatedError
    if any(_CONTROL.search(text) for pair in pairs for text in pair):
        raise ControlCharacterError
    # Of all parameters only this one may be repeated (RFC 8707 section 2).
    found[resource_indicators.NAME] = resource_indicators.joined(resources)
    return {name: value for name, value in found.items() if value}


def is_short_text(text: str) -> bool:
    """Say whether `text` is what a client may have carried there and back: at most 512 visible ASCII characters."""
    return len(text) <= _LONGEST_TEXT and _VISIBLE.fullmatch(text) is not None


def _pairs(body: bytes) -> list[tuple[str, str]]:
    try:
        text = body.decode("ascii")
        return parse_qsl(text, keep_blank_values=True, strict_parsing=bool(text), errors="strict", max_num_fields=_MOST)
    except ValueError as error:
        raise BodyUnreadableError from error
