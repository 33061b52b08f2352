"""Questions over HTTP: a company's own, without what the person wrote, and answered once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from portal import db
from portal.disputes import queries as dispute_queries
from portal.disputes import services as disputes
from portal.ledger import queries as ledger
from tests.sync.caller import Caller

if TYPE_CHECKING:
    from uuid import UUID

    from flask.testing import FlaskClient

    from tests.sync.cast import Shared, World

WORDS = "Zirkonia: I closed my account."


@pytest.fixture
def row(world: World, shared: Shared) -> UUID:
    """The row of Ada's consent, asked about."""

    def ask(session: Any) -> UUID:  # noqa: ANN401 - a session
        (entry,) = ledger.of_person(session, person_id=shared.person_id)
        disputes.ask(session, keyring=world.keyring, entry=entry, choice="else", words=WORDS, pause=False, now=db.now())
        return entry.disclosure_id

    found: UUID = world.transact(ask)
    return found


def test_a_question_is_listed_answered_once_and_kept(caller: Caller, world: World, shared: Shared, row: UUID) -> None:
    listed = caller.get("/api/v1/questions")
    assert listed.status_code == 200
    [one] = listed.get_json()["questions"]
    assert one["id"] == str(row)
    assert one["sub"] == shared.sub
    assert (one["state"], one["may_answer"], one["channel"]) == ("asked", True, "consent")
    assert "Zirkonia" not in listed.text
    assert "Ada" not in listed.text
    address = f"/api/v1/questions/{row}"
    told = caller.post(f"{address}/answer", json={"explanation": " For your bill.\r\nOf May. "})
    assert (told.status_code, told.get_json()["state"], told.get_json()["may_answer"]) == (200, "answered", False)
    again = caller.post(f"{address}/answer", json={"explanation": "Another."})
    assert again.status_code == 409
    assert again.get_json()["type"].endswith("/question-answered")
    assert caller.get("/api/v1/questions").get_json() == {"questions": []}
    assert caller.get(address).get_json()["state"] == "answered"

    def said(session: Any) -> list[str]:  # noqa: ANN401 - a session
        held = dispute_queries.one(session, person_id=shared.person_id, disclosure_id=row)
        assert held
        return [one.words for one in dispute_queries.steps(session, keyring=world.keyring, held=held)]

    assert world.transact(said) == [WORDS, "For your bill.\nOf May."]


@pytest.mark.parametrize("explanation", ["", " \u200b ", "x" * 2001, "a\x00", 7, None])
def test_an_explanation_that_cannot_be_shown_is_pointed_at(caller: Caller, row: UUID, explanation: object) -> None:
    refused = caller.post(f"/api/v1/questions/{row}/answer", json={"explanation": explanation})
    assert refused.status_code == 422
    assert refused.get_json()["errors"][0]["pointer"] == "/explanation"


def test_what_is_settled_takes_no_answer(caller: Caller, world: World, shared: Shared, row: UUID) -> None:
    mine: dict[str, Any] = {"person_id": shared.person_id, "disclosure_id": row, "now": db.now()}
    world.transact(lambda session: disputes.settle(session, **mine))
    refused = caller.post(f"/api/v1/questions/{row}/answer", json={"explanation": "Late."})
    assert refused.status_code == 409
    assert refused.get_json()["type"].endswith("/question-settled")


def test_another_app_finds_nothing(http: FlaskClient, world: World, row: UUID) -> None:
    rival = Caller(http, world, world.firm(enabled=False))
    assert rival.get("/api/v1/questions").get_json() == {"questions": []}
    assert rival.get(f"/api/v1/questions/{row}").status_code == 404
    assert rival.post(f"/api/v1/questions/{row}/answer", json={"explanation": "Ours."}).status_code == 404
