"""Whatever is asked and whatever is answered: granted within requested within the purpose."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from portal import db
from portal.companies import queries as companies
from portal.consent import services, terms
from portal.consent.terms import Effect, Wanted
from portal.consumer.catalogue import CATALOGUE, of_scopes
from portal.errors import PortalError
from portal.oauth import rich_authorization
from tests.consent.offers import Offer

if TYPE_CHECKING:
    from uuid import UUID

    from sqlalchemy.orm import Session

    from portal.companies.queries import PurposeFacts
    from portal.consent.models import Grant

ISSUER = "https://portal.example"
MODES = (terms.UPDATED, terms.ASKED, terms.ONCE)
NAMES = st.lists(st.sampled_from(list(CATALOGUE)), unique=True, max_size=6)
DAYS = {"D": 1, "W": 7, "M": 30, "Y": 365}
DURATIONS = st.builds("P{}{}".format, st.integers(0, 400), st.sampled_from("DWMY"))
ODD: st.SearchStrategy[object] = (
    st.none() | st.booleans() | st.integers() | st.text(max_size=3) | st.just([]) | st.just({})
)
PURPOSES = st.fixed_dictionaries(
    {
        "required": NAMES.filter(bool), "optional": NAMES, "mode": st.sampled_from([terms.UPDATED, *MODES]),
        "retention_days": st.integers(0, 800), "longest_days": st.just(365) | st.integers(1, 365),
    }
)  # fmt: skip


@dataclass(frozen=True)
class Story:
    """A purpose, a request for it, what was answered before if anything, and what is answered now."""

    purpose: dict[str, Any]
    request: dict[str, Any]
    scope: str
    first: dict[str, Any] | None
    answer: dict[str, Any]
    effect: Effect


@st.composite
def stories(draw: st.DrawFn) -> Story:
    """Mostly what fits, or hardly anything would ever be granted; and now and then what does not."""
    purpose = draw(PURPOSES)
    again = draw(st.booleans())
    return Story(
        purpose=purpose,
        request=draw(requests(purpose)),
        scope=draw(mostly(st.sampled_from(["openid", ""]), st.sampled_from(["email", "openid profile"]))),
        first=draw(answers(purpose)) | {"level": 2} if again else None,
        answer=draw(answers(purpose)),
        effect=draw(st.sampled_from(list(Effect) if again else [Effect.AMEND, Effect.CREATE])),
    )


def mostly(fitting: st.SearchStrategy[Any], anything: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.integers(0, 12).flatmap(lambda number: anything if number == 12 else fitting)


def details(purpose: dict[str, Any]) -> st.SearchStrategy[list[str]]:
    wishes = st.lists(st.sampled_from(purpose["optional"] or purpose["required"]), unique=True)
    return mostly(wishes.map(lambda some: list(dict.fromkeys([*purpose["required"], *some]))), NAMES)


def modes(purpose: dict[str, Any]) -> st.SearchStrategy[str]:
    return mostly(st.sampled_from(MODES[MODES.index(purpose["mode"]) :]), st.sampled_from(MODES))


def requests(purpose: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    retention = st.integers(0, purpose["retention_days"]).map("P{}D".format)
    duration = st.integers(1, purpose["longest_days"]).map("P{}D".format)
    return st.fixed_dictionaries(
        {},
        optional={
            "attributes": details(purpose),
            "actions": st.sampled_from([["read"], ["read"], ["read", "subscribe"], ["subscribe"]]),
            "mode": modes(purpose),
            "retention": mostly(retention, DURATIONS),
            "duration": mostly(duration, DURATIONS),
            "locations": st.just([f"{ISSUER}/api/v1"]),
        },
    )


def answers(purpose: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Return what a page sends; and whoever writes their own form sends anything."""
    days = st.none() | st.integers(1, purpose["longest_days"])
    return st.fixed_dictionaries(
        {
            "attributes": details(purpose),
            "mode": mostly(modes(purpose), st.just("more")),
            "days": mostly(days, st.integers()),
            "level": st.sampled_from([1, 2, 2]),
        }
    )


def declare(session: Session, columns: dict[str, Any]) -> PurposeFacts:
    needs = columns["required"]
    wishes = [name for name in columns["optional"] if name not in needs]
    reasons = {
        "required": [{"attribute": name, "reason": "To work"} for name in needs],
        "optional": [{"attribute": name, "reason": "To help"} for name in wishes],
    }
    purpose = companies.purpose(session, Offer(session, **columns | reasons).purpose_id)
    assert purpose is not None
    return purpose


def read(session: Session, purpose: PurposeFacts, request: dict[str, Any], scope: str) -> Wanted | None:
    text = json.dumps([{"type": "ucm_profile", "purpose": purpose.code, **request}])
    try:
        wanted = rich_authorization.read(
            session, client_id=purpose.client_id, text=text, scope=scope, issuer=ISSUER
        ).wanted
    except PortalError as error:
        event(f"read: {type(error).__name__}")
        return None
    within_request(wanted, request, scope)
    within_purpose(wanted, purpose)
    return wanted


def within_request(wanted: Wanted, request: dict[str, Any], scope: str) -> None:
    if "attributes" in request:
        assert set(wanted.attributes) <= {*request["attributes"], *of_scopes(scope)}
    assert wanted.mode == request.get("mode", wanted.mode)
    if "actions" in request:
        assert ("subscribe" in request["actions"]) == (wanted.mode == terms.UPDATED)
    for member, days in (("retention", wanted.retention_days), ("duration", wanted.longest_days)):
        if member in request:
            assert days == int(request[member][1:-1]) * DAYS[request[member][-1]]
    if "duration" in request:
        assert not wanted.open_ended


def within_purpose(wanted: Wanted, purpose: PurposeFacts) -> None:
    assert {name for name, _ in purpose.required} <= set(wanted.attributes) <= set(purpose.attributes)
    assert MODES.index(wanted.mode) >= MODES.index(purpose.mode)
    assert 0 <= wanted.retention_days <= purpose.retention_days
    assert 0 < wanted.longest_days <= purpose.longest_days


def give(session: Session, purpose: PurposeFacts, who: UUID, answer: dict[str, Any], **how: Any) -> Grant | None:  # noqa: ANN401
    try:
        with session.begin_nested():
            return services.give(
                session, person_id=who, client_id=purpose.client_id, purpose_id=purpose.purpose_id, shown={},
                now=db.now(), **answer, **how,
            )  # fmt: skip
    except PortalError as error:
        event(f"give: {type(error).__name__}")
        return None


@settings(max_examples=250, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(story=stories())
def test_granted_within_requested_within_purpose(session: Session, story: Story) -> None:
    with session.begin_nested() as example:
        purpose = declare(session, story.purpose)
        wanted = read(session, purpose, story.request, story.scope)
        if wanted is not None:
            check(session, purpose, wanted, story)
        example.rollback()


def check(session: Session, purpose: PurposeFacts, wanted: Wanted, story: Story) -> None:
    who, answer, effect = uuid4(), story.answer, story.effect
    earlier = give(session, purpose, who, story.first) if story.first else None
    before = rich_authorization.granted("p", earlier)[0] if earlier else None
    grant_id = earlier.grant_id if earlier else uuid4()
    grant = give(session, purpose, who, answer, wanted=wanted, effect=effect, grant_id=grant_id)
    if grant is None:
        return
    event(f"granted: {effect}, {'again' if before else 'first'}")
    [now] = rich_authorization.granted("p", grant)
    stays = before if before and effect in {Effect.AMEND, Effect.MERGE} else None
    assert set(now["attributes"]) <= {*wanted.attributes, *(stays["attributes"] if stays else ())}
    assert (grant.grant_id == grant_id) == (before is not None and effect is not Effect.CREATE)
    newly = set(now["attributes"]) - set(before["attributes"] if before and effect is not Effect.CREATE else ())
    assert answer["level"] == 2 or not terms.sensitive(newly)
    assert grant.level >= answer["level"]
    if before and effect is Effect.MERGE:
        assert set(before["attributes"]) <= set(now["attributes"])
        assert {"mode": now["mode"], "ends": now.get("expires_at")} == {
            "mode": before["mode"], "ends": before.get("expires_at"),
        }  # fmt: skip
        assert now["retention"] == before["retention"]
        return
    assert MODES.index(now["mode"]) >= MODES.index(wanted.mode)
    assert now["actions"] == (["read", "subscribe"] if now["mode"] == terms.UPDATED else ["read"])
    assert int(now["retention"][1:-1]) <= wanted.retention_days
    if grant.expires_at is None:
        assert wanted.open_ended
    else:
        assert 0 < int(now["duration"][1:-1]) <= wanted.longest_days
        assert grant.expires_at - grant.changed_at <= timedelta(days=wanted.longest_days)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(columns=PURPOSES, member=st.sampled_from(["attributes", "actions", "mode", "retention", "duration"]), odd=ODD)
def test_anything_odd_is_refused_and_nothing_breaks(
    session: Session, columns: dict[str, Any], member: str, odd: object
) -> None:
    with session.begin_nested() as example:
        assert read(session, declare(session, columns), {member: odd}, "openid") is None
        example.rollback()


@given(mode=st.sampled_from(MODES), longest=st.integers(1, 365), named=st.booleans())
def test_every_choice_on_the_screen_is_one_that_can_be_kept(mode: str, longest: int, *, named: bool) -> None:
    open_ended = longest >= terms.YEAR and not named
    offered = terms.durations(mode=mode, longest_days=longest, open_ended=open_ended)
    assert len({one.value for one in offered}) == len(offered)
    for one in offered:
        assert terms.check_mode(offered=mode, wanted=one.mode) == one.mode
        ends = terms.expiry(mode=one.mode, days=one.days, longest_days=longest, open_ended=open_ended, now=db.now())
        assert ends is not None or open_ended
