"""For company staff: what people ask about uses they do not recognise, and where to explain it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from flask import Blueprint, flash, g, redirect, render_template, url_for

from portal.companies import looks
from portal.companies import queries as companies
from portal.companies.access import staff_required
from portal.consent import queries as consents
from portal.disputes import queries, rules, words
from portal.disputes import services as disputes
from portal.disputes.forms import AnswerForm
from portal.errors import NotFoundError, RefusedError
from portal.ledger import queries as ledger
from portal.web import cursor
from portal.web.access import person_id
from portal.web.context import keyring, now, session
from portal.web.pages import page

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from flask import Response
    from flask.typing import ResponseReturnValue

    from portal.disputes.models import Dispute
    from portal.disputes.words import Tag

# Why they read it, as its person finds it in their activity.
_LOOKED_UP: Final = "read your question and answer it"
pages = Blueprint("dispute_answers", __name__, url_prefix="/org/questions")

_PAGE = 50


@dataclass(frozen=True, kw_only=True)
class Line:
    """One question in a list: the person only by the identifier the company knows them by."""

    held: Dispute
    app: str
    sub: str
    tag: Tag
    time_left: str


@pages.get("")
@staff_required
def questions() -> Response:
    mine: dict[str, Any] = {"company_id": g.company.company_id, "limit": _PAGE + 1}
    before, behind = cursor.before(), cursor.behind()
    open_ones = [] if before else queries.open_of_company(session(), after=behind, **mine)
    earlier = [] if behind else queries.earlier_of_company(session(), before=before, **mine)
    shown = cursor.part(open_ones, _PAGE, lambda held: (queries.pressing(held), held.disclosure_id))
    older = cursor.part(earlier, _PAGE, lambda held: (held.opened_at, held.disclosure_id))
    return page(
        "disputes/org_questions.html",
        open=_lines(shown.rows),
        more=shown.last,
        earlier=_lines(older.rows),
        older=older.last,
        continued=bool(before or behind),
    )


@pages.route("/<uuid:disclosure_id>", methods=["GET", "POST"])
@staff_required
def question(disclosure_id: UUID) -> ResponseReturnValue:
    held, form = _own(disclosure_id), AnswerForm()
    if not form.validate_on_submit():
        return _page(held, form, 422 if form.errors else 200)
    try:
        disputes.answer(
            session(),
            keyring=keyring(),
            company_id=g.company.company_id,
            disclosure_id=disclosure_id,
            words=form.explanation.data or "",
            staff_id=person_id(),
            now=now(),
        )
    except RefusedError as error:
        # Somebody was quicker: what was typed is still there to be read, and the page says what holds.
        form.form_errors.append(error.public)
        return _page(_own(disclosure_id), form, error.status)
    flash("Sent. The person reads it beside the line they asked about.")
    return redirect(url_for("dispute_answers.question", disclosure_id=disclosure_id), 303)


def waiting_slot() -> str:
    """Return what stands on the company's overview while questions wait for it; empty when none does."""
    count, soonest = queries.owed(session(), company_id=g.company.company_id)
    if not count:
        return ""
    return render_template("disputes/_waiting.html", count=count, soonest=words.time_left(soonest, now=now()))


def _page(held: Dispute, form: AnswerForm, status: int) -> Response:
    entry = ledger.one(session(), person_id=held.person_id, disclosure_id=held.disclosure_id)
    if entry is None:
        raise NotFoundError
    said = queries.steps(session(), keyring=keyring(), held=held)
    # Whoever sends nonsense to be shown the page has looked, too.
    looks.record(held.person_id, client_id=held.client_id, purpose=_LOOKED_UP, grant_id=entry.grant_id, again=True)
    may_answer = rules.after(rules.ANSWERED, state=held.state, last_step=held.last_step) is not None
    return page(
        "disputes/org_question.html",
        status=status,
        held=held,
        entry=entry,
        sub=consents.sub_of(session(), person_id=held.person_id, company_id=g.company.company_id),
        channel=words.CHANNELS.get(entry.channel, entry.channel),
        tag=words.tag(held, reader=rules.COMPANY),
        time_left=words.time_left(held.due_at, now=now()) if held.state != rules.ANSWERED else "",
        steps=[(words.step(one, reader=rules.COMPANY, company_name=entry.company_name), one) for one in said],
        choices=rules.CHOICES,
        may_answer=may_answer,
        unsent="" if may_answer else form.explanation.data,
        form=form,
    )


def _lines(found: Sequence[Dispute]) -> list[Line]:
    if not found:
        return []
    clients = companies.clients(session(), {held.client_id for held in found})
    people = {held.person_id for held in found}
    subs = consents.subs_of(session(), person_ids=people, company_id=g.company.company_id)
    return [
        Line(
            held=held,
            app=clients[held.client_id].name if held.client_id in clients else held.client_id,
            sub=subs.get(held.person_id, ""),
            tag=words.tag(held, reader=rules.COMPANY),
            time_left=words.time_left(held.due_at, now=now()) if held.state in rules.OPEN else "",
        )
        for held in found
    ]


def _own(disclosure_id: UUID) -> Dispute:
    held = queries.by_row(session(), disclosure_id=disclosure_id, company_id=g.company.company_id)
    if held is None:
        raise NotFoundError
    return held
