"""Where operators begin: what waits for one of them, said by the slices that know."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask import Blueprint

from portal.web.access import operator_required
from portal.web.pages import page

if TYPE_CHECKING:
    from flask import Response

pages = Blueprint("operators", __name__, url_prefix="/ops")


@pages.get("")
@operator_required
def home() -> Response:
    return page("identity/operator_home.html")
