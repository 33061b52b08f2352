"""What the pages on which staff declare a purpose have in common: with a new app, by itself, or as another version."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from flask import current_app, request

from portal.companies import services
from portal.web.context import now, session

if TYPE_CHECKING:
    from portal.companies.forms import PurposeForm


def declare(form: PurposeForm, client_id: str) -> str:
    """Declare what a form says, which the caller has validated; return the new purpose's code."""
    with session().begin_nested():
        made = services.declare_purpose(session(), client_id=client_id, catalogue=names(), now=now(), **form.said())
    return made.code


def catalogue() -> tuple[tuple[str, str], ...]:
    """Return the names and labels of all details: they belong to another slice of this layer."""
    return cast("tuple[tuple[str, str], ...]", current_app.extensions["portal_catalogue"])


def names() -> list[str]:
    return [name for name, _ in catalogue()]


def previews() -> bool:
    """Say whether staff only want to see what people would be asked."""
    return request.form.get("act") == "preview"
