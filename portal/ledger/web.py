"""Activity: who used a person's details, and what they may take away to check it."""

from __future__ import annotations

from hashlib import sha256
from tempfile import SpooledTemporaryFile
from typing import TYPE_CHECKING, Any, Final, cast

from babel.dates import format_date
from flask import Blueprint, Response, current_app, render_template, request

from portal.errors import NotFoundError, TooManyError
from portal.ledger import exports, filters, lines, published, queries, tables
from portal.web import context, cursor, limits
from portal.web.access import person_id, person_required, public
from portal.web.context import session
from portal.web.dates import ZONE
from portal.web.pages import page, wants_fragment

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime
    from uuid import UUID

    from portal.ledger.filters import Filters
    from portal.ledger.queries import Entry

pages = Blueprint("ledger", __name__)

PAGE = 50
RECENT = 5
# A long file takes its time: whoever fetches one after the other would keep a server from everybody else.
_FILES = limits.Rate("files", 60, 900)
_IN_MEMORY: Final = 2**20
_PIECE: Final = 2**16
# Of so many rows a page is made: repeats of them stand together.
_LOOKED_AT = 500


class TooManyFilesError(TooManyError):
    public = "You have fetched many files in a short time. Try again in a quarter of an hour."


@pages.app_template_filter()
def month_value(first: datetime) -> str:
    """Return "2026-11" as the filter by month sends it."""
    return f"{first.astimezone(ZONE):%Y-%m}"


@pages.app_template_filter()
def month_name(first: datetime) -> str:
    """Return "November 2026"."""
    return format_date(first.astimezone(ZONE), "LLLL y", locale="en_GB")


@pages.get("/activity")
@person_required
def activity() -> Response:
    chosen = _chosen()
    found = queries.of_person(
        session(), person_id=person_id(), limit=_LOOKED_AT + 1, before=cursor.before(), wanted=chosen.wanted
    )
    grouped = lines.grouped(found[:_LOOKED_AT], most=PAGE)
    since = queries.first_of_person(session(), person_id=person_id())
    return page(
        "ledger/activity.html",
        "list",
        lines=lines.lines(session(), grouped.groups, person_id=person_id()),
        older=_after(found[grouped.taken - 1]) if grouped.taken < len(found) else None,
        continued="before" in request.args,
        filters=chosen,
        since=since,
        **({} if wants_fragment() else _around(since)),
    )


@pages.get("/activity/<uuid:disclosure_id>")
@person_required
def entry(disclosure_id: UUID) -> Response:
    found = queries.one(session(), person_id=person_id(), disclosure_id=disclosure_id)
    if found is None:
        raise NotFoundError
    [line] = lines.lines(session(), [[found]], person_id=person_id())
    places = queries.places(session(), person_id=person_id(), entry=found)
    return page("ledger/entry.html", line=line, places=places, log=published.newest(session()))


@pages.get("/activity/export.csv")
@person_required
def table() -> Response:
    labels = _labels()
    written = tables.as_csv(_entries(), label=lambda name: labels.get(name, name))
    return _file("activity.csv", "text/csv; charset=utf-8; header=present", written)


@pages.get("/activity/export.json")
@person_required
def document() -> Response:
    return _file("activity.json", "application/json", tables.as_json(_entries()))


@pages.get("/activity/log.json")
@person_required
def log() -> Response:
    """Answer with the person's own log and its proof (`exports.written`)."""
    newest = published.newest(session())
    if newest is None:
        raise NotFoundError(private="nothing is signed yet")
    written = exports.written(session(), person_id=person_id(), verifier=newest.verifier)
    return _file("activity-log.json", "application/json", written)


@pages.get("/activity/how-the-log-is-kept")
@public
def explained() -> Response:
    return page("ledger/explained.html", log=published.newest(session()))


def recent_uses_slot() -> str:
    """Return the last few uses of a person's details, in one query."""
    wanted = queries.Wanted(decisions=False)
    entries = queries.of_person(session(), person_id=person_id(), limit=RECENT, wanted=wanted)
    return render_template("ledger/_recent.html", lines=lines.bare(entries))


def _around(since: datetime | None) -> dict[str, Any]:
    """Return what stands around the list, which no fragment needs."""
    return {
        "organisations": queries.companies_of_person(session(), person_id=person_id()),
        "details": sorted(_labels().items(), key=lambda named: named[1]),
        "months": filters.months(since, context.now()) if since else [],
        "log": published.newest(session()),
        # By it a browser keeps apart what it remembers of those who use it; it says nothing of them.
        "whose": sha256(person_id().bytes).hexdigest()[:16],
    }


def _chosen() -> Filters:
    return filters.chosen(attributes=_labels())


def _labels() -> dict[str, str]:
    # The record is of a slice above: the names of its details are handed over to the application.
    return dict(cast("tuple[tuple[str, str], ...]", current_app.extensions["portal_catalogue"]))


def _entries() -> Iterator[Entry]:
    return queries.each_of_person(session(), person_id=person_id(), wanted=_chosen().wanted)


def _file(name: str, content_type: str, pieces: Iterator[bytes]) -> Response:
    """Answer with a file that is whole before its first byte leaves.

    Whoever reads it slowly holds no connection of the database's, and what goes wrong is a page that says so.
    """
    if wait := limits.spend(_FILES, str(person_id())):
        raise TooManyFilesError(wait)
    whole = SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115 - the answer closes it
    whole.writelines(pieces)
    headers = {"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store"}
    answer = Response(_read(whole), content_type=content_type, headers=headers)
    answer.content_length = whole.tell()
    answer.call_on_close(whole.close)
    return answer


def _read(whole: SpooledTemporaryFile[bytes]) -> Iterator[bytes]:
    with whole:
        whole.seek(0)
        while piece := whole.read(_PIECE):
            yield piece


def _after(entry: Entry) -> str:
    return cursor.after(entry.at, entry.disclosure_id)
