"""When the next message goes to an endpoint, as its page says it: true of what is owed and of the circuit."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import update

from portal import db
from portal.sync import jobs
from portal.sync.models import Delivery, Stream
from portal.web import dates

if TYPE_CHECKING:
    from datetime import datetime

    from tests.companies.browser import Browser
    from tests.sync.cast import Firm, Shared, World


def upcoming(browser: Browser, firm: Firm) -> tuple[str, str] | None:
    page = browser.get(f"/org/deliveries/endpoints/{firm.client_id}").text
    found = re.search(r"<dt>(Next probe|Next message)</dt><dd>([^<]*)</dd>", page)
    return (found.group(1), found.group(2)) if found else None


def clock(moment: datetime) -> str:
    return f"{dates.day(moment)}, {dates.clock(moment)}"


@pytest.mark.parametrize(
    ("due", "until", "words"),
    [
        (None, None, "When there is something to send"),
        (None, 5, "When there is something to send, not before {until}"),
        (0, None, "Now"),
        (0, -5, "Now"),
        (0, 5, "{until}"),
        (5, 5, "{until}"),
        (60, 5, "{due}, or sooner if something changes"),
        (60, None, "{due}, or sooner if something changes"),
    ],
)
@pytest.mark.parametrize("step", [0, 1])
def test_the_next_message_is_named_by_what_is_owed_and_by_the_circuit(
    world: World, browser: Browser, firm: Firm, shared: Shared, *,
    due: int | None, until: int | None, words: str, step: int,
) -> None:  # fmt: skip
    now = db.now()
    times = {"due": now + timedelta(minutes=due or 0), "until": now + timedelta(minutes=until or 0)}
    put(world, Stream, firm, circuit_step=step, circuit_until=times["until"] if until is not None else None)
    owed: dict[str, Any] = {"due_at": times["due"]}
    put(world, Delivery, firm, **(owed if due is not None else {"acked_generation": Delivery.generation}))
    label = "Next probe" if step else "Next message"
    assert shared
    expected = words.format(**{name: clock(moment) for name, moment in times.items()})
    assert upcoming(browser, firm) == (label, expected)


@pytest.mark.parametrize("state", [{"state": "disabled"}, {"state": "paused"}, {"method": "poll"}])
def test_where_nothing_is_posted_no_message_is_promised(
    world: World, browser: Browser, firm: Firm, state: dict[str, str]
) -> None:
    put(world, Stream, firm, **state)
    assert upcoming(browser, firm) is None


def test_what_is_promised_happens(world: World, browser: Browser, firm: Firm, shared: Shared) -> None:
    """Nothing goes before the time that is said, and the probe goes then."""
    firm.receiver.behave = lambda number: (500, {}, b"") if number == 1 else None
    jobs.drain()
    in_a_while = db.now() + timedelta(minutes=5)
    put(world, Stream, firm, circuit_step=1, circuit_until=in_a_while)
    world.due_now()
    assert upcoming(browser, firm) == ("Next probe", clock(in_a_while))
    jobs.drain()
    assert firm.receiver.requests == 1
    put(world, Stream, firm, circuit_until=db.now())
    assert upcoming(browser, firm) == ("Next probe", "Now")
    jobs.reconcile()
    jobs.drain()
    assert firm.receiver.newest(shared.sub)


def put(world: World, table: Any, firm: Firm, **values: Any) -> None:  # noqa: ANN401 - a model and its columns
    now_so = update(table).where(table.client_id == firm.client_id).values(**values)
    world.transact(lambda session: session.execute(now_so))
