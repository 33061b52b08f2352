"""*Check my log*: in a real browser, over a database that somebody has really tampered with."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import expect

from portal import db
from portal.ledger import exports, services, verifying
from portal.ledger.services import NewOutcome
from portal.vault import notes
from tests.ledger.log_place import ORIGIN
from tests.ledger.log_site import SIGNER, Site
from tests.ledger.test_verifying import written_otherwise

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, Page

    from portal.config import Settings
    from portal.vault.keyring import Keyring
    from tests.ledger.log_place import Place

NOW = db.now() - timedelta(days=2)
_VERIFY = """async ([file, verifier]) => {
    const { verify, Unreadable } = await import("/static/log-verify.js");
    try {
        const found = await verify(file, verifier);
        return { signed: found.signed, wrong: found.wrong.map(({ kind, n, last }) => [kind, n, last ?? 0]) };
    } catch (error) {
        return { unreadable: error instanceof Unreadable };
    }
}"""

_TIMED = """async ([file, verifier]) => {
    const { verify } = await import("/static/log-verify.js");
    const began = performance.now();
    const { wrong } = await verify(file, verifier);
    return wrong.length ? NaN : performance.now() - began;
}"""


@pytest.fixture
def site(place: Place, settings: Settings, keys: Keyring, tmp_path: Path) -> Iterator[Site]:
    """Six rows of one person among others', an hour apart, and what became of the third."""
    made = Site(place, settings, keys, tmp_path)
    rows = [place.new(made.person_id, reason=f"№ {number}", at=NOW + timedelta(hours=number)) for number in range(6)]
    for row in rows:
        place.log(place.new(), row, place.new())
    third = rows[2]
    became: dict[str, Any] = {
        "at": third.at,
        "disclosure_id": third.disclosure_id,
        "outcome": "completed",
        "detail": "",
    }
    with db.transaction(place.url) as session:
        services.report(session, NewOutcome(person_id=made.person_id, milliseconds=3, **became), now=db.now())
    made.publish()
    with made.served():
        yield made


@pytest.fixture
def page(site: Site, chromium: Browser) -> Iterator[Page]:
    with site.window(chromium) as opened:
        yield opened


def check(site: Site, page: Page) -> list[str]:
    """Press the button and return the notes that come."""
    page.goto(f"{site.url}/activity")
    page.get_by_role("button", name="Check my log").click()
    expect(page.locator("#log-check-result .note").first).to_be_visible(timeout=30_000)
    return page.locator("#log-check-result .note").all_inner_texts()


def marked(page: Page) -> list[tuple[int, str]]:
    """Return which rows of the list bear a mark, from 0, and the mark."""
    rows = page.locator("#activity-rows tbody tr").all()
    found = [(at, row.locator(".log-mark")) for at, row in enumerate(rows)]
    return [(at, mark.first.inner_text()) for at, mark in found if mark.count()]


def test_an_untouched_log_is_found_to_be_so(site: Site, page: Page) -> None:
    [note] = check(site, page)
    assert note.startswith("Nothing was changed, removed or moved. 7 entries of yours checked, in a log of 19")
    assert marked(page) == []
    assert "for the first time" in note
    [again] = check(site, page)
    assert "continues what this browser saw" in again
    assert "Your own rows do, too." in again
    site.place.log(site.place.new(site.person_id), site.place.new())
    site.publish()
    [longer] = check(site, page)
    assert "8 entries of yours checked" in longer
    assert "continues what this browser saw" in longer


def test_the_row_that_was_changed_in_the_database_is_shown(site: Site, page: Page) -> None:
    site.place.as_owner("UPDATE disclosure SET given = '{}' WHERE reason = '№ 1'")
    [note] = check(site, page)
    assert "Entry 2: Changed: this is not what the log has." in note
    assert marked(page) == [(4, "Changed: this is not what the log has")]
    page.get_by_role("link", name="See the row of").click()
    expect(page.get_by_role("heading", name="Zoë & Söhne")).to_be_visible()


def test_what_became_of_a_row_is_checked_like_the_row(site: Site, page: Page) -> None:
    site.place.as_owner(
        "UPDATE disclosure_outcome SET outcome = 'failed'",
        "UPDATE log_entry SET outcome = 'failed' WHERE outcome <> ''",
    )
    check(site, page)
    assert marked(page) == [(3, "Changed: this is not what the log has")]


def test_a_row_that_was_removed_is_shown_where_it_stood(site: Site, page: Page) -> None:
    site.place.as_owner("DELETE FROM disclosure WHERE reason = '№ 3'")
    [note] = check(site, page)
    assert "Entry 4: Removed here" in note
    assert marked(page) == [(2, "Entry 4: Removed here: the log has a row, and nobody says any more what it was")]


def test_a_row_that_was_removed_with_its_place_is_shown_where_it_stood(site: Site, page: Page) -> None:
    site.place.as_owner(
        "DELETE FROM log_entry e USING disclosure d WHERE d.reason = '№ 3' AND d.disclosure_id = e.disclosure_id",
        "DELETE FROM disclosure WHERE reason = '№ 3'",
    )
    check(site, page)
    assert marked(page)[0] == (2, "Entry 4: Missing here: the log had a row, and it was taken out")


def test_rows_that_changed_places_are_shown(site: Site, page: Page) -> None:
    site.place.as_owner("""
        UPDATE log_entry e SET leaf = CASE e.n WHEN 4 THEN o.leaf ELSE u.leaf END
          FROM log_entry o, log_entry u
         WHERE e.person_id = o.person_id AND e.person_id = u.person_id AND o.n = 5 AND u.n = 4 AND e.n IN (4, 5)
    """)  # fmt: skip
    check(site, page)
    assert {at for at, _ in marked(page)} >= {1, 2}


def test_a_row_that_was_slipped_in_beside_the_log_is_shown(site: Site, page: Page) -> None:
    columns = "context_id, grant_id, grant_version, channel, outcome, reason, asked, given, message_id, written_by"
    site.place.as_owner(f"""
        INSERT INTO disclosure (person_id, at, disclosure_id, {columns})
        SELECT person_id, at + interval '30 minutes', gen_random_uuid(), {columns}
          FROM disclosure WHERE reason = '№ 4'
    """)  # noqa: S608 - constants
    check(site, page)
    assert marked(page) == [(1, "Not in the log")]


def test_a_page_that_shows_something_else_than_the_log_is_found(site: Site, page: Page) -> None:
    page.goto(f"{site.url}/activity")
    page.locator("#activity-rows td[data-h=Who]").nth(2).evaluate("cell => { cell.textContent = 'Somebody else'; }")
    page.get_by_role("button", name="Check my log").click()
    expect(page.locator(".log-mark")).to_have_text("This page shows something else than the log has")


def test_a_log_that_was_rewritten_and_signed_again_is_found(site: Site, page: Page) -> None:
    check(site, page)
    _open_anew(site, "DELETE FROM disclosure WHERE reason = '№ 5'")
    notes = check(site, page)
    assert "The log was rewritten since you checked it here" in notes[0]
    assert "Your own log ended with entry 7" in notes[0]
    # What is wrong is not remembered: the next time it is as wrong.
    assert check(site, page) == notes


def test_a_rewritten_log_that_has_grown_again_is_found(site: Site, page: Page) -> None:
    check(site, page)
    _open_anew(site, "UPDATE disclosure SET given = '{}' WHERE reason = '№ 5'")
    site.place.log(*(site.place.new() for _ in range(20)))
    site.publish()
    assert "The log was rewritten since you checked it here" in check(site, page)[0]


def test_another_key_is_said_to_be_one(site: Site, page: Page) -> None:
    check(site, page)
    page.evaluate("""() => {
        const memory = JSON.parse(localStorage.getItem("checked-logs"));
        memory.log.verifier = memory.log.verifier.replace("example", "another");
        localStorage.setItem("checked-logs", JSON.stringify(memory));
    }""")
    notes = check(site, page)
    assert any("The log's key is another one" in note for note in notes)
    assert len(check(site, page)) == 1


def test_a_signature_of_somebody_else_is_found(site: Site, page: Page) -> None:
    page.goto(f"{site.url}/activity")
    other = str(type(SIGNER)(SIGNER.name, bytes(32)).verifier())
    page.locator("#log-check").evaluate("(place, key) => { place.dataset.verifier = key; }", other)
    page.get_by_role("button", name="Check my log").click()
    expect(page.locator("#log-check-result")).to_contain_text("not signed by the key shown below")


def test_a_browser_that_cannot_check_a_signature_says_so(site: Site, page: Page) -> None:
    page.add_init_script("""
        const own = crypto.subtle.importKey.bind(crypto.subtle);
        crypto.subtle.importKey = (kind, data, algorithm, ...rest) =>
            algorithm?.name === "Ed25519" ? Promise.reject(new DOMException("", "NotSupportedError"))
                                          : own(kind, data, algorithm, ...rest);
    """)
    notes = check(site, page)
    assert "Nothing was changed, removed or moved" in notes[0]
    assert "cannot check the log's signature (Ed25519)" in notes[1]


def test_without_scripts_there_are_the_file_and_the_command(site: Site, chromium: Browser) -> None:
    with site.window(chromium, scripts=False) as page:
        page.goto(f"{site.url}/activity")
        expect(page.get_by_role("button", name="Check my log")).to_be_hidden()
        page.get_by_text("Check it without this page").click()
        expect(page.get_by_text("portal verify activity-log.json")).to_be_visible()
        with page.expect_download() as download:
            page.get_by_role("link", name="Download your log with its proof").click()
        assert download.value.suggested_filename == "activity-log.json"
        found = verifying.verify(json.loads(download.value.path().read_bytes()), known=SIGNER.verifier())
        assert (found.entries, found.wrong) == (7, [])


def damaged(file: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield files with one thing or two wrong in each of many places."""
    for n in range(len(file["entries"])):
        yield _with(file, lambda entries, n=n: entries.pop(n))
        yield _with(file, lambda entries, n=n: entries[n].update(said=None))
        yield _with(file, lambda entries, n=n: entries[n].update(said=[["a", 1]]))
        yield _with(file, lambda entries, n=n: entries[n]["said"].update(at="2026-01-01T00:00:00+00:00"))
        yield _with(file, lambda entries, n=n: entries[n].update(hash=entries[n - 1]["hash"]))
        yield _with(file, lambda entries, n=n: entries[n].update(n=entries[n]["n"] + 2))
        yield _with(file, lambda entries, n=n: entries[n].update(leaf=entries[n]["leaf"] + 1))
        yield _with(file, lambda entries, n=n: entries.insert(0, entries.pop(n)))
        yield _with(file, lambda entries, n=n: entries.append(entries[n]))
        yield _with(file, lambda entries, n=n: entries[n].update(hash=written_otherwise(entries[n]["hash"])))
        yield _with(file, lambda entries, n=n: entries[n].update(blinds=entries[n - 1]["blinds"]))
    for change in (
        {"path": file["path"][1:]},
        {"path": [*file["path"], file["path"][0]]},
        {"path": file["path"][::-1]},
    ):
        yield file | change
    odd: tuple[dict[str, Any], ...] = (
        {"format": "x"},
        {"entries": None},
        {"entries": [{}]},
        {"path": ["!"]},
        {"count": -1},
        {"count": 2**40},
    )
    for change in odd:
        yield file | change
    yield _with(
        file, lambda entries: entries[0]["said"].update({"é\u2028\x7f\x1f\\": ["\U0001f600", {"b": None, "a": True}]})
    )


def _with(file: dict[str, Any], change: Any) -> dict[str, Any]:  # noqa: ANN401 - any change of a list
    copied: dict[str, Any] = json.loads(json.dumps(file))
    change(copied["entries"])
    return copied


def test_the_browser_and_the_command_find_the_same(site: Site, page: Page) -> None:
    page.goto(f"{site.url}/activity")
    with db.transaction(site.place.url) as session:
        file = exports.export(session, person_id=site.person_id, verifier=SIGNER.verifier())
    assert file is not None
    key = str(SIGNER.verifier())
    assert page.evaluate(_VERIFY, [file, key]) == {"signed": True, "wrong": []}
    elsewhere = notes.opened(file["checkpoint"], SIGNER.verifier()).text.replace(ORIGIN, f"{ORIGIN}2", 1)
    signed = file | {"checkpoint": notes.signed(elsewhere, SIGNER.sign(elsewhere))}
    assert page.evaluate(_VERIFY, [signed, key]) == {"signed": False, "wrong": []}
    for number, wrong in enumerate(damaged(file)):
        try:
            found = verifying.verify(wrong, known=SIGNER.verifier())
        except verifying.ExportUnreadableError:
            expected: dict[str, Any] = {"unreadable": True}
        else:
            expected = {"signed": True, "wrong": [[each.kind, each.n, each.last] for each in found.wrong]}
            assert found.wrong or wrong == file
        assert page.evaluate(_VERIFY, [wrong, key]) == expected, number


def timed(site: Site, page: Page) -> dict[str, int]:
    """Check 10,007 entries and return how long that took; other programs of this machine are busy, too."""
    [note] = check(site, page)
    assert note.startswith("Nothing was changed, removed or moved. 10,007 entries of yours checked")
    found: dict[str, int] = json.loads(page.locator("#log-check-result").get_attribute("data-milliseconds") or "{}")
    return found


def test_ten_thousand_rows_take_two_seconds_at_most(site: Site, page: Page, capsys: pytest.CaptureFixture[str]) -> None:
    place, begin = site.place, db.now() - timedelta(hours=20)
    for part in range(10):
        mine = [
            place.new(
                site.person_id, at=begin + timedelta(seconds=part * 1000 + n), outcome="completed", channel="pull"
            )
            for n in range(1000)
        ]
        others = [place.new() for _ in range(1000)]
        place.log(*(row for pair in zip(mine, others, strict=True) for row in pair))
    site.publish()
    took = next((times for times in (timed(site, page) for _ in range(4)) if times["checked"] <= 2000), None)
    assert took, "not once in four times"
    with capsys.disabled():
        print(f"\n10,007 entries fetched in {took['fetched']} ms, checked in {took['checked']} ms;", end=" ")  # noqa: T201 - a figure
    assert page.locator("#log-check-progress").evaluate("bar => [bar.value, bar.max]") == [10_007, 10_007]
    with db.transaction(place.url) as session:
        single = exports.export(session, person_id=others[0].person_id, verifier=SIGNER.verifier())
    alone = page.evaluate(_TIMED, [single, str(SIGNER.verifier())])
    with capsys.disabled():
        print(f"one entry of a log of 20,019: {alone:.1f} ms", end=" ")  # noqa: T201 - a figure
    assert alone <= 50
    moment = (begin + timedelta(seconds=9990)).isoformat()
    site.place.as_owner(f"UPDATE disclosure SET message_id = 'x' WHERE at = '{moment}'")  # noqa: S608 - a time
    check(site, page)
    assert re.search("Changed: this is not what the log has", page.locator("#activity-rows li .log-mark").inner_text())


def _open_anew(site: Site, *statements: str) -> None:
    """Do as somebody who has the database, the key and the file of what was signed last: the log once more, as if."""
    owned = ("log_entry", "log_head", "log_tile")
    site.place.as_owner(
        *statements,
        *(f"DELETE FROM {table}" for table in owned),  # noqa: S608 - constants
        "UPDATE log SET size = 0, seen = '1:1:', note = NULL",
    )
    site.forget_head()
    site.publish()
