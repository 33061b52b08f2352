"""Stories of a wish: whatever is said, held, shared again and however time passes, some things stay true."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from hypothesis import given
from hypothesis import settings as limits
from hypothesis import strategies as st

from portal import db, events
from portal.consent import chain, deletions, queries, services
from portal.consent import deletion_rules as rules
from portal.consent.deletions import Said
from portal.errors import PortalError
from portal.web import dates
from tests.consent.offers import NOW, Offer
from tests.consent.test_erasure import used

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from portal.config import Settings
    from portal.consent.models import Grant

SHARED = ("name.full", "email.main", "phone.mobile")
NAMES = st.sampled_from(SHARED)
STEPS = st.one_of(
    st.tuples(st.just("delete"), NAMES),
    st.tuples(st.just("hold"), NAMES, st.integers(-5, 40)),
    # The log has its months made for a quarter ahead.
    st.tuples(st.just("pass"), st.integers(1, 9)),
    st.tuples(st.just("call")),
    st.tuples(st.just("share"), st.sets(NAMES)),
)


class Story:
    """One wish, and a model of how far each detail is by what the documents promise."""

    def __init__(self, session: Session) -> None:
        self.session, self.now, self.offer = session, NOW, Offer(session)
        held = self.offer.give(session, uuid4(), attributes=SHARED)
        used(session, held)
        mine: dict[str, Any] = {"person_id": held.person_id, "grant_id": held.grant_id}
        self.held: Grant = services.withdraw(session, now=self.now, erase=True, shown={}, **mine)
        self.mine = mine
        self.states = dict.fromkeys(SHARED, "asked")
        self.due = dict.fromkeys(SHARED, self.now + timedelta(days=30))
        self.said = 0

    def act(self, step: tuple[Any, ...]) -> None:
        verb, *rest = step
        getattr(self, f"_{verb}")(*rest)
        self.check()

    def _delete(self, name: str) -> None:
        self._answer(Said(attribute=name, deleted=True))
        self.said += self.states[name] != "deleted"
        self.states[name] = "deleted"

    def _hold(self, name: str, days: int) -> None:
        until = (self.now + timedelta(days=days)).astimezone(dates.ZONE).date()
        said = Said(attribute=name, deleted=False, reason="accounts", until=until)
        fits = self.states[name] in {"asked", "held"} and days > 0
        moment = dates.midnight(until)
        same = self.states[name] == "held" and self.due[name] == moment
        assert self._answer(said) == fits
        if fits:
            self.said += not same
            self.states[name], self.due[name] = "held", moment

    def _pass(self, days: int) -> None:
        self.now += timedelta(days=days)

    def _call(self) -> None:
        over = [name for name in SHARED if self.states[name] == "held" and self.due[name] <= self.now]
        assert deletions.call_due(self.session, now=self.now) >= bool(over)
        self.said += bool(over)
        self.states |= dict.fromkeys(over, "asked")

    def _share(self, names: set[str]) -> None:
        chosen = {"name.full", *names}
        self.offer.give(self.session, self.held.person_id, attributes=chosen, now=self.now)
        self.states |= {name: "lifted" for name in chosen if self.states[name] in {"asked", "held"}}

    def _answer(self, said: Said) -> bool:
        try:
            with self.session.begin_nested():
                deletions.answer(self.session, said=[said], channel="api", now=self.now, **self.mine)
        except PortalError:
            return False
        return True

    def check(self) -> None:
        rows = deletions.of_grant(self.session, **self.mine)
        assert {row.attribute: row.state for row in rows} == self.states
        late = {row.attribute for row in rows if rules.overdue(state=row.state, due_at=row.due_at, now=self.now)}
        open_ones = {name for name, state in self.states.items() if state in {"asked", "held"}}
        assert late == {name for name in open_ones if self.due[name] <= self.now}
        counted = deletions.counts(self.session, client_ids=[self.offer.client_id], now=self.now)
        assert (counted["open"], counted["overdue"]) == (len(open_ones), len(late))
        kept = queries.versions(self.session, **self.mine)
        assert chain.intact(kept)
        assert sum(one.step.startswith("deletion-") for one in kept) == self.said


def test_what_stays_true_whatever_happens(settings: Settings) -> None:
    events.listen(events.GrantChanged, deletions.on_grant_changed)

    @limits(max_examples=30, deadline=None, derandomize=True, database=None)
    @given(st.lists(STEPS, max_size=10))
    def holds(steps: list[tuple[Any, ...]]) -> None:
        with db.sessions(settings.database_url)() as session:
            story = Story(session)
            story.check()
            for step in steps:
                story.act(step)
            session.rollback()

    holds()
