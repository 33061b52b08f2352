"""The page on which staff tell what the records and receipts of consents say of their organisation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask import Blueprint, flash, g, redirect, request, url_for
from wtforms import BooleanField, SelectField, StringField, TextAreaField

from portal.companies import particulars
from portal.companies.access import recent_staff_required
from portal.companies.forms import RefusableForm
from portal.errors import InvalidError
from portal.web.context import session
from portal.web.pages import page

if TYPE_CHECKING:
    from flask.typing import ResponseReturnValue

    from portal.companies.particulars import Particulars

pages = Blueprint("particulars", __name__)


class ParticularsForm(RefusableForm):
    address = TextAreaField("Postal address")
    phone = StringField("Telephone number")
    kind = SelectField("Kind of organisation", validate_choice=False)
    storage_locations = StringField("Countries where you keep details")
    recipients = TextAreaField("Who else gets details from you")
    no_recipients = BooleanField("Nobody else gets details from us")
    authority = StringField("Data protection authority")

    def __init__(self, told: Particulars) -> None:
        super().__init__(
            data=told.kept
            | {"storage_locations": ", ".join(told.storage_locations), "recipients": "\n".join(told.recipients)}
        )
        self.kind.choices = {"": "Choose one"} | particulars.KINDS


@pages.route("/org/particulars", methods=["GET", "POST"])
@recent_staff_required
def tell() -> ResponseReturnValue:
    form = ParticularsForm(particulars.of_company(session(), g.company.company_id))
    if request.method == "POST" and form.validate():
        try:
            told = particulars.read(**form.values())
        except InvalidError as error:
            form.refuse(error)
        else:
            particulars.tell(session(), company_id=g.company.company_id, told=told)
            flash("Saved. Receipts made from now on say so.")
            return redirect(url_for("companies.overview"), 303)
    return page("companies/particulars.html", status=form.status, form=form)
