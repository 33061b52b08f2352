"""A stranger's slow server must not hold the threads that everybody's pages need."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from werkzeug.test import TestResponse

    from tests.bad_input.cast import Cast, Visitor
    from tests.sync.cast import Firm


def _prove(visitor: Visitor, firm: Firm) -> TestResponse:
    return visitor.send(f"/org/apps/{firm.client_id}/endpoint", [("url", firm.receiver.url)])


def test_one_slow_proof_at_a_time(fresh: Cast) -> None:
    fresh.firm.receiver.behave = lambda _number: 2.0
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(_prove, fresh.staff, fresh.firm)
        while not fresh.firm.receiver.requests:
            time.sleep(0.01)
        started = time.monotonic()
        busy = _prove(fresh.rival_staff, fresh.rival)
        assert time.monotonic() - started < 1
        assert busy.status_code == 422
        assert "Try again in a few seconds" in busy.text
        assert fresh.rival.receiver.url in busy.text
        assert slow.result().status_code == 303
    assert _prove(fresh.rival_staff, fresh.rival).status_code == 303
