"""Every page of staff or operators about one person leaves a row in that person's log, and nobody else's does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from portal import db
from portal.ledger import queries
from portal.ledger.queries import Wanted
from portal.sync.models import Attempt

if TYPE_CHECKING:
    from collections.abc import Callable

    from portal.config import Settings
    from portal.ledger.queries import Entry
    from tests.bad_input.cast import Cast, Visitor


def told(cast: Cast) -> str:
    """Have something sent to the firm about Ada; return what its message is called."""
    jti = db.new_id().hex
    sent = Attempt(
        client_id=cast.firm.client_id, at=db.now(), attempt_id=db.new_id(), jti=jti, person_id=cast.shared.person_id,
        grant_id=cast.shared.grant_id, grant_version=1, generation=1, channel="push", kinds=[], outcome="completed",
        status=202, milliseconds=3, detail="", payload="{}",
    )  # fmt: skip
    cast.world.transact(lambda session: session.add(sent))
    return jti


# Which page, who may open it, and what for, as its person reads it.
PAGES: dict[str, tuple[str, Callable[[Cast], str], str]] = {
    "a message": (
        "staff",
        lambda cast: f"/org/deliveries/messages/{cast.firm.client_id}/{told(cast)}",
        "see what was sent to them and whether it arrived",
    ),
    "the deliveries of one person": (
        "staff",
        lambda cast: f"/org/deliveries?person={cast.shared.sub}&x={told(cast)}",
        "see what was sent to them and whether it arrived",
    ),
    "a person's consent": (
        "staff",
        lambda cast: f"/org/consents/{cast.shared.grant_id}",
        "see what you share with them",
    ),
    "a question": (
        "staff",
        lambda cast: f"/org/questions/{cast.disputed('asked')}",
        "read your question and answer it",
    ),
    "a question, decided": (
        "operator",
        lambda cast: f"/ops/questions/{cast.disputed('escalated')}",
        "decide about your question",
    ),
    "a question's proof": (
        "operator",
        lambda cast: f"/ops/questions/{cast.disputed('escalated')}/proof.json",
        "decide about your question",
    ),
}


def looks(settings: Settings, cast: Cast) -> list[Entry]:
    assert cast.ada.person_id
    with db.transaction(settings.database_url) as session:
        found = queries.of_person(session, person_id=cast.ada.person_id, limit=500, wanted=Wanted(decisions=False))
    return [each for each in found if each.channel in {"staff", "operator"}]


@pytest.mark.parametrize("page", PAGES)
def test_who_looks_is_in_the_log(settings: Settings, fresh: Cast, page: str) -> None:
    who, address, purpose = PAGES[page]
    visitor: Visitor = getattr(fresh, who)
    path = address(fresh)
    before = {each.disclosure_id for each in looks(settings, fresh) if each.purpose != purpose}
    for _ in range(3):
        assert visitor.client.get(path).status_code == 200
    [look] = [each for each in looks(settings, fresh) if each.disclosure_id not in before]
    assert (look.channel, look.purpose, look.given) == (who, purpose, {})
    assert look.purpose in fresh.ada.client.get(f"/activity/{look.disclosure_id}").text


@pytest.mark.parametrize("page", PAGES)
def test_who_may_not_look_leaves_nothing(settings: Settings, fresh: Cast, page: str) -> None:
    path = PAGES[page][1](fresh)
    before = looks(settings, fresh)
    for visitor in (fresh.rival_staff, fresh.bob, fresh.ada, fresh.stranger):
        visitor.client.get(path)
    assert looks(settings, fresh) == before


def test_a_list_of_many_is_about_nobody_until_it_is_asked_for_one(settings: Settings, fresh: Cast) -> None:
    told(fresh)
    assert fresh.shared.sub in fresh.staff.client.get("/org/deliveries").text
    assert looks(settings, fresh) == []
