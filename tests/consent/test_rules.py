"""The policy function, over every state, channel, mode, expiry and purpose; and what it never does."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal.consent.rules import Channel, Refusal, Standing, decide

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
STATES = {
    "active": None,
    "paused": Refusal.PAUSED,
    "refused": Refusal.REFUSED,
    "withdrawn": Refusal.WITHDRAWN,
    "ended": Refusal.ENDED,
    "expired": Refusal.EXPIRED,
    "unheard-of": Refusal.NO_CONSENT,
}
MODES = ("kept-up-to-date", "asked", "once")
EXPIRIES = {None: True, NOW + timedelta(microseconds=1): True, NOW: False, NOW - timedelta(days=1): False}
TABLE = list(product(STATES, Channel, MODES, EXPIRIES, [True, False], [True, False], [True, False]))


def standing(**members: Any) -> Standing:  # noqa: ANN401 - members of a standing
    facts: dict[str, Any] = {
        "client_id": "c",
        "state": "active",
        "mode": "kept-up-to-date",
        "attributes": ["a", "b"],
        "expires_at": None,
        "purpose_attributes": ["a", "b", "c"],
        "purpose_withdrawn": False,
        "client_active": True,
    }
    return Standing(**(facts | members))


Row = tuple[str, Channel, str, datetime | None, bool, bool, bool]


def why(row: Row) -> Refusal | None:
    """The same rules once more, as a list in the order in which they are told."""
    state, channel, mode, expires_at, withdrawn, active, used = row
    reasons = [
        (not active, Refusal.CLIENT_SUSPENDED),
        (state != "active", STATES[state]),
        (not EXPIRIES[expires_at], Refusal.EXPIRED),
        (withdrawn, Refusal.PURPOSE_WITHDRAWN),
        (channel is Channel.PUSH and mode != "kept-up-to-date", Refusal.NOT_FOR_PUSH),
        (mode == "once" and used, Refusal.ALREADY_USED),
    ]
    return next((refusal for holds, refusal in reasons if holds), None)


@pytest.mark.parametrize("state", STATES)
def test_every_state_channel_mode_expiry_and_purpose(state: str) -> None:
    rows = [row for row in TABLE if row[0] == state]
    assert len(rows) == len(Channel) * len(MODES) * len(EXPIRIES) * 8
    for row in rows:
        _, channel, mode, expires_at, withdrawn, active, used = row
        facts = standing(
            state=state,
            mode=mode,
            expires_at=expires_at,
            purpose_withdrawn=withdrawn,
            client_active=active,
            used=used,
        )
        decision = decide(facts, client_id="c", channel=channel, requested=None, now=NOW)
        refusal = why(row)
        assert decision.refusal == refusal
        assert decision.attributes == (() if refusal else ("a", "b"))
        assert decision.allowed is (refusal is None)


@pytest.mark.parametrize("channel", Channel)
def test_without_a_grant_of_this_client_there_is_no_consent(channel: Channel) -> None:
    for facts in (None, standing(client_id="another")):
        decision = decide(facts, client_id="c", channel=channel, requested=None, now=NOW)
        assert decision.refusal is Refusal.NO_CONSENT
        assert decision.attributes == ()


def test_asking_for_what_is_not_shared_says_so() -> None:
    decision = decide(standing(), client_id="c", channel=Channel.PULL, requested=["c"], now=NOW)
    assert decision.refusal is Refusal.NOTHING_SHARED


NAMES = st.sets(st.sampled_from("abcdefgh"))


@given(
    granted=NAMES,
    purpose=NAMES,
    requested=st.none() | NAMES,
    state=st.sampled_from(list(STATES)),
    channel=st.sampled_from(list(Channel)),
    mode=st.sampled_from(MODES),
    expires_at=st.sampled_from(list(EXPIRIES)),
    flags=st.tuples(st.booleans(), st.booleans(), st.booleans()),
)
def test_never_more_than_requested_and_granted_and_purpose(  # noqa: PLR0917 - Hypothesis names each
    granted: set[str],
    purpose: set[str],
    requested: set[str] | None,
    state: str,
    channel: Channel,
    mode: str,
    expires_at: datetime | None,
    flags: tuple[bool, bool, bool],
) -> None:
    withdrawn, active, used = flags
    facts = standing(
        attributes=granted,
        purpose_attributes=purpose,
        state=state,
        mode=mode,
        expires_at=expires_at,
        purpose_withdrawn=withdrawn,
        client_active=active,
        used=used,
    )
    decision = decide(facts, client_id="c", channel=channel, requested=requested, now=NOW)
    most = granted & purpose & (granted if requested is None else requested)
    assert set(decision.attributes) <= most
    assert decision.allowed == bool(decision.attributes)
    if decision.allowed:
        assert set(decision.attributes) == most
        assert (state, active, withdrawn) == ("active", True, False)
        assert expires_at is None or expires_at > NOW
