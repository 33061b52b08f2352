"""Refresh tokens end when nobody uses them, with what they came from, and with the consent at the latest."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import update

from portal import db
from portal.consent.models import Grant
from portal.oauth import tokens
from portal.oauth.models import RefreshToken

if TYPE_CHECKING:
    from portal.config import Settings
    from tests.oauth.conftest import Person
    from tests.oauth.rp import Answer, RelyingParty


@pytest.fixture
def refresh(rp: RelyingParty, person: Person) -> str:
    return str(rp.redeem(rp.code(person.browser, scope="openid email")).json["refresh_token"])


def use(rp: RelyingParty, refresh: str) -> Answer:
    return rp.token(grant_type="refresh_token", refresh_token=refresh)


def change(settings: Settings, refresh: str, **values: Any) -> None:  # noqa: ANN401 - columns of any kind
    with db.transaction(settings.database_url) as session:
        mine = RefreshToken.token_hash == tokens.hash_of(refresh)
        session.execute(update(RefreshToken).where(mine).values(**values))


def row(settings: Settings, refresh: str) -> RefreshToken:
    with db.transaction(settings.database_url) as session:
        return session.get_one(RefreshToken, tokens.hash_of(refresh))


@pytest.mark.parametrize(("idle", "status"), [(timedelta(days=89), 200), (timedelta(days=90, seconds=1), 400)])
def test_ninety_idle_days_end_it(
    rp: RelyingParty, refresh: str, settings: Settings, idle: timedelta, status: int
) -> None:
    change(settings, refresh, used_at=db.now() - idle)
    assert use(rp, refresh).status_code == status
    asked = rp.post("/oauth/introspect", rp.identified(token=refresh))
    assert asked.json["active"] is (status == 200)


def test_that_it_is_used_is_written_once_a_day(rp: RelyingParty, refresh: str, settings: Settings) -> None:
    issued = row(settings, refresh).used_at
    use(rp, refresh)
    assert row(settings, refresh).used_at == issued
    change(settings, refresh, used_at=issued - timedelta(days=2))
    assert use(rp, refresh).status_code == 200
    touched = row(settings, refresh).used_at
    assert touched >= issued
    use(rp, refresh)
    assert row(settings, refresh).used_at == touched


def test_a_refused_refresh_is_no_use(rp: RelyingParty, other: RelyingParty, refresh: str, settings: Settings) -> None:
    long_ago = db.now() - timedelta(days=30)
    change(settings, refresh, used_at=long_ago)
    assert other.token(grant_type="refresh_token", refresh_token=refresh).status_code == 400
    assert rp.token(grant_type="refresh_token", refresh_token=refresh, scope="phone").status_code == 400
    assert row(settings, refresh).used_at == long_ago


def test_it_ends_with_the_consent(rp: RelyingParty, person: Person, settings: Settings, refresh: str) -> None:
    mine = Grant.person_id == person.person_id
    with db.transaction(settings.database_url) as session:
        ends = session.query(Grant).where(mine).one().expires_at
        assert ends is not None
    assert row(settings, refresh).expires_at <= ends
    with db.transaction(settings.database_url) as session:
        session.execute(update(Grant).where(mine).values(expires_at=db.now()))
    assert use(rp, refresh).json["error"] == "invalid_grant"


def test_what_is_ended_while_it_is_used_gives_no_token(
    rp: RelyingParty, refresh: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    issuing = tokens.issue_refreshed

    def ended_first(*arguments: Any, **more: Any) -> str | None:  # noqa: ANN401 - the signature of the other
        change(settings, refresh, revoked_at=db.now())
        return issuing(*arguments, **more)

    monkeypatch.setattr(tokens, "issue_refreshed", ended_first)
    assert use(rp, refresh).json["error"] == "invalid_grant"


def test_the_answer_says_what_is_granted_now(rp: RelyingParty, refresh: str, person: Person) -> None:
    first = rp.redeem(rp.code(person.browser, scope="openid email")).json
    answer = use(rp, refresh).json
    same = ("grant_id", "sub", "authorization_details", "token_type", "expires_in", "scope")
    assert {name: answer[name] for name in same} == {name: first[name] for name in same}
    assert rp.call("/oauth/userinfo", answer["access_token"]).status_code == 200
