"""Rows are written in one statement, read newest first, and their latest outcome wins."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from sqlalchemy import event, text

from portal import db
from portal.ledger import queries, refusals, rules, services
from portal.ledger.queries import Wanted
from portal.ledger.services import NewDisclosure, NewOutcome
from tests.counting import prepared

if TYPE_CHECKING:
    from uuid import UUID

    from sqlalchemy.orm import Session

NOW = db.now()
COMPANY = uuid4()


@pytest.fixture
def context_id(session: Session) -> UUID:
    return services.context(
        session, company_id=COMPANY, client_id="test_a", company_name="Brightwell", purpose="send bills"
    )


def row(person_id: UUID, context_id: UUID, *, ago: int = 0, **members: Any) -> NewDisclosure:  # noqa: ANN401 - any column of a row
    facts: dict[str, Any] = {"channel": "push", "outcome": "sending", "asked": ["a"], "given": {"a": 1}}
    return NewDisclosure(
        person_id=person_id,
        at=NOW - timedelta(seconds=ago),
        context_id=context_id,
        **(facts | members),
    )


def became(disclosure: NewDisclosure, outcome: str) -> NewOutcome:
    return NewOutcome(
        person_id=disclosure.person_id,
        at=disclosure.at,
        disclosure_id=disclosure.disclosure_id,
        outcome=outcome,
        detail="HTTP 202",
        milliseconds=12,
    )


def test_the_same_words_have_the_same_id(session: Session, context_id: UUID) -> None:
    words: dict[str, Any] = {"company_id": COMPANY, "client_id": "test_a", "company_name": "Brightwell"}
    assert services.context(session, **words, purpose="send bills") == context_id
    assert services.context(session, **words, purpose="sell things") != context_id


def test_a_row_comes_back_as_it_was_logged(session: Session, context_id: UUID) -> None:
    person_id, grant_id = uuid4(), uuid4()
    logged = row(
        person_id,
        context_id,
        asked=("a", "b"),
        given=MappingProxyType({"b": 3}),
        grant_id=grant_id,
        grant_version=2,
        message_id="m-é",
    )
    services.record(session, logged)
    [entry] = queries.of_person(session, person_id=person_id)
    assert (entry.asked, entry.given, entry.message_id) == (["a", "b"], {"b": 3}, "m-é")
    assert (entry.company_name, entry.purpose, entry.company_id) == ("Brightwell", "send bills", COMPANY)
    assert (entry.at, entry.disclosure_id, entry.grant_id) == (logged.at, logged.disclosure_id, grant_id)
    assert (entry.outcome, entry.reported_at) == ("sending", None)
    assert queries.one(session, person_id=person_id, disclosure_id=logged.disclosure_id) == entry
    assert queries.one(session, person_id=uuid4(), disclosure_id=logged.disclosure_id) is None


@pytest.mark.parametrize(
    ("reported", "shown"),
    [
        ([], "sending"),
        (["failed"], "failed"),
        (["failed", "unknown"], "unknown"),
        (["unknown", "completed"], "completed"),
        (["completed", "failed"], "completed"),
        (["failed", "failed"], "failed"),
    ],
)
def test_the_latest_outcome_wins_and_completed_wins_over_all(
    session: Session, context_id: UUID, reported: list[str], shown: str
) -> None:
    logged = row(uuid4(), context_id, ago=86_400 * 20)
    services.record(session, logged)
    for later, outcome in enumerate(reported):
        services.report(session, became(logged, outcome), now=NOW + timedelta(seconds=later))
    [entry] = queries.of_person(session, person_id=logged.person_id)
    assert entry.outcome == shown


def test_a_thousand_rows_are_one_statement(session: Session, context_id: UUID) -> None:
    person_id, others = uuid4(), []
    rows = [row(person_id, context_id, ago=n) for n in range(1000)]
    connection = session.connection()
    event.listen(connection, "before_cursor_execute", lambda *args: others.append(args[2]))
    with prepared() as sent:
        services.record(session, *rows)
        assert (len(sent), others) == (1, [])
        services.report(session, *[became(one, "completed") for one in rows], now=NOW)
    assert (len(sent), others) == (2, [])
    assert len(queries.of_person(session, person_id=person_id, limit=2000)) == 1000


def test_nothing_to_log_asks_nothing_of_the_database(session: Session) -> None:
    services.record(session)
    services.report(session, now=NOW)


def test_pages_follow_each_other_without_gap_or_repeat(session: Session, context_id: UUID) -> None:
    person_id = uuid4()
    # Three rows share each moment, so that only the pair (at, disclosure_id) tells where a page ended.
    services.record(session, *[row(person_id, context_id, ago=n // 3) for n in range(10)])
    seen, before = [], None
    while part := queries.of_person(session, person_id=person_id, limit=4, before=before):
        seen += part
        before = (part[-1].at, part[-1].disclosure_id)
    assert len({entry.disclosure_id for entry in seen}) == len(seen) == 10
    assert seen == sorted(seen, key=lambda entry: (entry.at, entry.disclosure_id), reverse=True)


def test_a_list_can_be_narrowed(session: Session, context_id: UUID) -> None:
    person_id, grant_id, other = uuid4(), uuid4(), uuid4()
    elsewhere = services.context(session, company_id=other, client_id="c", company_name="Acme", purpose="p")
    services.record(session, row(person_id, context_id, grant_id=grant_id), row(person_id, elsewhere, ago=60))
    spans = {"month": (NOW - timedelta(seconds=90), NOW - timedelta(seconds=30))}
    narrowed: list[dict[str, Any]] = [{"company_id": other}, {"grant_id": grant_id}, spans]
    wanted = [Wanted(**one) for one in narrowed]
    names = [queries.of_person(session, person_id=person_id, wanted=one)[0].company_name for one in wanted]
    counts = [len(queries.of_person(session, person_id=person_id, wanted=one)) for one in wanted]
    assert (names, counts) == (["Acme", "Brightwell", "Acme"], [1, 1, 1])
    assert queries.companies_of_person(session, person_id=person_id) == [(other, "Acme"), (COMPANY, "Brightwell")]


def test_uses_are_what_was_received(session: Session, context_id: UUID) -> None:
    person_id, grant_id = uuid4(), uuid4()
    received = row(person_id, context_id, grant_id=grant_id, ago=5)
    services.record(
        session,
        received,
        row(person_id, context_id, grant_id=grant_id, channel="pull", outcome="completed", ago=9),
        row(person_id, context_id, grant_id=grant_id, outcome="denied", given={}),
        row(person_id, context_id, grant_id=grant_id, outcome="sending"),
        row(person_id, context_id, grant_id=grant_id, channel="consent", outcome="completed", given={}),
    )
    services.report(session, became(received, "completed"), now=NOW)
    assert queries.last_uses(session, person_id=person_id) == {grant_id: (received.at, 2)}


@pytest.mark.parametrize(
    ("members", "used"),
    [
        ({"outcome": "sending"}, True),
        ({"outcome": "completed", "channel": "pull"}, True),
        ({"outcome": "denied"}, False),
        ({"outcome": "completed", "channel": "consent"}, False),
    ],
)
def test_once_is_used_up_by_whatever_left(
    session: Session, context_id: UUID, members: dict[str, Any], *, used: bool
) -> None:
    person_id, grant_id = uuid4(), uuid4()
    services.record(session, row(person_id, context_id, grant_id=grant_id, **members))
    assert queries.was_used(session, person_id=person_id, grant_id=grant_id) is used


def test_months_are_opened_ahead(session: Session) -> None:
    far = datetime(2031, 11, 30, 23, tzinfo=UTC)
    services.open_months(session, now=far)
    services.open_months(session, now=far)
    made = session.scalars(text("SELECT relname FROM pg_class WHERE relname LIKE 'disclosure_203%' ORDER BY 1"))
    assert [name for name in made if name.count("_") == 2] == [
        "disclosure_2031_11",
        "disclosure_2031_12",
        "disclosure_2032_01",
        "disclosure_2032_02",
    ]


@pytest.mark.parametrize(
    ("channel", "latest", "reason", "words"),
    [
        *[
            (channel, latest, None, words)
            for channel in ("push", "notice")
            for latest, words in {
                "sending": "On its way, no answer yet",
                "completed": "Received",
                "failed": "Not accepted",
                "unknown": "We do not know whether it arrived",
                "suppressed": "Not sent",
            }.items()
        ],
        ("poll", "sending", None, "Collected, not confirmed yet"),
        ("poll", "completed", None, "Received"),
        ("poll", "failed", None, "Collected, and they could not use it"),
        ("poll", "unknown", None, "Collected, and never confirmed"),
        ("batch", "sending", None, "Ready for them, not fetched yet"),
        ("batch", "completed", None, "Received"),
        ("batch", "failed", None, "Not fetched in time, nothing was sent"),
        ("batch", "suppressed", None, "Not sent"),
        ("batch", "denied", "consent-paused", "Refused: you paused sharing"),
        ("pull", "completed", None, "Received"),
        ("pull", "suppressed", "unchanged", "Not sent: they asked whether anything had changed, and nothing had"),
        ("pull", "denied", "too-often", "Refused: they had looked as often as they may in a day"),
        ("drift", "completed", None, "Answered, no detail was sent"),
        ("drift", "denied", "too-often", "Refused: they had looked as often as they may in a day"),
        ("pull", "denied", "consent-withdrawn", "Refused: you stopped sharing"),
        ("pull", "denied", "something-new", "Refused"),
        ("consent", "denied", "refused", "You chose not to share"),
        ("consent", "completed", "withdrawn", "You stopped sharing"),
    ],
)
def test_outcomes_are_said_in_plain_words(channel: str, latest: str, reason: str | None, words: str) -> None:
    assert rules.outcome(channel, latest, reason) == words


def test_where_refusals_have_an_end_the_last_one_is_known(session: Session, context_id: UUID) -> None:
    person_id = uuid4()
    other = services.context(session, company_id=COMPANY, client_id="b", company_name="Brightwell", purpose="p")
    refused: dict[str, Any] = {"channel": "pull", "outcome": "denied", "given": {}, "reason": "consent-withdrawn"}
    # The oldest is more than a day before the newest.
    times = [86_500, *range(refusals.MOST_A_DAY, 0, -1)]
    services.record(session, *[row(person_id, context_id, ago=ago, **refused) for ago in times])
    services.record(session, row(person_id, other, **refused), row(person_id, context_id, outcome="completed"))
    entries = queries.of_person(session, person_id=person_id, limit=200)
    assert len(entries) == 103
    full = queries.filled(session, person_id=person_id, entries=entries)
    assert [entry.at for entry in entries if entry.disclosure_id in full] == [NOW - timedelta(seconds=1)]
    assert not queries.filled(session, person_id=person_id, entries=[])


def test_checks_of_a_copy_are_refused_into_the_log_once_a_day(session: Session, context_id: UUID) -> None:
    person_id = uuid4()
    said: dict[str, Any] = {"channel": "drift", "outcome": "denied", "given": {}}
    services.record(session, row(person_id, context_id, reason="too-often", **said))
    services.record(session, row(person_id, context_id, reason="consent-paused", **said))
    entries = queries.of_person(session, person_id=person_id)
    full = queries.filled(session, person_id=person_id, entries=entries)
    assert {entry.reason for entry in entries if entry.disclosure_id in full} == {"too-often"}
