"""Response headers that keep a page to itself (OWASP ASVS 5.0 section V3.4)."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from flask import g

from portal.web import context, intake

if TYPE_CHECKING:
    from flask import Flask, Response

_YEAR = 31_536_000
_POLICY = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "font-src": "'self'",
    "img-src": "'self'",
    "connect-src": "'self'",
    "base-uri": "'none'",
    "frame-ancestors": "'none'",
}


def init_app(app: Flask) -> None:
    app.after_request(_protect)
    intake.init_app(app)


def _protect(response: Response) -> Response:
    # The consent answer redirects to its client, which form-action would stop; that one origin is added
    # by the page that knows it (`g.form_action_origins`).
    origins = tuple(g.get("form_action_origins", ()))
    referrer = str(g.get("referrer_policy", "same-origin"))
    response.headers.extend(headers(origins, secure=context.settings().secure, referrer=referrer))
    return response


@lru_cache(maxsize=256)
def headers(
    form_action_origins: tuple[str, ...], *, secure: bool, referrer: str = "same-origin"
) -> tuple[tuple[str, str], ...]:
    """Return what every response carries; `form_action_origins` may be sent a page's form besides ourselves."""
    policy = {**_POLICY, "form-action": " ".join(["'self'", *form_action_origins])}
    fixed = {
        "Content-Security-Policy": "; ".join(f"{name} {value}" for name, value in policy.items()),
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": referrer,
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    }
    if secure:
        fixed["Strict-Transport-Security"] = f"max-age={_YEAR}; includeSubDomains"
    return tuple(fixed.items())
