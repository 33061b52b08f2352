"""Where a page of an account leads next, as its address says."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlencode

from flask import request

from portal.identity import rules

if TYPE_CHECKING:
    from wtforms import StringField

HOME = "/home"


def place(default: str = HOME) -> str:
    """Return the way back that the address carries, if it is safe to follow."""
    return rules.way_back(request.args.get("next"), default=default)


def query(*more: str) -> str:
    """Return what the next step needs of the address: where to go afterwards, and `more`."""
    kept = {name: request.args[name] for name in ("again", *more) if request.args.get(name) == "1"}
    if back := place(""):
        kept["next"] = back
    return f"?{urlencode(kept)}" if kept else ""


def typed(field: StringField) -> str:
    return field.data or ""
