"""The pages anyone can read: what this is, how it works, help."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask import Blueprint, redirect

from portal.web.access import public
from portal.web.pages import page

if TYPE_CHECKING:
    from flask.typing import ResponseReturnValue

pages = Blueprint("front", __name__)


@pages.get("/")
@public
def welcome() -> ResponseReturnValue:
    return page("web/welcome.html")


@pages.get("/how-it-works")
@public
def how_it_works() -> ResponseReturnValue:
    return page("web/how_it_works.html")


@pages.get("/help")
@public
def get_help() -> ResponseReturnValue:
    return page("web/help.html")


@pages.get("/privacy")
@public
def privacy() -> ResponseReturnValue:
    return page("web/privacy.html")


@pages.get("/accessibility")
@public
def accessibility() -> ResponseReturnValue:
    return page("web/accessibility.html")


@pages.get("/.well-known/change-password")
@public
def change_password() -> ResponseReturnValue:
    """Lead password managers to the page that changes one (W3C: A Well-Known URL for Changing Passwords)."""
    return redirect("/account/password", 302)
