"""A stranger's slow server must not hold the threads that everybody's pages need."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from tests.sync.receiver import Held
from tests.timing import until

if TYPE_CHECKING:
    from werkzeug.test import TestResponse

    from tests.bad_input.cast import Cast, Visitor
    from tests.sync.cast import Firm


def _prove(visitor: Visitor, firm: Firm) -> TestResponse:
    return visitor.send(f"/org/apps/{firm.client_id}/endpoint", [("url", firm.receiver.url)])


def test_one_slow_proof_at_a_time(fresh: Cast) -> None:
    held = fresh.firm.receiver.behave = Held()
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(_prove, fresh.staff, fresh.firm)
        until(lambda: held.holding == 1)
        busy = _prove(fresh.rival_staff, fresh.rival)
        # It was told so while the other one was still waited for.
        assert held.holding == 1
        held.let_go()
        assert busy.status_code == 422
        assert "Try again in a few seconds" in busy.text
        assert fresh.rival.receiver.url in busy.text
        assert slow.result().status_code == 303
    assert _prove(fresh.rival_staff, fresh.rival).status_code == 303
