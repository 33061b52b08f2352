"""The page on which staff say of many details at once that they are deleted: first how many, then yes."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

from flask import Blueprint, flash, g, redirect, request, url_for

from portal.companies import queries as companies
from portal.companies.access import staff_required
from portal.consent import deletion_rounds, deletions, queries
from portal.consent import deletion_rules as rules
from portal.consent.deletion_rounds import Key
from portal.errors import InvalidError
from portal.web.context import now, session
from portal.web.pages import page

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from uuid import UUID

    from flask import Response
    from flask.typing import ResponseReturnValue

    from portal.companies.queries import ClientFacts
    from portal.consent.models import Deletion

pages = Blueprint("deletion_rounds", __name__)
ALL = "all"


@dataclass(frozen=True, kw_only=True)
class Narrowed:
    """What a list is narrowed to: a state, an app or all of them, a person by the company's identifier or everybody.

    `unknown` says that the company knows nobody by it.
    """

    state: str
    clients: dict[str, ClientFacts]
    app: str
    sub: str
    person_id: UUID | None

    @property
    def unknown(self) -> bool:
        return bool(self.sub) and self.person_id is None

    @property
    def client_ids(self) -> list[str]:
        return [] if self.unknown else [one for one in self.clients if self.app in {"", one}]

    @property
    def asked(self) -> dict[str, Any]:
        """What an address says of it."""
        return {"state": self.state} | {name: said for name, said in (("app", self.app), ("person", self.sub)) if said}


def narrowed() -> Narrowed:
    """Return what the page asks for; raise InvalidError for a list or an app that is not there."""
    clients = {one.client_id: one for one in companies.clients_of(session(), company_id=g.company.company_id)}
    state, app = request.values.get("state", deletions.OPEN), request.values.get("app", "")
    sub = request.values.get("person", "").strip()
    if state not in deletions.LISTS:
        raise InvalidError("Choose one of the lists on this page.", pointer="/state")
    if app and app not in clients:
        raise InvalidError("Choose one of your apps.", pointer="/app")
    person_id = queries.person_of(session(), company_id=g.company.company_id, sub=sub) if sub else None
    return Narrowed(state=state, clients=clients, app=app, sub=sub, person_id=person_id)


@pages.post("/org/deletions/confirm")
@staff_required
def confirm() -> ResponseReturnValue:
    """Count what was chosen, and say of all of it that it is deleted once somebody has read how much that is."""
    shown = narrowed()
    keys = [Key.read(given) for given in request.form.getlist("detail")]
    everything = request.form.get("which") == ALL
    if not keys and not everything:
        return _back(shown, "Tick the details that you deleted first.")
    if "sure" in request.form:
        return _say(shown, keys)
    if everything:
        rows, total = deletion_rounds.whole(
            session(), client_ids=shown.client_ids, wanted=shown.state, now=now(), person_id=shown.person_id
        )
        return _count(shown, rows, total=total)
    rows = deletion_rounds.open_ones(session(), client_ids=list(shown.clients), keys=keys)
    return _count(shown, rows, total=len(rows), settled=len(set(keys)) - len(rows))


def ask(rows: Sequence[Deletion]) -> ResponseReturnValue:
    """Return the page that counts these details and asks whether they are deleted."""
    return _count(narrowed(), rows, total=len(rows))


def _say(shown: Narrowed, keys: Collection[Key]) -> ResponseReturnValue:
    client_ids = list(shown.clients)
    try:
        done = deletion_rounds.confirm(session(), client_ids=client_ids, keys=keys, now=now())
    except deletion_rounds.ChangedError:
        rows = deletion_rounds.open_ones(session(), client_ids=client_ids, keys=keys)
        return _count(shown, rows, total=len(rows), settled=len(set(keys)) - len(rows), status=409)
    people = "1 person" if done.people == 1 else f"{done.people} people"
    details = "1 detail" if done.details == 1 else f"{done.details} details"
    flash(f"You said that {details} of {people} {'is' if done.details == 1 else 'are'} deleted. They read it.")
    return redirect(_list(shown), 303)


def _count(
    shown: Narrowed, rows: Sequence[Deletion], *, total: int, settled: int = 0, status: int = 200
) -> ResponseReturnValue:
    if not rows:
        return _back(shown, "Nothing of what you chose is left to say.")
    people = {row.person_id for row in rows}
    return page(
        "companies/confirm_deletions.html",
        status=status,
        shown=shown,
        lines=[list(theirs) for _grant, theirs in groupby(sorted(rows, key=_grant), key=_grant)],
        details=len(rows),
        people=len(people),
        apps={row.client_id for row in rows},
        held=sum(row.state == rules.State.HELD for row in rows),
        keys=[Key(row.grant_id, row.attribute) for row in rows],
        more=total - len(rows),
        settled=settled,
        subs=queries.subs_of(session(), person_ids=people, company_id=g.company.company_id),
        back=_list(shown),
    )


def _grant(row: Deletion) -> UUID:
    return row.grant_id


def _back(shown: Narrowed, words: str) -> Response:
    flash(words, "hold")
    return redirect(_list(shown), 303)  # type: ignore[return-value] # Werkzeug's own response, which Flask sends


def _list(shown: Narrowed) -> str:
    return url_for("deletions.overview", **shown.asked)
