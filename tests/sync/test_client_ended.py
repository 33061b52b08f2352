"""A client that was ended is sent nothing more, and what people shared with it ends."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from portal import config, db, wiring
from portal.companies import clients
from portal.companies import queries as companies
from portal.consent import queries as consents
from portal.consent import terms
from portal.errors import NotFoundError
from portal.sync import courier, jobs

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from tests.sync.cast import Firm, Shared, World


@pytest.fixture
def ended(world: World) -> tuple[Firm, Shared]:
    wiring.wire()
    firm = world.firm()
    shared = world.share(world.person(email__main="ada@example.org"), firm)
    world.transact(lambda session: clients.end(session, client_id=firm.client_id, now=db.now()))
    return firm, shared


def test_the_tidy_ends_what_was_shared(world: World, ended: tuple[Firm, Shared]) -> None:
    _, shared = ended
    jobs.tidy(config.current(), now=db.now())
    grant = world.transact(
        lambda session: consents.grant(session, person_id=shared.person_id, grant_id=shared.grant_id)
    )
    assert grant.state == "ended"


def test_nothing_is_sent_any_more(world: World, ended: tuple[Firm, Shared]) -> None:
    firm, _ = ended
    jobs.tidy(config.current(), now=db.now())
    endpoint = world.endpoint(firm)
    assert (endpoint.state, endpoint.last_problem) == ("disabled", "The app was ended.")
    world.due_now()
    courier.drain(config.current())
    assert firm.receiver.journal == []


def test_nobody_can_share_with_it_again(world: World, ended: tuple[Firm, Shared]) -> None:
    firm, _ = ended
    with pytest.raises(terms.ClientSuspendedError):
        world.transact(lambda session: consents.offer(session, firm.client_id, firm.purpose_id))


def test_what_is_ended_is_not_changed(world: World, ended: tuple[Firm, Shared]) -> None:
    firm, _ = ended

    def change(session: Session) -> None:
        found = companies.client(session, firm.client_id)
        assert found
        described = clients.described(found)
        clients.replace(session, client_id=firm.client_id, described=described, keys=None, now=db.now())

    with pytest.raises(NotFoundError):
        world.transact(change)
