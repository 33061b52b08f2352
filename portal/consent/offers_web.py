"""The page on which staff answer offers of less; it names nobody, only the identifier they know somebody by."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from flask import Blueprint, flash, redirect, render_template, url_for

from portal.companies import queries as companies
from portal.companies.access import own_client, staff_required
from portal.consent import counters, freezing, queries
from portal.web.context import now, session
from portal.web.pages import page

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime
    from uuid import UUID

    from flask import Response
    from werkzeug.wrappers import Response as AnyResponse

    from portal.companies.queries import PurposeFacts
    from portal.consent.models import Grant

pages = Blueprint("offers", __name__)


class Offered(NamedTuple):
    """One offer that waits: who, by the company's own identifier, what for, and what it leaves out."""

    grant: Grant
    sub: str
    purpose: PurposeFacts
    left_out: Sequence[str]
    answer_by: datetime


@pages.get("/org/apps/<client_id>/offers")
@staff_required
def offers(client_id: str) -> Response:
    client = own_client(client_id)
    return page("companies/offers.html", client=client, offers=_waiting(client_id, client.company_id))


@pages.post("/org/apps/<client_id>/offers/<uuid:grant_id>/accept")
@staff_required
def accept(client_id: str, grant_id: UUID) -> AnyResponse:
    return _answer(counters.accept, client_id, grant_id, "Accepted. Sharing has begun as it was offered.")


@pages.post("/org/apps/<client_id>/offers/<uuid:grant_id>/decline")
@staff_required
def decline(client_id: str, grant_id: UUID) -> AnyResponse:
    return _answer(
        counters.decline, client_id, grant_id, "Declined. Nothing was shared, and they read that you declined."
    )


def offers_slot(client_id: str) -> str:
    """Return how many offers wait for an app's staff, and the way to them; empty when none does."""
    count = len(counters.waiting(session(), client_ids=[client_id], now=now()))
    return render_template("companies/_offers.html", client_id=client_id, count=count) if count else ""


def _waiting(client_id: str, company_id: UUID) -> list[Offered]:
    found = counters.waiting(session(), client_ids=[client_id], now=now())
    subs = queries.subs_of(session(), person_ids={one.person_id for one in found}, company_id=company_id)
    purposes = companies.purposes(session(), {one.purpose_id for one in found})
    return [
        Offered(
            grant=one,
            sub=subs[one.person_id],
            purpose=purposes[one.purpose_id],
            left_out=counters.left_out(one, purposes[one.purpose_id]),
            answer_by=counters.answer_by(one),
        )
        for one in found
    ]


def _answer(act: Callable[..., Grant], client_id: str, grant_id: UUID, words: str) -> AnyResponse:
    own_client(client_id)
    try:
        act(session(), client_id=client_id, grant_id=grant_id, now=now())
    except counters.OfferOverError as error:
        flash(error.public, "hold")
    except freezing.FrozenError:
        flash("They share nothing at the moment, so this cannot begin. The offer still waits: accept it later.", "hold")
    else:
        flash(words)
    return redirect(url_for("offers.offers", client_id=client_id), 303)
