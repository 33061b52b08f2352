"""Places in a page that a slice further up fills, so that no slice imports upward.

`app.py` says who fills which; a template writes `{{ slot("recipients", attributes=[...]) }}`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flask import current_app
from markupsafe import Markup

if TYPE_CHECKING:
    from collections.abc import Callable

    from flask import Flask


def fill(app: Flask, name: str, renderer: Callable[..., str]) -> None:
    """Let `renderer` (keyword arguments to HTML) fill the slot `name`."""
    app.extensions.setdefault("portal_slots", {})[name] = renderer


def render(name: str, /, **values: Any) -> Markup:  # noqa: ANN401 - each slot has its own arguments
    """Return what fills the slot, escaped already by its own template; empty when nobody fills it."""
    renderer = current_app.extensions.get("portal_slots", {}).get(name)
    return Markup(renderer(**values)) if renderer else Markup()  # noqa: S704 - HTML of our own templates
