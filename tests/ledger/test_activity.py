"""Activity as a person narrows it, reads it and takes it away; what is unusual in it is said."""

from __future__ import annotations

import csv
import html
import io
import json
import re
import tracemalloc
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text

from portal import db
from portal.ledger import exports, queries, services, tables, verifying
from portal.ledger.queries import Wanted
from portal.web.dates import ZONE
from tests.counting import statements
from tests.ledger.log_site import SIGNER, Site
from tests.ledger.test_pages import cells

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from sqlalchemy.orm import Session

    from portal.config import Settings
    from portal.vault.keyring import Keyring
    from tests.consent.browser import Browser
    from tests.ledger.log_place import Place

NOON = db.now().astimezone(ZONE).replace(hour=12, minute=0, second=0, microsecond=0) - timedelta(days=1)
GYM = uuid4()


@pytest.fixture
def site(place: Place, settings: Settings, keys: Keyring, tmp_path: Path) -> Site:
    return Site(place, settings, keys, tmp_path)


def pulls(site: Site, *times: datetime, company: UUID = GYM, **members: Any) -> None:  # noqa: ANN401 - columns
    facts: dict[str, Any] = {"channel": "pull", "outcome": "completed"}
    with db.transaction(site.place.url) as session:
        services.open_months(session, now=min(times))
        words: dict[str, Any] = {
            "company_id": company,
            "client_id": "g",
            "company_name": "Gym",
            "purpose": "let you in",
        }
        site.place.context_id = services.context(session, **words)
        services.record(session, *[site.place.new(site.person_id, at=at, **(facts | members)) for at in times])


def listed(site: Site, query: str = "") -> list[dict[str, str]]:
    return cells(site.browser.get(f"/activity?{query}").text)


def test_repeats_of_one_day_are_one_row_that_opens(site: Site) -> None:
    pulls(site, *(NOON + timedelta(minutes=n) for n in range(40)))
    pulls(site, NOON + timedelta(minutes=5), asked=["name.full", "email.main"])
    pulls(site, *(NOON - timedelta(days=1, minutes=n) for n in range(2)))
    page = site.browser.get("/activity").text
    found = cells(page)
    assert [re.findall(r"(\d+) times that day", row["When"]) for row in found] == [["40"], [], ["2"]]
    ids = re.findall(r'<li data-entry="([^"]+)"', page)
    assert len(set(ids)) == 42
    assert site.browser.get(f"/activity/{ids[7]}").status_code == 200


def test_what_went_wrong_is_never_put_together(site: Site) -> None:
    pulls(site, *(NOON + timedelta(minutes=n) for n in range(3)), outcome="sending", channel="push")
    assert len(listed(site)) == 3


@pytest.mark.parametrize("repeats", [1, 30])
def test_paging_leaves_no_row_out(site: Site, repeats: int) -> None:
    days = [NOON - timedelta(days=day) for day in range(60)]
    pulls(site, *(day + timedelta(minutes=n) for day in days for n in range(repeats)))
    seen: list[str] = []
    address: str | None = "/activity"
    while address:
        page = site.browser.get(address).text
        rows = re.findall(r'<(?:tr role="row"|li) data-entry="([^"]+)"', page)
        seen += rows
        older = re.search(r'href="(/activity\?before=[^"]+)"', page)
        address = html.unescape(older.group(1)) if older else None
    assert len(set(seen)) == 60 * repeats


def test_own_decisions_are_there_when_they_are_asked_for(site: Site) -> None:
    for hours, (channel, reason) in enumerate(
        [("consent", "given"), ("notice", "given"), ("consent", "ended"), ("notice", "changed"), ("pull", None)]
    ):
        pulls(site, NOON + timedelta(hours=hours), channel=channel, reason=reason, given={}, asked=[])
    assert [row["How"] for row in listed(site)] == [
        "They asked", "We told them that there is something new to fetch", "Sharing ended",
    ]  # fmt: skip
    assert len(listed(site, "own=1")) == 5


def test_filters_are_combined_and_kept_in_every_link(site: Site) -> None:
    other, grant_id = uuid4(), uuid4()
    pulls(site, *(NOON - timedelta(days=day) for day in range(60)), grant_id=grant_id)
    pulls(site, NOON, company=other, given={"email.main": 2}, asked=["email.main"])
    pulls(site, NOON + timedelta(hours=1), asked=["name.full", "phone.mobile"], company=other)
    assert len(listed(site, "detail=phone.mobile")) == 1
    assert len(listed(site, f"detail=name.full&organisation={other}")) == 1
    assert len(listed(site, "detail=birth.date")) == 0
    chosen = f"organisation={GYM}&detail=name.full&month={NOON:%Y-%m}&own=1&sharing={grant_id}"
    page = site.browser.get(f"/activity?{chosen}").text
    for file in ("csv", "json"):
        link = re.search(rf'href="(/activity/export\.{file}\?[^"]+)"', page)
        assert link
        assert set(chosen.split("&")) == set(html.unescape(link.group(1)).partition("?")[2].split("&"))
    older = re.search(r'href="(/activity\?before=[^"]+)"', site.browser.get(f"/activity?sharing={grant_id}&own=1").text)
    assert older
    assert f"sharing={grant_id}" in older.group(1)
    assert "own=1" in older.group(1)


def test_only_the_list_comes_when_htmx_asks(site: Site) -> None:
    pulls(site, NOON)
    part = site.browser.get("/activity?detail=name.full", headers={"HX-Request": "true"}).text
    assert part.strip().startswith('<section id="activity-list"')
    assert len(cells(part)) == 1


@pytest.mark.parametrize("query", ["detail=x", "detail=name.full'", "organisation=1", "month=2026"])
@pytest.mark.parametrize("path", ["", "/export.csv", "/export.json"])
def test_what_no_page_offers_is_refused(browser: Browser, query: str, path: str) -> None:
    assert browser.get(f"/activity{path}?{query}").status_code == 422


def test_the_page_says_how_far_back_the_log_goes(site: Site) -> None:
    pulls(site, NOON, datetime(2026, 3, 4, 12, tzinfo=ZONE))
    page = site.browser.get("/activity").text
    assert "Your log goes back to 4 March 2026." in page
    assert 'value="2026-03"' in page
    assert 'value="2026-02"' not in page


@pytest.mark.parametrize(
    ("before", "today", "said"),
    [((), 9, False), ((), 10, True), ((3,), 10, True), ((4,), 12, False), ((4,), 13, True), ((1, 9, 2), 20, False)],
)
def test_an_organisation_that_asks_far_more_often_than_usual_is_marked(
    site: Site,
    before: tuple[int, ...],
    today: int,
    said: bool,  # noqa: FBT001 - pytest hands it over by name
) -> None:
    """Ten times a day or more, and more than three times as often as on any of the 30 days before."""
    for ago, many in enumerate(before, 2):
        pulls(site, *(NOON - timedelta(days=ago, seconds=n) for n in range(many)))
    # Long enough ago to be forgotten.
    pulls(site, *(NOON - timedelta(days=40, seconds=n) for n in range(9)))
    pulls(site, *(NOON - timedelta(seconds=n) for n in range(today)), outcome="denied", given={})
    row = listed(site)[0]
    assert (f"More often than usual: {today} times that day" in row["How"]) == said
    if said:
        assert f"In the 30 days before, at most {max(before, default=0)} a day." in row["How"]


def test_one_row_in_full_says_everything_but_values(site: Site) -> None:
    grant_id = uuid4()
    pulls(site, NOON, asked=["name.full", "email.main"], grant_id=grant_id, grant_version=3)
    site.publish()
    [row] = re.findall(r'href="(/activity/[0-9a-f-]{36})"', site.browser.get("/activity").text)
    page = " ".join(re.sub(r"<[^>]+>", " ", site.browser.get(row).text).split())
    for words in ("They asked for Full name Email address", "Details sent Full name", "Why To let you in",
                  "How They asked", "Done by A program of theirs", "Outcome Received",
                  "Under What you share with Gym , version 3",
                  "In the log Number 1 of yours, number 1 of everybody"):  # fmt: skip
        assert words in page


def test_the_table_is_one_for_spreadsheets_and_has_no_formula_in_it(site: Site) -> None:
    grant_id = uuid4()
    with db.transaction(site.place.url) as session:
        words: dict[str, Any] = {
            "company_id": GYM,
            "client_id": "g",
            "company_name": '=cmd|"/c calc"!A1',
            "purpose": 'say "hi",\r\nthere',
        }
        site.place.context_id = services.context(session, **words)
    site.place.log(site.place.new(site.person_id, at=NOON, grant_id=grant_id, asked=["name.full", "email.main"]))
    answer = site.browser.get("/activity/export.csv")
    assert answer.headers["Content-Disposition"] == 'attachment; filename="activity.csv"'
    assert answer.content_type == "text/csv; charset=utf-8; header=present"
    assert answer.headers["Cache-Control"] == "no-store"
    head, row = csv.reader(io.StringIO(answer.data.decode("utf-8-sig"), newline=""), strict=True)
    found = dict(zip(head, row, strict=True))
    assert found["Organisation"] == '\'=cmd|"/c calc"!A1'
    assert found["Why"] == 'To say "hi",\r\nthere'
    assert (found["Details asked for"], found["Details sent"]) == ("Full name; Email address", "Full name")
    assert found["Sharing"] == str(grant_id)


def as_table(name: str, *asked: str) -> str:
    """Return the table of one row, by an organisation of this name."""
    entry = queries.Entry(
        person_id=uuid4(), at=NOON, disclosure_id=uuid4(), company_id=GYM, client_id="g",
        company_name=name, purpose="p", channel="pull", outcome="completed", reason=None, asked=list(asked),
        given={}, grant_id=None, grant_version=None, message_id=None, sealed_to=None, reported_at=None, detail=None,
        milliseconds=None,
    )  # fmt: skip
    return b"".join(tables.as_csv([entry], label=str)).decode("utf-8-sig")


@pytest.mark.parametrize("begins", [*"=+-@", *"\uff1d\uff0b\uff0d\uff20", "\t", "\r", "\n", " =", "'=", '"='])
def test_no_cell_begins_as_a_formula_does(begins: str) -> None:
    written = as_table(f"{begins}1+1", f"{begins}x")
    [_, row] = csv.reader(io.StringIO(written, newline=""), strict=True)
    assert row[1:3] == [f"'{begins}1+1", f"'{begins}x"]


@pytest.mark.parametrize(
    "name", ["Gym;=1+1", "Gym; =1+1", 'Gym;"=1+1', "Gym|@SUM(1)", "Gym;\uff1d1", "Gym,-1", "Gym\t+1"]
)
def test_no_cell_begins_so_either_where_a_spreadsheet_parts_them_otherwise(name: str) -> None:
    # Where a comma is for decimals, a semicolon parts cells, whatever the quotes around it.
    cells = re.split(r"[;|,\t]", as_table(name).replace('"', ""))
    assert not [cell for cell in cells if re.match(r"\s*[=+@\uff1d-]", cell)]


def test_the_files_have_what_is_chosen_and_only_ones_own(site: Site) -> None:
    pulls(site, *(NOON - timedelta(days=day) for day in range(3)))
    pulls(site, NOON - timedelta(days=4), channel="consent", reason="given", given={})
    site.place.log(site.place.new())
    assert len(json.loads(site.browser.get("/activity/export.json").data)["entries"]) == 3
    assert len(json.loads(site.browser.get("/activity/export.json?own=1").data)["entries"]) == 4
    assert json.loads(site.browser.get("/activity/export.json?detail=birth.date").data) == {"entries": []}
    assert len(site.browser.get(f"/activity/export.csv?organisation={uuid4()}").data.splitlines()) == 1
    assert site.browser.get("/activity/log.json").status_code == 404
    site.publish()
    answer = site.browser.get("/activity/log.json")
    assert answer.headers["Content-Disposition"] == 'attachment; filename="activity-log.json"'
    found = verifying.verify(json.loads(answer.data), known=SIGNER.verifier())
    assert (found.entries, found.wrong) == (4, [])
    for file in ("export.csv", "export.json", "log.json"):
        assert site.app.test_client().get(f"/activity/{file}").status_code == 303


@pytest.mark.parametrize("file", ["export.csv", "export.json", "log.json"])
def test_whoever_reads_slowly_holds_nothing_of_the_database(site: Site, file: str) -> None:
    grown(site, 2000)
    site.publish()
    pool: Any = db.engine(site.place.url).pool
    answer = site.browser.client.get(f"/activity/{file}")
    pieces = answer.iter_encoded()
    first = next(pieces)
    assert pool.checkedout() == 0
    assert len(first) < answer.content_length
    assert len(first) + sum(map(len, pieces)) == answer.content_length
    answer.close()


def test_whoever_fetches_file_after_file_waits(site: Site) -> None:
    answers = [site.browser.get("/activity/export.json", buffered=True).status_code for _ in range(61)]
    assert (set(answers[:60]), answers[60]) == ({200}, 429)
    assert "Try again in a quarter of an hour." in site.browser.get("/activity/export.csv").text


def test_a_page_costs_as_many_statements_however_long_the_log_is(site: Site) -> None:
    counts = []
    pulls(site, NOON)
    site.publish()
    for more in (0, 100):
        pulls(site, *(NOON - timedelta(days=day) for day in range(more + 1)), outcome="denied", given={})
        with statements(site.settings) as sent:
            assert site.browser.get("/activity").status_code == 200
        counts.append(len(sent))
    assert counts[0] == counts[1] <= 16


def grown(site: Site, rows: int) -> None:
    """Add so many rows of the person's in one statement, among others'."""
    pulls(site, NOON)
    with db.transaction(site.place.url) as session:
        session.execute(
            text("""
                INSERT INTO disclosure (person_id, at, disclosure_id, context_id, channel, outcome, asked, given)
                SELECT CASE WHEN n % 2 = 0 THEN CAST(:person_id AS uuid) ELSE gen_random_uuid() END,
                       CAST(:noon AS timestamptz) - n * interval '1 second', gen_random_uuid(), :context_id, 'pull',
                       'completed', '["name.full", "email.main"]', '{"name.full": 1}'
                  FROM generate_series(1, :rows) n
            """),
            {"person_id": site.person_id, "noon": NOON, "context_id": site.place.context_id, "rows": 2 * rows},
        )


def peak(pieces: Callable[[Session], Iterable[bytes]], url: str) -> tuple[int, int]:
    """Return how many bytes are written, and how much memory that takes at most."""
    with db.transaction(url) as session:
        tracemalloc.start()
        size = sum(map(len, pieces(session)))
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    return size, most


def test_long_files_take_no_more_memory_than_short_ones(site: Site) -> None:
    person_id, verifier = site.person_id, SIGNER.verifier()

    def entries(session: Session) -> Iterator[queries.Entry]:
        return queries.each_of_person(session, person_id=person_id, wanted=Wanted())

    ways: list[Callable[[Session], Iterable[bytes]]] = [
        lambda session: tables.as_csv(entries(session), label=str),
        lambda session: tables.as_json(entries(session)),
        lambda session: exports.written(session, person_id=person_id, verifier=verifier),
    ]
    found = []
    # Even the short one has two whole lots: the most is held while one gives way to the next.
    for rows in (2500, 7500):
        grown(site, rows)
        site.publish()
        found.append([peak(way, site.place.url) for way in ways])
    for (short, little), (long, more) in zip(*found, strict=True):
        assert long > 3 * short
        assert more < 1.1 * little + 300_000
