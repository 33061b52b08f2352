"""Who has a change, as its person watches: who gets it before it is saved, and how far each one is afterwards."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from flask import Blueprint, g, render_template, request

from portal.consent import queries as consents
from portal.consumer.catalogue import CATALOGUE
from portal.errors import NotFoundError
from portal.sync import copies, follow_ups, queries, receipts
from portal.sync.receipts import REASONS
from portal.web import dates
from portal.web.access import person_id, person_required
from portal.web.context import now, session
from portal.web.pages import page

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from uuid import UUID

    from flask import Response

    from portal.ledger.queries import Entry
    from portal.sync.copies import Told

pages = Blueprint("updates", __name__)

_LARGEST_SEQUENCE = 2**31 - 1
# Half a minute of looking closely; whoever leaves the page open longer is not in a hurry.
_CLOSE_LOOKS = 100
_ENDS = {"received", "applied", "rejected"}
_SOON = {"waiting", "unused"}


@dataclass(frozen=True, kw_only=True)
class Line:
    """How far one organisation is, in words: `what` it has, `took` when, `advice` where the person can do something."""

    company_name: str
    grant_id: UUID
    state: str
    what: str
    took: str
    problem: str
    advice: str


@dataclass(frozen=True, kw_only=True)
class Watch:
    """How far a change is; `delay` is when the page looks again, empty when there is nothing left to see.

    `asking` are those who may have it but are not told by themselves: there is nothing to wait for.
    """

    sequence: int
    turn: int
    told: Sequence[Line]
    asking: Sequence[Line]
    delay: str

    @property
    def received(self) -> int:
        return sum(one.state in _ENDS | {"unused"} for one in self.told)

    @property
    def announced(self) -> str:
        """Say how it ended, for those who hear the page."""
        kept = sum(one.state != "rejected" for one in self.told)
        if kept < len(self.told):
            return f"{kept} of {len(self.told)} organisations have your change."
        return "1 organisation has your change." if kept == 1 else f"All {kept} organisations have your change."


@pages.get("/updates/<int:sequence>")
@person_required
def change(sequence: int) -> Response:
    if sequence > _LARGEST_SEQUENCE:
        raise NotFoundError
    turn = request.args.get("turn", default=0, type=int)
    return page("sync/updates.html", "list", watch=_watch(sequence, turn=turn))


def recipients_slot(attributes: Collection[str]) -> str:
    """Return the note that names, before an edit is saved, who gets it at once and who would have to ask."""
    found = consents.recipients(session(), person_id=person_id(), attributes=attributes, now=now())
    ready = queries.told_clients(session(), client_ids={one.client_id for one in found}) if found else set()
    return render_template(
        "sync/_recipients.html",
        attributes=attributes,
        told=[one for one in found if one.client_id in ready],
        asking=[one for one in found if one.client_id not in ready],
    )


def after_change_slot(sequence: int) -> str:
    """Return who gets the change just made and how far that is; it looks again by itself until all have it."""
    return render_template("sync/_updates.html", watch=_watch(sequence, turn=0))


def receipt_slot(entry: Entry, among: Sequence[Entry]) -> str:
    """Return what the organisation said it did with a row's message; one query for all rows of a page."""
    if "receipts" not in g:
        jtis = [each.message_id for each in among if each.message_id]
        g.receipts = receipts.of_person(session(), person_id=person_id(), jtis=jtis)
    found = g.receipts.get(entry.message_id)
    if found is None:
        return ""
    reason = REASONS.get(found.reason, REASONS["other"])
    news = entry.channel != "notice" or entry.reason == "changed"
    return render_template("sync/_receipt.html", receipt=found, reason=reason, news=news).rstrip()


def follow_up_slot(entry: Entry, among: Sequence[Entry]) -> str:
    """Return what followed a row's message that was not received; one query for all rows of a page."""
    if "follow_ups" not in g:
        g.follow_ups = follow_ups.of_entries(session(), person_id=person_id(), entries=among)
    found = g.follow_ups.get(entry.disclosure_id)
    return f'<span class="hint below">{found.value}</span>' if found else ""


def _watch(sequence: int, *, turn: int) -> Watch:
    found = copies.status_of_change(session(), person_id=person_id(), sequence=sequence, now=now())
    states = {one.state for one in found} - {"asks"}
    delay = ""
    if states - _ENDS:
        delay = "300ms" if states & _SOON and turn < _CLOSE_LOOKS else "5s"
    lines = [_line(one) for one in found]
    return Watch(
        sequence=sequence,
        turn=min(turn + 1, _CLOSE_LOOKS),
        told=[line for line in lines if line.state != "asks"],
        asking=[line for line in lines if line.state == "asks"],
        delay=delay,
    )


def _line(one: Told) -> Line:
    reason = REASONS.get(one.reason, REASONS["other"])
    rejected = one.state == "rejected"
    return Line(
        company_name=one.company_name,
        grant_id=one.grant_id,
        state=one.state,
        what=_what(one.attributes),
        took=dates.moment(one.at) if one.took is None else _after(one.took.total_seconds()),
        problem=reason.words if rejected else "",
        advice=reason.advice if rejected else "",
    )


def _what(attributes: Sequence[str]) -> str:
    if len(attributes) == 1 and attributes[0] in CATALOGUE:
        return f"your new {CATALOGUE[attributes[0]].noun}"
    return "your change"


def _after(seconds: float) -> str:
    """Return "0.1 s after you saved", "12 s …", "3 minutes …": as exact as anybody wants to know."""
    return f"{_span(seconds)} after you saved"


def _span(seconds: float) -> str:
    if seconds < 10:  # noqa: PLR2004 - below ten seconds a tenth is worth saying
        return f"{max(seconds, 0.1):.1f} s"
    for length, name in ((86_400, "day"), (3_600, "hour"), (60, "minute")):
        if seconds >= length:
            count = int(seconds // length)
            return f"{count} {name}{'s' * (count != 1)}"
    return f"{seconds:.0f} s"
