"""What a page takes: one form, in UTF-8, each field once; everything else is refused before a view reads it.

Werkzeug would keep broken percent-encoding as the text "%FF" and take the first of two fields; Flask-WTF would
read JSON in place of a form.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl

from flask import request
from werkzeug.exceptions import RequestEntityTooLarge

from portal.errors import NotFoundError, PortalError
from portal.web.access import is_api

if TYPE_CHECKING:
    from flask import Flask

FORM_BYTES: Final = 64 * 1024
# Somebody may tick every one of some hundred consents.
_FIELDS: Final = 1000
_FORM = "application/x-www-form-urlencoded"
# Checkboxes of one name; of anything else there is one answer.
_MANY = frozenset({"attributes", "detail", "resume", "keep"})
_BODY = frozenset({"POST", "PUT", "PATCH"})


class FormExpectedError(PortalError):
    code = "unsupported-media-type"
    status = 415
    public = "This page takes what its own form sends."


class FormUnreadableError(PortalError):
    code = "bad-request"
    public = "A part of what was sent arrived damaged. Go back and type it again."


class FieldRepeatedError(PortalError):
    code = "bad-request"
    public = "An answer was sent twice. Load the page again and answer once."


def init_app(app: Flask) -> None:
    app.before_request(_check)


def _check() -> None:
    # PostgreSQL has no way to ask for a name with this character in it, so there is nothing of that name.
    if any("\x00" in str(value) for value in (request.view_args or {}).values()):
        raise NotFoundError(private="NUL in the address")
    _check_query()
    if request.method in _BODY and not is_api():
        _check_form()


def _check_query() -> None:
    # Werkzeug reads it without asking, and would fail in the midst of a view.
    try:
        request.query_string.decode()
    except UnicodeDecodeError:
        raise FormUnreadableError(private="raw bytes in the query") from None


def _check_form() -> None:
    body = request.get_data()
    if not body:
        return
    if request.mimetype != _FORM:
        raise FormExpectedError
    if len(body) > FORM_BYTES:
        raise RequestEntityTooLarge
    names = [name for name, _ in _pairs(body) if name not in _MANY]
    if len(set(names)) != len(names):
        raise FieldRepeatedError


def _pairs(body: bytes) -> list[tuple[str, str]]:
    try:
        return parse_qsl(body.decode(), keep_blank_values=True, errors="strict", max_num_fields=_FIELDS)
    except ValueError as error:
        raise FormUnreadableError(private=type(error).__name__) from None
