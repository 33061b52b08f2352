"""What happens at the very moment a consent is ended, replaced or created anew."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from sqlalchemy import select

from portal import db
from portal.companies import queries as companies
from portal.oauth import grant_management, tokens
from portal.oauth.models import AccessToken, AuthorizationCode
from tests.oauth.grants import active, asked, manage, refresh, share, states, userinfo
from tests.oauth.rp import csrf, query

if TYPE_CHECKING:
    from portal.config import Settings
    from tests.oauth.conftest import Person
    from tests.oauth.rp import Answer, RelyingParty

CODES = 6


def tokens_of(answers: list[Answer]) -> list[dict[str, Any]]:
    assert {answer.status_code for answer in answers} <= {200, 400}
    assert {answer.json["error"] for answer in answers if answer.status_code == 400} <= {"invalid_grant"}
    return [answer.json for answer in answers if answer.status_code == 200]


@pytest.mark.parametrize("_round", range(3))
def test_no_token_outlives_a_grant_that_ends_while_it_is_made(
    rp: RelyingParty, person: Person, settings: Settings, _round: int
) -> None:
    held = share(rp, person, asked(rp))
    codes = [rp.code(person.browser) for _ in range(CODES)]
    with ThreadPoolExecutor(CODES + 2) as together:
        redeeming = [together.submit(rp.redeem, code) for code in codes[:3]]
        ending = together.submit(manage, rp, "DELETE", held["grant_id"])
        redeeming += [together.submit(rp.redeem, code) for code in codes[3:]]
        refreshing = together.submit(rp.token, grant_type="refresh_token", refresh_token=held["refresh_token"])
        given = tokens_of([*(one.result() for one in redeeming), refreshing.result()])
        assert ending.result().status_code == 204
    for body in given:
        assert userinfo(rp, body) in {401, 403}
        assert not active(rp, body["access_token"])
        if "refresh_token" in body:
            assert (refresh(rp, body), active(rp, body["refresh_token"])) == (400, False)
    assert states(settings, person) == ["ended"]


def test_replacing_waits_for_whoever_redeems_and_ends_what_they_got(
    rp: RelyingParty, person: Person, settings: Settings
) -> None:
    held = UUID(share(rp, person, asked(rp))["grant_id"])
    code = rp.code(person.browser)
    with ThreadPoolExecutor(1) as aside, db.sessions(settings.database_url)() as replacing:
        # The redemption is under way: its code is used up and its token stands, uncommitted.
        with db.sessions(settings.database_url)() as redeeming:
            _redeemed(redeeming, rp, code)
            ending = aside.submit(_ended, replacing, held)
            wait([ending], timeout=0.5)
            assert not ending.done()
            redeeming.commit()
        ending.result(timeout=10)
        mine = select(AccessToken.revoked_at).where(AccessToken.grant_id == held)
        assert None not in replacing.scalars(mine).all()
        assert len(replacing.scalars(mine).all()) == 2


def _redeemed(session: Any, rp: RelyingParty, code: str) -> None:  # noqa: ANN401 - a session
    row = session.get(AuthorizationCode, tokens.hash_of(code))
    row.used_at = db.now()
    client = companies.client(session, rp.client_id)
    assert client is not None
    tokens.issue_access(session, client=client, of=row, scope="openid", jkt="k", now=db.now())
    session.flush()


def _ended(session: Any, grant_id: UUID) -> None:  # noqa: ANN401 - a session
    grant_management.end_tokens(session, grant_id=grant_id, now=db.now())
    session.commit()


def test_two_that_begin_anew_at_once_leave_one(rp: RelyingParty, person: Person, settings: Settings) -> None:
    uris = [rp.push(**asked(rp, "create")) for _ in range(4)]
    forms = [csrf(person.browser.get(rp.address(uri)).text) for uri in uris]

    def press(number: int) -> str:
        form = {"client_id": rp.client_id, "request_uri": uris[number], "answer": "share", "duration": "year"}
        browser = person.browser.application.test_client()
        browser.environ_base.update(person.browser.environ_base)
        for name in ("session", "form"):
            cookie = person.browser.get_cookie(name)
            assert cookie is not None
            browser.set_cookie(name, cookie.decoded_value)
        back = browser.post("/oauth/authorize", data=form | {"csrf_token": forms[number]})
        assert back.status_code == 303, back.text
        return query(back)["code"]

    with ThreadPoolExecutor(4) as together:
        codes = list(together.map(press, range(4)))
    given = tokens_of([rp.redeem(code) for code in codes])
    assert len(given) == 1
    assert states(settings, person) == ["active", "ended", "ended", "ended"]
