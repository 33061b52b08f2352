"""A purpose that is withdrawn: nothing leaves under it on any way, at once and after its consents are ended."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest

from portal import db
from portal.consent import queries as consents
from portal.consent import withdrawn
from portal.ledger import queries as ledger
from portal.sync import jobs
from tests.purposes_gone import ROLES, withdraw
from tests.sync.caller import Caller
from tests.sync.test_bounds import persons_caller, reason
from tests.sync.test_drift import MAIL, ask

if TYPE_CHECKING:
    from flask.testing import FlaskClient

    from tests.sync.cast import Firm, World

NEW = "later@example.org"


@pytest.mark.parametrize("ended", [False, True], ids=["at once", "once ended"])
@pytest.mark.parametrize("role", ROLES)
def test_nothing_leaves_on_any_way(http: FlaskClient, world: World, firm: Firm, role: str, *, ended: bool) -> None:
    shared = world.share(world.person(), firm)
    jobs.drain()
    own, persons = Caller(http, world, firm), persons_caller(http, world, firm, shared)
    before = own.post("/api/v1/pulls", json={"subjects": [shared.sub]}).get_json()
    jobs.run_pull(before["id"])
    told, since = len(firm.receiver.journal), db.now()
    world.transact(lambda session: withdraw(session, firm.purpose_id, role))
    if ended:
        world.transact(lambda session: withdrawn.end_due(session, now=db.now()))
    word = "consent-ended" if ended else "purpose-withdrawn"
    world.save(shared.person_id, email__main=NEW)

    assert reason(own.get(f"/api/v1/people/{shared.sub}")) == word
    by_person = persons.get(f"/api/v1/people/{shared.sub}")
    assert by_person.status_code in {401, 403}, "its tokens end with the consent"
    assert by_person.status_code == 401 or reason(by_person) == word
    for pull in (before, own.post("/api/v1/pulls", json={"subjects": [shared.sub]}).get_json()):
        jobs.run_pull(pull["id"])
        assert "message" not in own.get(f"/api/v1/pulls/{pull['id']}/result").text
    assert "same" not in ask(own, (shared.sub, {MAIL: NEW})).text
    jobs.drain()
    for message in firm.receiver.journal[told:]:
        assert message.values == {}
        assert message.consent is not None
        assert (message.consent["state"], message.consent["change"]) == ("ended", "ended")
    seen = world.transact(lambda session: ledger.of_person(session, person_id=shared.person_id))
    after = [row for row in seen if row.at >= since and row.channel != "consent"]
    assert not any(row.given for row in after)
    assert word in {row.reason for row in after if row.outcome == "denied"}


@pytest.mark.parametrize("role", ROLES)
def test_the_company_is_told_of_each_consent_that_it_ended(world: World, firm: Firm, role: str) -> None:
    people = [world.share(world.person(), firm) for _ in range(3)]
    world.step("pause", people[2])
    jobs.drain()
    told = len(firm.receiver.journal)
    world.transact(lambda session: withdraw(session, firm.purpose_id, role))
    world.transact(lambda session: withdrawn.end_due(session, now=db.now()))
    jobs.drain()
    news = firm.receiver.journal[told:]
    assert sorted(
        (message.claims["sub_id"]["sub"], message.consent["change"]) for message in news if message.consent
    ) == sorted((shared.sub, "ended") for shared in people)
    for shared in people:
        held = world.transact(partial(consents.by_id, grant_id=shared.grant_id))
        assert held.state == "ended"
