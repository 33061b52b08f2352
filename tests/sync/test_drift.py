"""Drift checks: yes or no about what the client has anyway, logged, counted, and no way to find a value."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import secrets
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select, update

from portal import db
from portal.consumer.catalogue import CATALOGUE
from portal.ledger import queries as ledger
from portal.ledger import rules as words
from portal.oauth import ceilings
from portal.sync import drift, jobs
from portal.sync.drift import Answer, Asked
from portal.sync.models import GrantUse
from portal.vault import base64url
from portal.vault.models import PersonKey
from tests.sync.caller import Caller

if TYPE_CHECKING:
    from flask.testing import FlaskClient
    from werkzeug.test import TestResponse

    from portal.ledger.queries import Entry
    from tests.sync.cast import Firm, Shared, World

ADDRESS = "/api/v1/drift"
MAIL, PHONE, NAME = "email.main", "phone.mobile", "name.full"
KEY = bytes(range(32))


@pytest.fixture
def shared(world: World, firm: Firm) -> Shared:
    """Somebody whose details the firm has been told."""
    shared = world.share(world.person(phone__mobile="+353850123456"), firm)
    jobs.drain()
    return shared


def jcs(value: object) -> str:
    """Return RFC 8785's form of what a detail can be, written without any JSON library."""
    if value is None:
        return "null"
    if isinstance(value, dict):
        return "{" + ",".join(f"{jcs(name)}:{jcs(value[name])}" for name in sorted(value, key=_utf16)) + "}"
    assert isinstance(value, str)
    return '"' + "".join(map(_escaped, value)) + '"'


def _utf16(name: str) -> bytes:
    return name.encode("utf-16-be")


def _escaped(letter: str) -> str:
    short = {'"': '\\"', "\\": "\\\\", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
    return short.get(letter) or (f"\\u{ord(letter):04x}" if letter < " " else letter)


def theirs(key: bytes, name: str, value: object) -> str:
    """Return a company's digest, by an implementation of its own (RFC 2104 by hashlib alone)."""
    told = b"ucm-drift-v1\x00" + name.encode() + b"\x00" + jcs(value).encode()
    block = key.ljust(64, b"\x00")
    inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in block) + told).digest()
    outer = hashlib.sha256(bytes(byte ^ 0x5C for byte in block) + inner).digest()
    return base64.urlsafe_b64encode(outer).decode().rstrip("=")


def ask(caller: Caller, *subjects: tuple[str, dict[str, Any]], key: bytes = KEY) -> TestResponse:
    asked = [
        {"sub": sub, "attributes": {name: theirs(key, name, value) for name, value in values.items()}}
        for sub, values in subjects
    ]
    return caller.post(ADDRESS, json={"key": base64url.encode(key), "subjects": asked})


def one(response: TestResponse) -> dict[str, Any]:
    assert response.status_code == 200, response.text
    assert response.headers["Cache-Control"] == "no-store"
    [found] = response.get_json()["results"]
    return dict(found)


def log(world: World, shared: Shared) -> list[Entry]:
    rows: list[Entry] = world.transact(lambda session: ledger.of_person(session, person_id=shared.person_id))
    return [row for row in rows if row.channel == "drift"]


def uses(world: World, shared: Shared) -> dict[str, int]:
    mine = select(GrantUse.kind, GrantUse.used).where(GrantUse.grant_id == shared.grant_id)
    rows = world.transact(lambda session: session.execute(mine).all())
    return {kind: used for kind, used in rows if kind in {"drift", "guess"}}


def test_a_copy_is_the_same_stale_or_unknown(world: World, caller: Caller, shared: Shared) -> None:
    assert one(ask(caller, (shared.sub, {MAIL: "ada@example.org", PHONE: "+353850123456"}))) == {
        "sub": shared.sub,
        "attributes": {MAIL: "same", PHONE: "same"},
    }
    world.save(shared.person_id, email__main="new@example.org")
    assert one(ask(caller, (shared.sub, {MAIL: "ada@example.org"})))["attributes"] == {MAIL: "stale"}
    assert one(ask(caller, (shared.sub, {MAIL: "new@example.org"})))["attributes"] == {MAIL: "same"}
    assert one(ask(caller, (shared.sub, {MAIL: "bob@example.org"})))["attributes"] == {MAIL: "unknown"}


def test_what_the_person_removed_is_stale(world: World, caller: Caller, shared: Shared) -> None:
    world.save(shared.person_id, phone__mobile=None)
    assert one(ask(caller, (shared.sub, {PHONE: "+353850123456"})))["attributes"] == {PHONE: "stale"}
    assert one(ask(caller, (shared.sub, {PHONE: None})))["attributes"] == {PHONE: "same"}


def test_a_version_between_that_was_never_told_is_unknown(world: World, caller: Caller, shared: Shared) -> None:
    world.save(shared.person_id, email__main="between@example.org")
    world.save(shared.person_id, email__main="new@example.org")
    assert one(ask(caller, (shared.sub, {MAIL: "between@example.org"})))["attributes"] == {MAIL: "unknown"}
    assert one(ask(caller, (shared.sub, {MAIL: "ada@example.org"})))["attributes"] == {MAIL: "stale"}


def test_what_the_client_was_never_given_is_compared_with_nothing(world: World, caller: Caller, firm: Firm) -> None:
    shared = world.share(world.person(), firm)
    assert one(ask(caller, (shared.sub, {MAIL: "ada@example.org"})))["attributes"] == {MAIL: "unknown"}
    assert uses(world, shared) == {"drift": 1}
    caller.get(f"/api/v1/people/{shared.sub}")
    assert one(ask(caller, (shared.sub, {MAIL: "ada@example.org"})))["attributes"] == {MAIL: "same"}


def test_what_is_not_shared_is_absent(world: World, caller: Caller, firm: Firm) -> None:
    shared = world.share(world.person(phone__mobile="+353850123456"), firm, attributes=(NAME, MAIL))
    jobs.drain()
    told = one(ask(caller, (shared.sub, {MAIL: "ada@example.org", PHONE: "+353850123456"})))
    assert told["attributes"] == {MAIL: "same"}
    assert one(ask(caller, (shared.sub, {PHONE: "+353850123456"}))) == {
        "sub": shared.sub,
        "problem": "field-not-shared",
    }


def test_a_check_is_logged_as_one_bit(world: World, caller: Caller, shared: Shared) -> None:
    before = world.transact(lambda session: ledger.last_uses(session, person_id=shared.person_id))
    ask(caller, (shared.sub, {MAIL: "ada@example.org", PHONE: "x"}))
    [row] = log(world, shared)
    assert (row.outcome, row.asked, row.given, row.message_id) == ("completed", [MAIL, PHONE], {}, None)
    assert row.grant_id == shared.grant_id
    assert world.transact(lambda session: ledger.last_uses(session, person_id=shared.person_id)) == before


@pytest.mark.parametrize(("step", "problem"), [("pause", "consent-paused"), ("withdraw", "consent-withdrawn")])
def test_the_consent_of_the_moment_decides(
    *, world: World, caller: Caller, shared: Shared, step: str, problem: str
) -> None:
    world.step(step, shared)
    assert one(ask(caller, (shared.sub, {MAIL: "ada@example.org"}))) == {"sub": shared.sub, "problem": problem}
    [row] = log(world, shared)
    assert (row.outcome, row.reason, row.given) == ("denied", problem, {})
    assert uses(world, shared) == {}


def test_a_consent_to_one_look_is_not_for_checking(world: World, caller: Caller, firm: Firm) -> None:
    shared = world.share(world.person(), firm, mode="once")
    asked = (shared.sub, {MAIL: "ada@example.org"})
    assert one(ask(caller, asked))["attributes"] == {MAIL: "unknown"}
    assert caller.get(f"/api/v1/people/{shared.sub}").status_code == 200
    assert one(ask(caller, asked))["problem"] == "consent-used-up"


def test_nobody_it_knows_is_not_found(http: FlaskClient, world: World, caller: Caller, shared: Shared) -> None:
    rival = Caller(http, world, world.firm())
    for who, sub in ((rival, shared.sub), (caller, "nobody")):
        assert one(ask(who, (sub, {MAIL: "ada@example.org"}))) == {"sub": sub, "problem": "not-found"}
    assert log(world, shared) == []


def test_people_are_answered_in_the_order_asked(world: World, caller: Caller, firm: Firm) -> None:
    subs = [world.share(world.person(), firm).sub for _ in range(5)]
    jobs.drain()
    response = ask(caller, *((sub, {MAIL: "ada@example.org"}) for sub in reversed(subs)))
    assert [each["sub"] for each in response.get_json()["results"]] == subs[::-1]
    assert {each["attributes"][MAIL] for each in response.get_json()["results"]} == {"same"}


def test_four_checks_a_day(world: World, caller: Caller, shared: Shared, firm: Firm) -> None:
    other = world.share(world.person(), firm)
    jobs.drain()
    asked = {MAIL: "ada@example.org"}
    for _ in range(drift.CHECKS_A_DAY):
        assert one(ask(caller, (shared.sub, asked)))["attributes"] == {MAIL: "same"}
    for _ in range(3):
        refused = ask(caller, (shared.sub, asked))
        assert (refused.status_code, refused.get_json()["type"].rpartition("/")[2]) == (429, "too-often")
        assert 0 < int(refused.headers["Retry-After"]) <= 86_400
    both = ask(caller, (shared.sub, asked), (other.sub, asked))
    first, second = both.get_json()["results"]
    assert first["problem"] == "too-often"
    assert 0 < first["retry_after"] <= 86_400
    assert second["attributes"] == {MAIL: "same"}
    assert [row.reason for row in log(world, shared)] == ["too-often", None, None, None, None]


def test_whoever_was_wrong_ten_times_waits_for_weeks(world: World, caller: Caller, shared: Shared, firm: Firm) -> None:
    def check(day: int, value: str) -> drift.Compared:
        asked = Asked(sub=shared.sub, digests={MAIL: theirs(KEY, MAIL, value), PHONE: theirs(KEY, PHONE, value)})
        [found] = world.transact(
            lambda session: drift.check(
                session,
                keyring=world.keyring,
                client_id=firm.client_id,
                key=KEY,
                subjects=[asked],
                now=db.now() + timedelta(days=day),
            )
        )
        assert isinstance(found, drift.Compared)
        return found

    assert caller.token
    for turn in range(5):
        assert set(check(turn // 4, f"guess {turn}").answers.values()) == {Answer.UNKNOWN}
    assert uses(world, shared)["guess"] in {2, 8}
    refused = check(2, "guess")
    assert refused.problem == "too-often"
    # Eight of the ten were on the first day, and all of those count until thirty days later.
    assert timedelta(days=27) < timedelta(seconds=refused.wait) <= timedelta(days=28)
    assert check(29, "guess").problem == "too-often"
    assert check(30, "guess").problem == ""


def test_guesses_are_forgotten_when_they_count_no_more(world: World, caller: Caller, shared: Shared) -> None:
    ask(caller, (shared.sub, {MAIL: "x"}))
    both, guessed = {"drift": 1, "guess": 1}, {"guess": 1}
    for days, left in ((2, both), (3, guessed), (30, guessed), (31, {})):
        later = db.now() + timedelta(days=days)
        world.transact(partial(ceilings.forget, now=later))
        assert uses(world, shared) == left


def test_many_at_the_same_moment_get_no_more(world: World, firm: Firm, shared: Shared) -> None:
    asked = [Asked(sub=shared.sub, digests={MAIL: theirs(KEY, MAIL, "wrong")})]

    def check(_turn: int) -> str:
        [found] = world.transact(
            lambda session: drift.check(
                session, keyring=world.keyring, client_id=firm.client_id, key=KEY, subjects=asked, now=db.now()
            )
        )
        return str(found.problem)

    with ThreadPoolExecutor(12) as pool:
        problems = list(pool.map(check, range(36)))
    assert problems.count("") == drift.CHECKS_A_DAY
    assert uses(world, shared) == {"drift": 36, "guess": drift.CHECKS_A_DAY}
    assert len(log(world, shared)) == drift.CHECKS_A_DAY + 1


def test_two_checks_of_the_same_people_never_wait_for_each_other_in_a_ring(world: World, firm: Firm) -> None:
    subs = [world.share(world.person(), firm).sub for _ in range(10)]
    jobs.drain()
    digests = {MAIL: theirs(KEY, MAIL, "ada@example.org")}

    def check(turn: int) -> int:
        order = subs if turn % 2 else subs[::-1]
        found = world.transact(
            lambda session: drift.check(
                session,
                keyring=world.keyring,
                client_id=firm.client_id,
                key=KEY,
                subjects=[Asked(sub=sub, digests=digests) for sub in order],
                now=db.now(),
            )
        )
        return sum(each.answers == {MAIL: Answer.SAME} for each in found)

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(check, range(8))) == drift.CHECKS_A_DAY * len(subs)


GUESSABLE = ("birth.date", "language.preferred", "contact.channel", "name.full", "name.known_as")


def test_what_is_easily_guessed_is_known() -> None:
    assert tuple(sorted(name for name, entry in CATALOGUE.items() if entry.guessable)) == tuple(sorted(GUESSABLE))
    # Whoever is wrong as often as they may be finds, within a year, less than one in five thousand.
    guesses_a_year = (drift.MOST_GUESSES + 6) * 366 / ceilings.GUESSES_COUNT_FOR.days
    assert all(entry.guessable or guesses_a_year / 2**entry.bits < 1 / 5000 for entry in CATALOGUE.values())


@pytest.mark.parametrize("name", GUESSABLE)
def test_what_is_easily_guessed_is_refused(world: World, caller: Caller, shared: Shared, name: str) -> None:
    response = ask(caller, (shared.sub, {MAIL: "ada@example.org", name: "x"}))
    assert response.status_code == 422
    body = response.get_json()
    assert body["type"].rpartition("/")[2] == "attribute-guessable"
    assert body["errors"][0]["pointer"] == "/subjects/0/attributes"
    assert log(world, shared) == []


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "/key"),
        ({"key": "A" * 42}, "/key"),
        ({"key": "A" * 42 + "B"}, "/key"),
        ({"key": "A" * 43, "subjects": []}, "/subjects"),
        ({"key": "A" * 43, "subjects": [{"sub": "a", "attributes": {}}]}, "/subjects/0/attributes"),
        ({"key": "A" * 43, "subjects": [{"sub": "a", "attributes": {MAIL: "short"}}]}, "/subjects/0/attributes"),
        ({"key": "A" * 43, "subjects": [{"sub": "a", "attributes": {"shoe": "A" * 43}}]}, "/subjects/0/attributes"),
        ({"key": "A" * 43, "subjects": [{"sub": "a", "attributes": {MAIL: "A" * 43}}] * 2}, "/subjects"),
        (
            {"key": "A" * 43, "subjects": [{"sub": f"s{n}", "attributes": {MAIL: "A" * 43}} for n in range(101)]},
            "/subjects",
        ),
    ],
)
def test_a_bad_body_is_answered_with_a_pointer(caller: Caller, body: dict[str, Any], pointer: str) -> None:
    response = caller.post(ADDRESS, json=body)
    assert response.status_code == 422
    assert response.get_json()["errors"][0]["pointer"] == pointer


def test_strangers_are_refused(http: FlaskClient, world: World, firm: Firm) -> None:
    assert http.post(ADDRESS, json={}).status_code == 401
    assert Caller(http, world, firm, "grant_management_query").post(ADDRESS, json={}).status_code == 403


@given(
    value=st.one_of(
        st.none(),
        st.text(st.characters(exclude_categories=["Cs"])),
        st.dictionaries(st.text("abcdefghijklmnopqrstuvwxyz_"), st.text(st.characters(exclude_categories=["Cs"]))),
    ),
    key=st.binary(min_size=32, max_size=32),
)
def test_both_sides_come_to_the_same_digest(value: object, key: bytes) -> None:
    """Written out by hand here, as a company in any language would."""
    stored = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    assert drift.digest(key, PHONE, stored) == theirs(key, PHONE, value)
    assert drift.digest(key, MAIL, stored) != theirs(key, PHONE, value)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=st.lists(st.tuples(st.sampled_from(["save", "drain", "pull"]), st.integers(0, 4)), max_size=8),
    asked=st.integers(0, 4),
)
def test_the_answer_follows_from_what_was_saved_and_what_was_told(
    *, world: World, http: FlaskClient, steps: list[tuple[str, int]], asked: int
) -> None:
    """A model: the versions there are, and those the client was told."""
    firm = world.firm()
    caller = Caller(http, world, firm)
    person = world.person(email__main="v0@example.org")
    shared = world.share(person, firm)
    current, told = 0, set[int]()
    for step, number in steps:
        if step == "save":
            world.save(person, email__main=f"v{number}@example.org")
            current = number
        elif step == "drain":
            jobs.drain()
            told.add(current)
        else:
            assert caller.get(f"/api/v1/people/{shared.sub}").status_code == 200
            told.add(current)
    expected = "unknown" if not told else "same" if asked == current else "stale" if asked in told else "unknown"
    key = secrets.token_bytes(32)
    assert one(ask(caller, (shared.sub, {MAIL: f"v{asked}@example.org"}), key=key))["attributes"] == {MAIL: expected}


_DOCUMENT = (Path(__file__).parents[2] / "docs" / "companies" / "copies.md").read_text()
_VECTORS = re.findall(r"^\| `([a-z.]+)` \| `(.+)` \| `([\w-]{43})` \|$", _DOCUMENT, re.MULTILINE)


def test_the_published_vectors_hold_on_both_sides() -> None:
    assert len(_VECTORS) == 4
    for name, canonical, published in _VECTORS:
        value = json.loads(canonical)
        assert jcs(value) == canonical
        assert theirs(KEY, name, value) == published
        assert drift.digest(KEY, name, canonical) == published
    assert base64url.encode(KEY) in _DOCUMENT


def test_what_another_was_given_is_nothing_this_one_has(world: World, http: FlaskClient, shared: Shared) -> None:
    other = world.firm(enabled=False)
    mine = world.share(shared.person_id, other)
    told = one(ask(Caller(http, world, other), (mine.sub, {MAIL: "ada@example.org"})))
    assert told["attributes"] == {MAIL: "unknown"}
    assert uses(world, mine) == {"drift": 1}


def test_what_was_refused_was_not_given(world: World, caller: Caller, firm: Firm) -> None:
    firm.receiver.behave = lambda _number: (500, {}, b"")
    shared = world.share(world.person(), firm)
    jobs.drain()
    assert one(ask(caller, (shared.sub, {MAIL: "ada@example.org"})))["attributes"] == {MAIL: "unknown"}


def test_a_broken_seal_is_that_persons_alone(world: World, caller: Caller, firm: Firm, shared: Shared) -> None:
    other = world.share(world.person(), firm)
    jobs.drain()
    spoilt = update(PersonKey).where(PersonKey.person_id == shared.person_id).values(commitment=b"x" * 32)
    world.transact(lambda session: session.execute(spoilt))
    asked = {MAIL: "ada@example.org"}
    first, second = ask(caller, (shared.sub, asked), (other.sub, asked)).get_json()["results"]
    assert set(first) == {"sub", "problem"}
    assert second["attributes"] == {MAIL: "same"}
    assert [row.outcome for row in log(world, shared)] == []


def test_people_read_that_it_was_a_check_and_no_more() -> None:
    assert words.how("drift", None) == "They checked whether their copy is up to date (yes or no)"
    assert words.outcome("drift", "completed", None) == "Answered, no detail was sent"
    assert words.outcome("drift", "denied", "too-often").startswith("Refused: ")
