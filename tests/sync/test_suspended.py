"""An app that an operator suspended gets nothing by any way; what it is owed waits, and leaves when that is lifted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from portal import events
from portal.companies import clients
from portal.sync import jobs, services
from tests.sync.caller import Caller

if TYPE_CHECKING:
    from flask.testing import FlaskClient

    from tests.sync.cast import World


def test_nothing_leaves_until_it_is_lifted_and_then_all_that_is_owed(http: FlaskClient, world: World) -> None:
    events.listen(events.ClientLifted, services.on_client_lifted)
    firm = world.firm()
    person_id = world.person()
    shared = world.share(person_id, firm)
    caller = Caller(http, world, firm)
    jobs.drain()
    before = len(firm.receiver.journal)
    assert before == 1
    assert caller.get(f"/api/v1/people/{shared.sub}").status_code == 200

    world.transact(lambda session: clients.suspend(session, client_id=firm.client_id))
    world.save(person_id, name__full="Ada Byrne Lovelace")
    jobs.drain()
    assert len(firm.receiver.journal) == before
    assert caller.get(f"/api/v1/people/{shared.sub}").status_code in {401, 403}

    world.transact(lambda session: clients.lift(session, client_id=firm.client_id))
    jobs.drain()
    assert len(firm.receiver.journal) == before + 1
    assert firm.receiver.journal[-1].values["name.full"] == (2, "Ada Byrne Lovelace")
    assert caller.get(f"/api/v1/people/{shared.sub}").status_code == 200
