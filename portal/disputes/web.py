"""I don't recognise this: a person asks about a row of their activity, and says whether the answer settles it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from flask import Blueprint, flash, g, redirect, render_template, request, url_for

from portal.companies import queries as companies
from portal.consent import queries as consents
from portal.disputes import queries, rules, words
from portal.disputes import services as disputes
from portal.disputes.forms import ObjectionForm, QuestionForm
from portal.errors import NotFoundError, RefusedError
from portal.ledger import queries as ledger
from portal.ledger import rules as ledger_words
from portal.web.access import person_id, person_required
from portal.web.context import keyring, now, session, settings
from portal.web.pages import page

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from flask import Response
    from flask.typing import ResponseReturnValue

    from portal.disputes.models import Dispute
    from portal.disputes.words import Tag
    from portal.ledger.queries import Entry

pages = Blueprint("disputes", __name__, url_prefix="/activity")


@dataclass(frozen=True, kw_only=True)
class Line:
    """One question in the person's list."""

    held: Dispute
    company_name: str
    tag: Tag
    time_left: str


@pages.get("/questions")
@person_required
def mine() -> Response:
    return page("disputes/questions.html", lines=_lines(queries.of_person(session(), person_id=person_id())))


@pages.route("/<uuid:disclosure_id>/question", methods=["GET", "POST"])
@person_required
def question(disclosure_id: UUID) -> ResponseReturnValue:
    """Ask about a row, or read what became of the question; whoever asks again finds the first."""
    entry, form = _entry(disclosure_id), QuestionForm()
    held = queries.one(session(), person_id=person_id(), disclosure_id=disclosure_id)
    if held is not None and request.method == "GET":
        return _thread(entry, held, ObjectionForm(formdata=None))
    if not form.validate_on_submit():
        return _ask_page(entry, form, 422 if form.errors else 200)
    try:
        asked = _ask(entry, form)
    except RefusedError as error:
        form.form_errors.append(error.public)
        return _ask_page(entry, form, error.status)
    if not _is_said(asked, form.words.data or ""):
        return _late(entry, asked, form.words.data or "", disputes.AskedBeforeError())
    if held is None:
        flash(f"You asked {entry.company_name}. We tell you by email when there is an answer.")
    return _back(disclosure_id)


@pages.post("/<uuid:disclosure_id>/question/settled")
@person_required
def settle(disclosure_id: UUID) -> ResponseReturnValue:
    disputes.settle(session(), person_id=person_id(), disclosure_id=disclosure_id, now=now())
    flash("Settled. Question and answer stay here.")
    return _back(disclosure_id)


@pages.post("/<uuid:disclosure_id>/question/look-into")
@person_required
def escalate(disclosure_id: UUID) -> ResponseReturnValue:
    """Take it to the operator."""
    entry, form = _entry(disclosure_id), ObjectionForm()
    if not form.validate():
        held = queries.one(session(), person_id=person_id(), disclosure_id=disclosure_id)
        if held is None:
            raise NotFoundError
        return _thread(entry, held, form)
    mine = {"person_id": person_id(), "disclosure_id": disclosure_id}
    written = form.words.data or ""
    try:
        held = disputes.escalate(session(), words=written, keyring=keyring(), now=now(), **mine)
    except RefusedError as error:
        return _late(entry, queries.one(session(), **mine), written, error)
    if not _is_said(held, written):
        return _late(entry, held, written, disputes.EscalatedBeforeError())
    flash("We look into it, and tell you by email what we decide.")
    return _back(disclosure_id)


def mark_slot(entries: Sequence[Entry], among: Sequence[Entry]) -> str:
    """Return the way to ask about a row, and where questions about it and its repeats stand.

    `entries` are the row and its repeats, `among` all of the page: one query for all of them.
    """
    if "disputes" not in g:
        rows = [each.disclosure_id for each in among]
        g.disputes = queries.of_rows(session(), person_id=person_id(), disclosure_ids=rows)
    asked = [
        (each, words.tag(g.disputes[each.disclosure_id], reader=rules.PERSON))
        for each in entries
        if each.disclosure_id in g.disputes
    ]
    return render_template("disputes/_mark.html", entry=entries[0], asked=asked).rstrip()


def thread_slot(entry: Entry) -> str:
    """Return what was said about a row, beside it; or the way to ask."""
    held = queries.one(session(), person_id=person_id(), disclosure_id=entry.disclosure_id)
    if held is None:
        return mark_slot([entry], [entry])
    return render_template("disputes/_thread.html", entry=entry, **_said(entry, held))


def list_slot() -> str:
    """Return the way to everything the person asked about; empty while that is nothing."""
    count = queries.count_of_person(session(), person_id=person_id())
    return render_template("disputes/_link.html", count=count) if count else ""


def answered_slot() -> str:
    """Return the note on Home about questions that were answered; empty when none waits for the person."""
    found = _lines(queries.answered(session(), person_id=person_id()))
    return render_template("disputes/_answered.html", lines=found) if found else ""


def _is_said(held: Dispute, written: str) -> bool:
    """Say whether a question has these words among what was said; whoever presses a button twice has said them."""
    return not written or any(one.words == written for one in queries.steps(session(), keyring=keyring(), held=held))


def _ask(entry: Entry, form: QuestionForm) -> Dispute:
    return disputes.ask(
        session(),
        keyring=keyring(),
        entry=entry,
        choice=form.choice.data or "",
        words=form.words.data or "",
        pause=form.pause.data,
        now=now(),
    )


def _ask_page(entry: Entry, form: QuestionForm, status: int) -> Response:
    return page(
        "disputes/ask.html",
        status=status,
        **_row(entry),
        form=form,
        sharing="active" in _states_with(entry),
        days=rules.TO_ANSWER.days,
    )


def _late(entry: Entry, held: Dispute | None, written: str, error: RefusedError) -> Response:
    """Show a question as it stands to somebody whose words came too late, with the words."""
    if held is None:
        raise error
    form = ObjectionForm(formdata=None)
    form.form_errors.append(error.public)
    return _thread(entry, held, form, status=error.status, unsent=written)


def _thread(
    entry: Entry, held: Dispute, form: ObjectionForm, *, status: int | None = None, unsent: str = ""
) -> Response:
    return page(
        "disputes/question.html",
        status=status or (422 if form.errors else 200),
        unsent=unsent,
        **_row(entry),
        **_said(entry, held),
        form=form,
        held=held,
        time_left=words.time_left(held.due_at, now=now()),
        over=held.state in rules.OVER,
        paused="paused" in _states_with(entry),
    )


def _said(entry: Entry, held: Dispute) -> dict[str, Any]:
    said = queries.steps(session(), keyring=keyring(), held=held)
    return {
        "tag": words.tag(held, reader=rules.PERSON),
        "steps": [(words.step(one, reader=rules.PERSON, company_name=entry.company_name), one) for one in said],
        "choices": rules.CHOICES,
    }


def _states_with(entry: Entry) -> set[str]:
    """Return the states of all that the person shares with the organisation of a row."""
    mine = consents.grants_of(session(), person_id=person_id())
    return {held.state for held in mine if held.company_id == entry.company_id}


def _row(entry: Entry) -> dict[str, Any]:
    return {
        "entry": entry,
        "how": ledger_words.how(entry.channel, entry.reason),
        "outcome": ledger_words.outcome(entry.channel, entry.outcome, entry.reason),
    }


def _lines(found: Sequence[Dispute]) -> list[Line]:
    clients = companies.clients(session(), {held.client_id for held in found}) if found else {}
    return [
        Line(
            held=held,
            company_name=clients[held.client_id].company_name if held.client_id in clients else settings().service_name,
            tag=words.tag(held, reader=rules.PERSON),
            time_left=words.time_left(held.due_at, now=now()),
        )
        for held in found
    ]


def _entry(disclosure_id: UUID) -> Entry:
    found = ledger.one(session(), person_id=person_id(), disclosure_id=disclosure_id)
    if found is None:
        raise NotFoundError
    return found


def _back(disclosure_id: UUID) -> ResponseReturnValue:
    return redirect(url_for("disputes.question", disclosure_id=disclosure_id), 303)
