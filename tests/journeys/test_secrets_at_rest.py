"""Nothing that a person typed is found in clear: not in the database, not in Valkey, not in a log, not in a file."""

from __future__ import annotations

import base64
import secrets
from typing import TYPE_CHECKING

import psycopg
import pytest
from playwright.sync_api import expect
from redis import Redis

from portal.embedded.postgres import Postgres
from tests.journeys import search
from tests.journeys.search import Needles
from tests.journeys.steps import BRIGHTWELL, CANARY, PHONE_CANARY

if TYPE_CHECKING:
    from pathlib import Path

    from tests.journeys.program import Demo
    from tests.journeys.steps import World


@pytest.fixture(scope="module")
def needles() -> Needles:
    # The number by itself is so short that a dump could hold it by chance.
    numbers = (f"35385{PHONE_CANARY}", f"85 {PHONE_CANARY}", f"85 {PHONE_CANARY[:3]} {PHONE_CANARY[3:]}")
    return Needles([CANARY, *numbers])


def test_a_person_who_is_new_in_every_detail_goes_through_the_story(world: World) -> None:
    """Create an account, fill in everything, share it, change it, be asked for it: all of it with unique values."""
    mark = f"{CANARY}{'j' if world.scripts else 'n'}"
    person = world.stranger({"name": f"Nora {mark}"})
    person.create_account(f"{mark}@people.example.org")
    person.change("Full name", person.name)
    person.change("Email address", f"{mark}@mail.example.org")
    person.change("Mobile phone number", f"+353 85 {PHONE_CANARY}")
    person.start_changing("Home address")
    person.fill_in_address("Ireland", {"Address line 1": f"7 {mark} Lane", "Town or city": f"Bally{mark}"})
    person.save()
    expect(person.row("Home address")).to_contain_text("Saved")

    person.page.goto(world.demo.company + "/connect")
    person.page.get_by_role("button", name="Connect your details").click()
    person.page.get_by_label("Email address").check()
    person.page.get_by_label("Mobile phone number").check()
    person.page.get_by_role("button", name="Share these details").click()
    person.sees(f"Thank you, {person.name}")

    company = world.company()
    company.refresh(company.find(person.name))
    person.change("Full name", f"{person.name} again")
    company.shows(company.find(f"{person.name} again"), f"7 {mark} Lane")
    person.go("/sharing")
    expect(person.sharing(BRIGHTWELL)).to_contain_text("Home address")


def test_the_database_holds_none_of_it(demo: Demo, needles: Needles) -> None:
    assert search.database(needles, demo.settings()["DATABASE_OWNER_URL"]) == []


def test_valkey_holds_none_of_it(demo: Demo, needles: Needles) -> None:
    assert search.valkey(needles, demo.settings()["REDIS_URL"]) == []


def test_no_file_holds_any_of_it(demo: Demo, needles: Needles) -> None:
    """Logs, Valkey's append-only file, PostgreSQL's tables and write-ahead log, and what the demo printed."""
    folders = (demo.data, Postgres(demo.data).home)
    logs = list(demo.data.glob("logs/*.log"))
    assert len(logs) > 3
    assert list(demo.data.rglob("*.aof"))
    assert search.files(needles, *folders, leave_out=demo.customers_files()) == []
    assert needles.in_file(demo.output) == []


def test_the_company_does_hold_it(demo: Demo, needles: Needles) -> None:
    """The values were on their way: what the search leaves out, because it is the company's own, has them."""
    assert search.files(needles, demo.customers_files()[0]) != []


def test_a_company_she_did_not_choose_holds_nothing_of_her(demo: Demo) -> None:
    hers = Needles([f"Nora {CANARY}"])
    chosen, other = demo.customers_files()
    assert search.files(hers, chosen) != []
    assert search.files(hers, other) == []


@pytest.mark.parametrize("shift", range(12))
def test_the_search_finds_what_was_planted_in_a_file(tmp_path: Path, shift: int) -> None:
    """On the edge of a block, and in each form."""
    planted = secrets.token_hex(8).encode()
    for form in (planted, planted.hex().encode(), base64.b64encode(b"x" * (shift % 3) + planted + b"yz")):
        file = tmp_path / "scratch"
        file.write_bytes(b"." * ((1 << 22) - 3 * shift) + form + b".")
        assert Needles([planted.decode()]).in_file(file) != []


def test_the_search_finds_what_was_planted_in_valkey(demo: Demo) -> None:
    planted, url = secrets.token_hex(8), demo.settings()["REDIS_URL"]
    with Redis.from_url(url) as client:
        client.hset("scratch", "field", f"hello {planted}")
        try:
            assert search.valkey(Needles([planted]), url) != []
        finally:
            client.delete("scratch")


def test_the_search_finds_what_was_planted_in_the_database(demo: Demo) -> None:
    planted, url = secrets.token_hex(8), demo.settings()["DATABASE_OWNER_URL"]
    with psycopg.connect(url.replace("postgresql+psycopg://", "postgresql://"), autocommit=True) as connection:
        connection.execute("CREATE TABLE scratch AS SELECT %s::bytea AS content", (f"a {planted}".encode(),))
        try:
            assert [find.place for find in search.database(Needles([planted]), url)] == ["table public.scratch"]
        finally:
            connection.execute("DROP TABLE scratch")
