"""How a request fails: a page for people, a problem document (RFC 9457) for machines, a log line for us.

The log line names the reason and the request, never a value that was sent.
"""

from __future__ import annotations

import logging
import re
import secrets
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from flask import Flask, Response, g, json, make_response, render_template, request
from werkzeug.exceptions import BadHost, HTTPException

from portal.errors import PortalError
from portal.web import context
from portal.web.access import is_api

if TYPE_CHECKING:
    from collections.abc import Sequence

log = logging.getLogger(__name__)
_PAGES = (400, 403, 404, 410, 413, 429, 503)
_PROBLEM = "application/problem+json"
_OWN_CODE = re.compile(r"[^a-z]+")


def init_app(app: Flask) -> None:
    app.before_request(_name_request)
    app.after_request(_tell_request)
    app.register_error_handler(PortalError, _refused)
    app.register_error_handler(HTTPException, _http)
    app.register_error_handler(Exception, _broken)


def problem(
    status: int, code: str, title: str, *, detail: str = "", errors: Sequence[dict[str, str]] = (), **members: str
) -> Response:
    """Return a problem document; `errors` is a list of `{"pointer", "detail"}` (RFC 6901)."""
    body: dict[str, Any] = {
        "type": f"{context.settings().url}/docs/errors/{code}",
        "title": title,
        "status": status,
        "instance": quote(request.path),
        "request_id": g.request_id,
        **members,
    }
    if detail:
        body["detail"] = detail
    if errors:
        body["errors"] = list(errors)
    response = make_response(json.dumps(body), status)
    response.content_type = _PROBLEM
    response.headers["Cache-Control"] = "no-store"
    return response


def _name_request() -> None:
    g.request_id = "req_" + secrets.token_hex(8)


def _tell_request(response: Response) -> Response:
    response.headers["Request-Id"] = g.get("request_id", "")
    return response


def _refused(error: PortalError) -> Response:
    context.fail()
    log.info("%s refused: %s %s (%s)", g.request_id, error.code, request.endpoint, error.private)
    if is_api():
        pointed = [{"pointer": error.pointer, "detail": error.public}] if error.pointer else []
        told = problem(error.status, error.code, error.public, errors=pointed)
        told.headers.update(error.headers)
        return told
    return _error_page(error.status, error.public)


def _http(error: HTTPException) -> Response:
    context.fail()
    if error.response is not None:
        return make_response(error.response)
    if isinstance(error, BadHost):
        # Without a host that can be read there are no addresses, and so no page of ours.
        return Response("The Host header cannot be read.\n", HTTPStatus.BAD_REQUEST, content_type="text/plain")
    status = error.code or HTTPStatus.INTERNAL_SERVER_ERROR
    title = HTTPStatus(status).phrase
    code = _OWN_CODE.sub("-", title.lower())
    response = problem(status, code, title) if is_api() else _error_page(status, "")
    if "Allow" in (headers := dict(error.get_headers())):
        response.headers["Allow"] = headers["Allow"]
    return response


def _broken(error: Exception) -> Response:
    context.fail()
    # A traceback holds no local values; the message of a driver's error might, so only its class is logged.
    frames = _frames(error)
    log.error("%s broke: %s at %s", g.get("request_id", "-"), type(error).__name__, frames)
    if is_api():
        return problem(500, "internal-error", "Something went wrong on our side.")
    return _error_page(500, "")


def _frames(error: Exception) -> str:
    found, trace = [], error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        found.append(f"{code.co_filename.rpartition('/portal/')[2]}:{trace.tb_lineno}:{code.co_name}")
        trace = trace.tb_next
    return " < ".join(reversed(found[-8:]))


def _error_page(status: int, sentence: str) -> Response:
    name = status if status in _PAGES else 500 if status >= HTTPStatus.INTERNAL_SERVER_ERROR else 400
    html = render_template(f"errors/{name}.html", sentence=sentence, request_id=g.get("request_id", ""))
    response = make_response(html, status)
    response.headers["Cache-Control"] = "no-store"
    return response
