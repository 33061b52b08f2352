"""What people asked to be deleted: how far each company is, for them; and for its staff, what there is to delete."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, cast

from flask import Blueprint, flash, g, redirect, render_template, request, url_for

from portal.companies import looks
from portal.companies import queries as companies
from portal.companies.access import own_client, staff_required
from portal.consent import deletion_forms, deletion_rounds_web, deletions, of_company, queries
from portal.consent import deletion_rules as rules
from portal.errors import InvalidError, NotFoundError, PortalError
from portal.web.access import person_id
from portal.web.context import now, session
from portal.web.pages import page

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime
    from uuid import UUID

    from flask import Response
    from flask.typing import ResponseReturnValue

    from portal.companies.queries import ClientFacts
    from portal.consent.deletion_forms import DeletionForm
    from portal.consent.models import Deletion, Grant

pages = Blueprint("deletions", __name__)
_PAGE: Final = 50
_LOOK: Final = "see what you asked to be deleted"
LISTS: Final = {deletions.OPEN: "To delete", deletions.OVERDUE: "Overdue", deletions.DONE: "Done"}


@dataclass(frozen=True, kw_only=True)
class Standing:
    """How far a company is with one person's wish; `next_due` is of what is neither deleted nor held."""

    rows: Sequence[Deletion]
    moment: datetime

    @property
    def asked_at(self) -> datetime:
        return min(row.asked_at for row in self.rows)

    def of(self, *states: str) -> list[Deletion]:
        return [row for row in self.rows if row.state in states]

    @property
    def overdue(self) -> list[Deletion]:
        return [row for row in self.rows if rules.overdue(state=row.state, due_at=row.due_at, now=self.moment)]

    @property
    def waiting(self) -> list[Deletion]:
        """What is to be deleted by a day that lies ahead."""
        return [row for row in self.of(rules.State.ASKED) if row.due_at > self.moment]

    @property
    def held(self) -> list[Deletion]:
        """What they say they must keep, until a day that lies ahead."""
        return [row for row in self.of(rules.State.HELD) if row.due_at > self.moment]

    @property
    def deleted(self) -> list[Deletion]:
        return self.of(rules.State.DELETED)

    @property
    def lifted(self) -> list[Deletion]:
        return self.of(rules.State.LIFTED)


def deletion_slot(held: Grant, name: str, *, whole: bool = False) -> str:
    """Return how far a company is with deleting what was shared by a grant; empty where nobody asked.

    `whole` lists every detail, else it is a note on a card.
    """
    rows = _mine().get(held.grant_id)
    if not rows:
        return ""
    template = "consent/_deletion.html" if whole else "consent/_deletion_note.html"
    return render_template(template, name=name, standing=Standing(rows=rows, moment=now()), reasons=rules.REASONS)


def late_deletions_slot() -> str:
    """Return the note on Home that names each organisation that is late with deleting; empty when none is."""
    standings = {grant_id: Standing(rows=rows, moment=now()) for grant_id, rows in _mine().items()}
    late = {grant_id: standing for grant_id, standing in standings.items() if standing.overdue}
    if not late:
        return ""
    clients = companies.clients(session(), {standing.rows[0].client_id for standing in late.values()})
    named = [(grant_id, clients.get(standing.rows[0].client_id), standing) for grant_id, standing in late.items()]
    return render_template("consent/_late_deletions.html", late=named)


def deletions_due_slot() -> str:
    """Return for staff of `g.company` how many details are to be deleted, or overdue; empty when none is."""
    counted = deletions.counts(session(), client_ids=list(_clients()), now=now())
    if not counted[deletions.OPEN]:
        return ""
    late = counted[deletions.OVERDUE]
    return render_template("companies/_deletions_due.html", open=counted[deletions.OPEN], late=late)


@pages.get("/org/deletions")
@staff_required
def overview() -> Response:
    shown = deletion_rounds_web.narrowed()
    after = deletions.Cursor.read(request.args.get("after", ""))
    found, behind = deletions.of_clients(
        session(), client_ids=shown.client_ids, wanted=shown.state, limit=_PAGE, now=now(), after=after,
        person_id=shown.person_id,
    )  # fmt: skip
    people = {row.person_id for row in found}
    if shown.person_id is not None and found:
        looks.record(shown.person_id, client_id=found[0].client_id, purpose=_LOOK)
    return page(
        "companies/deletions.html",
        rows=found,
        lists=LISTS,
        shown=shown,
        counts=deletions.counts(session(), client_ids=list(shown.clients), now=now()),
        subs=queries.subs_of(session(), person_ids=people, company_id=g.company.company_id) if people else {},
        older=url_for("deletions.overview", after=str(behind), **shown.asked) if behind else None,
        first_page=after is None,
        now=now(),
        reasons=deletion_forms.REASONS,
    )


@pages.route("/org/deletions/<uuid:grant_id>", methods=["GET", "POST"])
@staff_required
def one(grant_id: UUID) -> ResponseReturnValue:
    held, client = _own(grant_id)
    rows = deletions.of_grant(session(), person_id=held.person_id, grant_id=grant_id)
    if not rows:
        raise NotFoundError
    looks.record(held.person_id, client_id=client.client_id, purpose=_LOOK, grant_id=grant_id)
    form = deletion_forms.of([row for row in rows if row.state in rules.OPEN])
    if request.form.get("act") == "all" and form.validate_on_submit() and form.is_of_one_mind():
        return deletion_rounds_web.ask(_all_of(form.rows))
    if not form.errors and form.validate_on_submit() and _keep(held, form):
        flash("Saved. The person reads it in their portal.")
        return redirect(url_for("deletions.one", grant_id=grant_id), 303)
    return page(
        "companies/deletion.html",
        status=422 if form.errors else 200,
        form=form,
        client=client,
        held=held,
        sub=queries.sub_of(session(), person_id=held.person_id, company_id=held.company_id),
        standing=Standing(rows=rows, moment=now()),
        reasons=deletion_forms.REASONS,
        now=now(),
    )


def _keep(held: Grant, form: DeletionForm) -> bool:
    """Keep what the form says; say whether that could be done, else the form says why not."""
    said = form.said()
    if not said:
        form.form_errors.append("Say of at least one detail that it is deleted, or that you must keep it.")
        return False
    try:
        with session().begin_nested():
            deletions.answer(
                session(), person_id=held.person_id, grant_id=held.grant_id, said=[each for _, each in said],
                channel="page", now=now(),
            )  # fmt: skip
    except (InvalidError, deletions.SettledError, deletions.TooManyHoldsError) as error:
        form.refuse(cast("PortalError", error), [place for place, _ in said])
        return False
    return True


def _all_of(rows: Sequence[Deletion]) -> Sequence[Deletion]:
    """Return what is to be deleted now; where nothing is, what is held back."""
    return [row for row in rows if row.state == rules.State.ASKED or row.due_at <= now()] or rows


def _own(grant_id: UUID) -> tuple[Grant, ClientFacts]:
    """Return a grant that was given to an app of `g.company`; another company's is not found."""
    held = of_company.one(session(), company_id=g.company.company_id, grant_id=grant_id)
    return held, own_client(held.client_id)


def _clients() -> dict[str, ClientFacts]:
    return {one.client_id: one for one in companies.clients_of(session(), company_id=g.company.company_id)}


def _mine() -> Mapping[UUID, Sequence[Deletion]]:
    # Looked up once a request, however many cards there are.
    if "deletions" not in g:
        g.deletions = deletions.of_person(session(), person_id=person_id())
    return cast("Mapping[UUID, Sequence[Deletion]]", g.deletions)
