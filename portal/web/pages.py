"""Drawing a page, or the one block of it that htmx asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flask import make_response, render_template, request
from jinja2_fragments.flask import render_block

from portal.web import dates, slots
from portal.web.context import settings

if TYPE_CHECKING:
    from flask import Flask, Response


def init_app(app: Flask) -> None:
    app.jinja_env.filters |= {
        "day": dates.day,
        "moment": dates.moment,
        "clock": dates.clock,
        "instant": dates.instant,
    }
    app.jinja_env.globals |= {"slot": slots.render}
    app.context_processor(_everywhere)


def wants_fragment() -> bool:
    """Say whether htmx asks for a part of a page."""
    return request.headers.get("HX-Request") == "true"


def page(template: str, block: str | None = None, status: int = 200, **values: Any) -> Response:  # noqa: ANN401
    """Return `template`, or only its `block` when htmx asks; never stored, for it shows personal details."""
    if block is not None and wants_fragment():
        html = render_block(template, block, **values)
    else:
        html = render_template(template, **values)
    response = make_response(html, status)
    response.vary.add("HX-Request")
    response.headers["Cache-Control"] = "no-store"
    return response


def _everywhere() -> dict[str, Any]:
    return {"service_name": settings().service_name, "settings": settings()}
