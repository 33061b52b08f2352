"""The page on which staff choose how an app is told of changes for one of its purposes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask import Blueprint, flash, redirect, url_for
from flask_wtf import FlaskForm
from wtforms import BooleanField

from portal.companies import telling
from portal.companies.access import own_client, recent_staff_required
from portal.web.context import now, session
from portal.web.pages import page

if TYPE_CHECKING:
    from flask.typing import ResponseReturnValue

pages = Blueprint("telling", __name__)


class TellingForm(FlaskForm):  # type: ignore[misc] # Flask-WTF ships no annotations
    thin = BooleanField("Tell us only that something changed; we fetch it")
    strict = BooleanField("Let nobody stop in the middle of a message")


@pages.route("/org/apps/<client_id>/purposes/<code>/telling", methods=["GET", "POST"])
@recent_staff_required
def choose(client_id: str, code: str) -> ResponseReturnValue:
    client = own_client(client_id)
    found = telling.find(session(), client_id=client_id, code=code)
    form = TellingForm(data={"thin": found.thin, "strict": found.strict})
    if form.validate_on_submit():
        telling.choose(
            session(), client_id=client_id, code=code, thin=form.thin.data, strict=form.strict.data, now=now()
        )
        flash("Saved. The next message is sent like this.")
        return redirect(url_for("companies.one_app", client_id=client_id), 303)
    return page("companies/telling.html", client=client, code=code, telling=found, form=form)
