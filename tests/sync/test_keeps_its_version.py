"""What somebody agreed to reaches the company on every way, also when its purpose says something else by now."""

from __future__ import annotations

from typing import TYPE_CHECKING

from portal.sync import jobs
from tests.purposes import amend
from tests.sync.caller import Caller
from tests.sync.receiver import read
from tests.sync.test_bounds import persons_caller

if TYPE_CHECKING:
    from flask.testing import FlaskClient

    from tests.sync.cast import Firm, World

NAMES = {"name.full", "email.main"}


def test_an_earlier_version_is_kept_on_every_way(http: FlaskClient, world: World, firm: Firm) -> None:
    shared = world.share(world.person(), firm, attributes=sorted(NAMES))
    jobs.drain()
    world.transact(lambda session: amend(session, firm.purpose_id, optional=[], mode="asked", sentence="do less"))
    for caller in (Caller(http, world, firm), persons_caller(http, world, firm, shared)):
        answer = caller.get(f"/api/v1/people/{shared.sub}")
        assert set(read(answer.text, portal_keys=world.portal_keys(), key=firm.receiver.key).values) == NAMES
    world.save(shared.person_id, email__main="new@example.org")
    jobs.drain()
    assert firm.receiver.journal[-1].values == {"email.main": (2, "new@example.org")}
