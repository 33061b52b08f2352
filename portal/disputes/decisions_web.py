"""For operators: questions that were not settled, with the line of the log, its proof and the consent, to decide."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final, NamedTuple

from flask import Blueprint, Response, flash, redirect, render_template, url_for

from portal.companies import clients, looks
from portal.companies import queries as companies
from portal.consent import chain
from portal.consent import queries as consents
from portal.disputes import queries, rules, words
from portal.disputes import services as disputes
from portal.disputes.forms import DecisionForm
from portal.errors import NotFoundError, RefusedError
from portal.ledger import evidence, published
from portal.ledger import queries as ledger
from portal.ledger.checkpoints import Proof
from portal.vault import record_keys
from portal.web import cursor
from portal.web.access import operator_required, person_id
from portal.web.context import keyring, now, session, settings
from portal.web.pages import page

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID

    from flask.typing import ResponseReturnValue

    from portal.consent.models import Grant, GrantVersion
    from portal.disputes.models import Dispute
    from portal.ledger.queries import Entry

# Why an operator reads a question, as its person finds it in their activity.
_LOOKED_INTO: Final = "decide about your question"
pages = Blueprint("dispute_decisions", __name__, url_prefix="/ops/questions")
_PAGE: Final = 50


class Line(NamedTuple):
    """One question in the list."""

    held: Dispute
    company_name: str


class Agreed(NamedTuple):
    """A consent as it was `then`, at the row, and as it is `now`; `whole` says whether its record is unbroken."""

    then: GrantVersion
    now: Grant
    whole: bool
    shown: str


class Proved(NamedTuple):
    """Where in the signed log of `size` entries a row stands, counted from 1, and what became of it.

    `numbers` is empty before it is in; `sound` says whether it is still what was logged.
    """

    numbers: Sequence[int]
    size: int
    signed_at: datetime
    sound: bool


@pages.get("")
@operator_required
def questions() -> Response:
    before, behind = cursor.before(), cursor.behind()
    waiting = [] if before else queries.for_operator(session(), after=behind, limit=_PAGE + 1)
    decided = [] if behind else queries.decided(session(), before=before, limit=_PAGE + 1)
    shown, older = cursor.part(waiting, _PAGE, _place), cursor.part(decided, _PAGE, _place)
    return page(
        "disputes/ops_questions.html",
        lines=_lines(shown.rows),
        more=shown.last,
        decided=_lines(older.rows),
        older=older.last,
        continued=bool(before or behind),
    )


@pages.route("/<uuid:disclosure_id>", methods=["GET", "POST"])
@operator_required
def question(disclosure_id: UUID) -> ResponseReturnValue:
    held, form = _held(disclosure_id), DecisionForm()
    if held.company_id is None:
        form.explain_only()
    if not form.validate_on_submit():
        return _page(held, form, 422 if form.errors else 200)
    try:
        _decide(disclosure_id, form)
    except RefusedError as error:
        form.form_errors.append(error.public)
        return _page(_held(disclosure_id), form, error.status)
    flash("Decided. Both sides are written to.")
    return redirect(url_for("dispute_decisions.question", disclosure_id=disclosure_id), 303)


@pages.post("/<uuid:disclosure_id>/lift")
@operator_required
def lift(disclosure_id: UUID) -> ResponseReturnValue:
    """Let the app of a decided question go on."""
    disputes.lift(session(), disclosure_id=disclosure_id, operator_id=person_id())
    flash("Lifted: the app works again.")
    return redirect(url_for("dispute_decisions.question", disclosure_id=disclosure_id), 303)


@pages.get("/<uuid:disclosure_id>/proof.json")
@operator_required
def proof(disclosure_id: UUID) -> Response:
    """Answer with what the signed log has of the row, and what it takes to check that without asking here."""
    held, log = _held(disclosure_id), published.newest(session())
    looks.record_of_operator(held.person_id, purpose=_LOOKED_INTO)
    found = evidence.of_row(session(), log, person_id=held.person_id, disclosure_id=disclosure_id) if log else []
    verifier = str(log.verifier) if log else None
    body = json.dumps({"verifier": verifier, "entries": [each._asdict() for each in found]})
    headers = {"Content-Disposition": f'attachment; filename="{disclosure_id}.json"', "Cache-Control": "no-store"}
    return Response(body, content_type="application/json", headers=headers)


def waiting_slot() -> str:
    """Return the line on the operators' first page; empty when no question waits for them."""
    count = queries.escalated(session())
    return render_template("disputes/_escalated.html", count=count) if count else ""


def _place(held: Dispute) -> tuple[datetime, UUID]:
    return held.changed_at, held.disclosure_id


def _lines(found: Sequence[Dispute]) -> list[Line]:
    known = companies.clients(session(), {held.client_id for held in found}) if found else {}
    names = {client_id: client.company_name for client_id, client in known.items()}
    # What no company stands for was a look of one of us.
    return [Line(held, names.get(held.client_id, settings().service_name)) for held in found]


def _decide(disclosure_id: UUID, form: DecisionForm) -> None:
    disputes.decide(
        session(),
        keyring=keyring(),
        disclosure_id=disclosure_id,
        decision=form.decision.data,
        words=form.reason.data or "",
        days=form.days.data if form.decision.data == rules.MEND else None,
        operator_id=person_id(),
        now=now(),
    )


def _page(held: Dispute, form: DecisionForm, status: int) -> Response:
    entry = ledger.one(session(), person_id=held.person_id, disclosure_id=held.disclosure_id)
    if entry is None:
        raise NotFoundError
    said = queries.steps(session(), keyring=keyring(), held=held)
    looks.record_of_operator(held.person_id, purpose=_LOOKED_INTO, again=True)
    name = entry.company_name
    return page(
        "disputes/ops_question.html",
        status=status,
        held=held,
        entry=entry,
        sub=consents.sub_of(session(), person_id=held.person_id, company_id=entry.company_id),
        channel=words.CHANNELS.get(entry.channel, entry.channel),
        tag=words.tag(held, reader=rules.OPERATOR),
        time_left=words.time_left(held.due_at, now=now()) if held.state in rules.OPEN else "",
        steps=[(words.step(one, reader=rules.OPERATOR, company_name=name), one) for one in said],
        choices=rules.CHOICES,
        agreed=_agreed(entry),
        proved=_proved(held),
        suspended=clients.is_suspended(session(), client_id=held.client_id),
        unsent="" if held.state == rules.ESCALATED else form.reason.data,
        form=form,
    )


def _agreed(entry: Entry) -> Agreed | None:
    """Return the consent that a row stands under, with the text that its person answered last before it."""
    if entry.grant_id is None:
        return None
    held = consents.grant(session(), person_id=entry.person_id, grant_id=entry.grant_id)
    versions = consents.versions(session(), person_id=entry.person_id, grant_id=entry.grant_id)
    upto = [one for one in versions if one.version <= (entry.grant_version or 0)]
    if held is None or not upto:
        return None
    shown = next((one.shown for one in reversed(upto) if one.shown), None)
    whole = chain.intact(versions) and chain.signed(versions, record_keys.public_jwks(session()))
    return Agreed(upto[-1], held, whole, json.dumps(shown, ensure_ascii=False, indent=2) if shown else "")


def _proved(held: Dispute) -> Proved | None:
    """Return where the signed log has the row, each proof checked here; None where nothing is signed yet."""
    log = published.newest(session())
    if log is None:
        return None
    found = evidence.of_row(session(), log, person_id=held.person_id, disclosure_id=held.disclosure_id)
    numbers = [Proof.read(each.proof).index + 1 for each in found]
    return Proved(numbers, log.checkpoint.size, log.noted_at, all(evidence.stands(each, log) for each in found))


def _held(disclosure_id: UUID) -> Dispute:
    held = queries.by_row(session(), disclosure_id=disclosure_id)
    if held is None:
        raise NotFoundError
    return held
