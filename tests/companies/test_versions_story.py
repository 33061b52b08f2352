"""Whatever staff and operators do, and however they race: one version is live, and none ever says something else."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as how
from hypothesis import strategies as st

from portal import db
from portal.companies import purpose_queries, queries, services, versions
from portal.companies.models import Purpose
from portal.errors import RefusedError
from tests.companies.test_versions import CODE, SAID, client_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.orm import Session

    from portal.config import Settings

    Make = Callable[..., dict[str, Any]]

STEPS = st.lists(
    st.one_of(
        st.integers(0, 3).map(lambda days: ("revise", days)),
        st.sampled_from([("send", 0), ("take back", 0), ("live", 0), ("back", 0)]),
    ),
    min_size=3,
    max_size=14,
)


class Shelf:
    """One purpose of one app, what was ever read of its versions, and what people may be asked."""

    def __init__(self, session: Session, company: queries.CompanyFacts, environment: str) -> None:
        self.client_id = client_of(session, company, environment)
        self.live_app = environment == "live"
        said = services.declare_purpose(session, client_id=self.client_id, code=CODE, now=db.now(), **SAID)
        self.purpose_id = said.purpose_id
        self.read: dict[int, queries.PurposeFacts] = {}

    def take(self, session: Session, step: tuple[str, int]) -> None:
        """Take one step as staff or operator would; what is refused changes nothing."""
        verb, days = step
        newest = self.versions(session)[0].purpose.version
        decided: dict[str, Any] = {
            "purpose_id": self.purpose_id, "version": newest, "by": uuid4(), "words": "x", "now": db.now(),
        }  # fmt: skip
        named: dict[str, Any] = {"client_id": self.client_id, "code": CODE}
        acts: dict[str, Callable[..., object]] = {
            "revise": partial(versions.revise, **named, now=db.now(), **SAID | {"retention_days": days}),
            "send": partial(versions.send, **named, now=db.now()),
            "take back": partial(versions.take_back, **named),
            "live": partial(versions.put_live, **decided),
            "back": partial(versions.send_back, **decided),
        }
        with suppress(RefusedError):
            acts[verb](session)

    def versions(self, session: Session) -> list[purpose_queries.VersionFacts]:
        return purpose_queries.of_purpose(session, client_id=self.client_id, code=CODE)

    def check(self, session: Session) -> None:
        """Hold what must be true after each step."""
        found = self.versions(session)
        assert [one.purpose.version for one in found] == list(range(len(found), 0, -1))
        assert sum(one.state == "live" for one in found) <= 1
        assert sum(one.state in purpose_queries.OPEN for one in found) <= 1
        for one in found:
            before = self.read.setdefault(one.purpose.version, one.purpose)
            assert _content(before) == _content(one.purpose)
        self._check_asked(session, found)

    def _check_asked(self, session: Session, found: list[purpose_queries.VersionFacts]) -> None:
        asked = queries.purpose_by_code(session, self.client_id, CODE)
        if self.live_app:
            assert [one.purpose for one in found if one.state == "live"] == ([asked] if asked else [])
        else:
            assert asked == found[0].purpose
        if asked is not None:
            assert set(asked.attributes) <= set(session.get_one(Purpose, self.purpose_id).attributes)


def _content(facts: queries.PurposeFacts) -> tuple[object, ...]:
    return facts.sentence, facts.required, facts.optional, facts.retention_days, facts.mode, facts.lawful_basis


@pytest.mark.parametrize("environment", ["live", "test"])
def test_any_story(settings: Settings, facts: Make, environment: str) -> None:
    with db.transaction(settings.database_url) as session:
        company = services.register_company(session, **facts(verified=True))

    @how(max_examples=25, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    @given(steps=STEPS)
    def tell(steps: list[tuple[str, int]]) -> None:
        with db.sessions(settings.database_url)() as session:
            shelf = Shelf(session, company, environment)
            for step in steps:
                shelf.take(session, step)
                shelf.check(session)
            session.rollback()

    tell()


def test_whoever_races_leaves_it_whole(settings: Settings, facts: Make) -> None:
    with db.transaction(settings.database_url) as session:
        company = services.register_company(session, **facts(verified=True))
        shelf = Shelf(session, company, "live")

    def act(seed: int) -> None:
        chance = random.Random(seed)  # noqa: S311 - a story, not a secret
        for _ in range(8):
            verb = chance.choice(["revise", "send", "take back", "live", "live", "back"])
            with db.transaction(settings.database_url) as own:
                shelf.take(own, (verb, chance.randrange(50)))

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(act, range(4)))
    with db.transaction(settings.database_url) as session:
        shelf.check(session)
        states = {one.state for one in shelf.versions(session)}
    assert len(states) > 1
