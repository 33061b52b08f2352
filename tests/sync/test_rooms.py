"""Streams that take their time, many at once: they have a room of their own, and nobody else waits for them."""

from __future__ import annotations

import threading
import time
from contextlib import nullcontext
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import func, select, update

from portal.egress import exchanges
from portal.sync import courier, jobs, rooms
from portal.sync.models import Delivery, Stream
from tests.sync import cast
from tests.sync.lingering import Lingering

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tests.sync.cast import Firm, World

LINGERS = 1.5
# Less than what is under way may still take before it is given up.
SOON = 2.0
STREAMS, AT_ONCE, PEOPLE = 4, 4, 6


@pytest.fixture
def lingering() -> Iterator[Lingering]:
    made = Lingering(LINGERS)
    yield made
    made.close()


@pytest.fixture(params=["", "strict"])
def strict(request: pytest.FixtureRequest) -> bool:
    """Whether everybody's consents are held until the answer."""
    return bool(request.param)


@pytest.fixture
def crowd(*, world: World, lingering: Lingering, strict: bool, monkeypatch: pytest.MonkeyPatch) -> Sequence[Firm]:
    """Slow streams that could fill twice the places there are, and owe a message to each of some people."""
    monkeypatch.setattr(rooms, "PLACES", STREAMS * AT_ONCE // 2)
    monkeypatch.setattr(exchanges, "_ANSWER_SECONDS", 0.3)
    cast.allow(f"127.0.0.1:{lingering.port}")
    firms = [world.firm() for _ in range(STREAMS)]
    for firm in firms if strict else ():
        world.make_strict(firm)
    slow = update(Stream).where(Stream.client_id.in_([firm.client_id for firm in firms]))
    world.transact(lambda session: session.execute(slow.values(url=lingering.url, in_flight=AT_ONCE)))
    for _ in range(PEOPLE):
        person_id = world.person()
        for firm in firms:
            world.share(person_id, firm)
    return firms


@pytest.fixture
def draining(world: World, crowd: Sequence[Firm], firm: Firm) -> Iterator[None]:
    """A worker that drains all the time, and may reach each of these."""
    assert firm
    over = threading.Event()

    def work() -> None:
        while not over.is_set():
            jobs.drain()

    worker = threading.Thread(target=work)
    worker.start()
    yield
    over.set()
    world.disable(crowd)
    worker.join()


def within(seconds: float, holds: Callable[[], bool]) -> None:
    """Wait for what has to hold by then."""
    began = time.monotonic()
    while not holds():
        assert time.monotonic() - began < seconds
        time.sleep(0.005)


@pytest.mark.usefixtures("draining")
def test_nobody_waits_for_a_crowd_of_slow_streams(
    *, world: World, firm: Firm, lingering: Lingering, strict: bool
) -> None:
    person_id = world.person()
    if strict:
        world.make_strict(firm)
    world.share(person_id, firm)
    # All at once, and the first time that anybody hears of them: until they show as slow, and not as long as they are.
    with nullcontext() if strict else lingering.silent():
        within(LINGERS + SOON if strict else SOON, lambda: len(firm.receiver.journal) == 1)
    with lingering.silent():
        for number in range(2, 8):
            world.save(person_id, email__main=f"x{number}@example.org")
            within(SOON, lambda: len(firm.receiver.journal) == number)  # noqa: B023 - called at once
            time.sleep(0.1)
    assert lingering.most >= min(rooms.PLACES, courier._STRICT)  # noqa: SLF001 - there was a crowd indeed


@pytest.mark.usefixtures("draining")
def test_a_crowd_of_slow_streams_gets_all_it_is_owed(world: World, crowd: Sequence[Firm], lingering: Lingering) -> None:
    owed = select(func.count()).where(
        Delivery.client_id.in_([firm.client_id for firm in crowd]), Delivery.generation > Delivery.acked_generation
    )
    within(20, lambda: world.transact(lambda session: session.scalar(owed)) == 0)
    assert lingering.answered == STREAMS * PEOPLE
    # A claim may overfill their room once; they never have all there is.
    assert lingering.most <= STREAMS * AT_ONCE
