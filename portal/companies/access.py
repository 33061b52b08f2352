"""Who may open the pages of a company: the people who act for it, and nobody sees another company's apps."""

from __future__ import annotations

from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar, cast

import flask
from flask import g, redirect, url_for
from flask_login import current_user

from portal.companies import queries
from portal.errors import NotFoundError
from portal.web import context
from portal.web.access import marked, person_id, signed_in_recently, to_sign_in

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from flask.typing import ResponseReturnValue

    from portal.companies.queries import ClientFacts, StaffFacts

View = TypeVar("View", bound="Callable[..., Any]")
CHOSEN = "company"


def staff_required(view: View) -> View:
    """Let people open it who act for a company; sets `g.company`, `g.staff` and, for the switcher, `g.places`.

    Strangers are sent to sign in, and people who act for no company to the page where they can register one.
    """

    @wraps(view)
    def guarded(*args: object, **kwargs: object) -> ResponseReturnValue:
        if not current_user.is_authenticated:
            return to_sign_in()
        if not take_place():
            return redirect(url_for("companies.overview"), 303)
        return cast("ResponseReturnValue", view(*args, **kwargs))

    return marked(cast("View", guarded), "staff")


def recent_staff_required(view: View) -> View:
    """Let staff open it who signed in within the last 15 minutes: keys and endpoints decide who reads details."""
    inner = staff_required(view)

    @wraps(view)
    def guarded(*args: object, **kwargs: object) -> ResponseReturnValue:
        if current_user.is_authenticated and not signed_in_recently():
            return to_sign_in(again=True)
        return cast("ResponseReturnValue", inner(*args, **kwargs))

    return marked(cast("View", guarded), "recent staff")


def take_place() -> bool:
    """Note for this request which company the person acts for; say whether there is one.

    The choice is kept in the browser, but what counts is the staff list, read anew each time.
    """
    places = queries.companies_of(context.session(), person_id())
    if not places:
        return False
    g.places, g.staff = places, _chosen(places)
    g.company = g.staff.company
    return True


def own_client(client_id: str) -> ClientFacts:
    """Return a client of `g.company`; another company's is not found, as if it did not exist."""
    found = queries.client(context.session(), client_id)
    if found is None or found.company_id != g.company.company_id:
        raise NotFoundError
    return found


def _chosen(places: Sequence[StaffFacts]) -> StaffFacts:
    wanted = flask.session.get(CHOSEN)
    return next((place for place in places if place.company.slug == wanted), places[0])
