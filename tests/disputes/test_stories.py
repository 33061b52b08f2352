"""Random stories of a question: whatever is tried in whatever order, what is kept follows from its steps."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

from hypothesis import HealthCheck, given
from hypothesis import settings as tried
from hypothesis import strategies as st

from portal import db
from portal.disputes import queries as dispute_queries
from portal.disputes import services as disputes
from portal.errors import RefusedError
from tests.disputes.asking import Asker

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from portal.config import Settings
    from portal.disputes.queries import Said
    from portal.vault.keyring import Keyring

ACTS = st.sampled_from(["answer", "escalate", "settle", "unfounded", "mend", "suspended", "wait", "wait long"])
OWED = {"asked", "escalated", "mending"}


def stands(said: list[Said]) -> str:
    """Return where a question stands, by what happened alone."""
    state = ""
    for one in said:
        assert state not in {"settled", "decided"}, "nothing follows what is over"
        if one.step == "asked":
            assert state == ""
            state = "asked"
        elif one.step == "answered":
            assert state in OWED
            state = "escalated" if state == "escalated" else "answered"
        elif one.step == "escalated":
            assert state == "answered" if one.actor == "person" else state in {"asked", "mending"}
            state = "escalated"
        elif one.step == "settled":
            assert one.actor == "person" or state == "answered"
            state = "settled"
        else:
            assert (state, one.actor) == ("escalated", "operator")
            state = "mending" if one.step == "mend" else "decided"
    return state


def attempt(asker: Asker, row: UUID, act: str, now: datetime) -> None:
    try:
        if act == "answer":
            asker.answer(row, now=now)
        elif act == "escalate":
            asker.escalate(row, now=now)
        elif act == "settle":
            asker.settle(row)
        else:
            asker.decide(row, act, now=now, days=7 if act == "mend" else None)
    except RefusedError:
        pass


@tried(
    max_examples=15, deadline=None, derandomize=True, database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)  # fmt: skip
@given(acts=st.lists(ACTS, min_size=1, max_size=12))
def test_what_is_kept_follows_from_the_steps(settings: Settings, keys: Keyring, acts: list[str]) -> None:
    asker, now = Asker(settings, keys), db.now()
    row = asker.ask(now=now)
    for act in acts:
        now += timedelta(minutes=1)
        if act.startswith("wait"):
            now += timedelta(days=40 if act == "wait long" else 4)
            while asker.transact(partial(disputes.see_to, now=now)):
                continue
        else:
            attempt(asker, row, act, now)
        said, held = asker.said(row), asker.held(row)
        assert [one.number for one in said] == list(range(1, held.steps + 1))
        assert held.state == stands(said)
        assert held.last_step == said[-1].step
        assert (held.due_at is not None) == (held.state in {"asked", "answered", "mending"})
        assert held.due_at is None or (held.look_at is not None and held.look_at <= held.due_at)
        assert sum(one.step == "answered" for one in said) <= 1 + sum(one.step in {"mend", "escalated"} for one in said)
        counted = asker.transact(partial(dispute_queries.open_disputes, company_id=asker.offer.company_id))
        assert counted == (held.state in OWED)
