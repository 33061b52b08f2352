"""The short way of a pull answers as the long one does."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import update

from portal import db
from portal.companies import queries as companies
from portal.companies.models import Client
from portal.ledger import queries as ledger
from portal.oauth import protection, tokens
from portal.oauth.backchannel_token import Approved
from portal.sync import pulls
from portal.vault import base64url
from tests.sync.cast import SHARED
from tests.sync.receiver import read

if TYPE_CHECKING:
    from sqlalchemy.orm import Session
    from werkzeug.test import TestResponse

    from tests.sync.caller import Caller
    from tests.sync.cast import Firm, Shared, World


def test_both_ways_say_the_same(world: World, firm: Firm, shared: Shared, caller: Caller) -> None:
    short = caller.get(f"/api/v1/people/{shared.sub}")
    long = caller.get(f"/api/v1/people/{shared.sub}?attributes={','.join(SHARED)}")
    assert (short.status_code, long.status_code) == (200, 200)
    # flask-login looks for a cookie on the long way, which the answer does not depend on; a second look leaves less.
    changing = {"Content-Length", "Request-Id", "Vary", "RateLimit"}
    assert {(name, value) for name, value in short.headers if name not in changing} == {
        (name, value) for name, value in long.headers if name not in changing
    }
    assert short.headers["Request-Id"].startswith("req_")
    assert int(short.headers["Content-Length"]) == len(short.data)
    opened = [read(each.text, portal_keys=world.portal_keys(), key=firm.receiver.key) for each in (short, long)]
    assert opened[0].values == opened[1].values


def test_a_refusal_is_decided_once_and_told_by_the_view(world: World, shared: Shared, caller: Caller) -> None:
    world.step("pause", shared)
    refused = caller.get(f"/api/v1/people/{shared.sub}")
    assert (refused.status_code, refused.content_type) == (403, "application/problem+json")
    rows = world.transact(lambda session: ledger.of_person(session, person_id=shared.person_id))
    assert [row.outcome for row in rows if row.channel == "pull"] == ["denied"]


def test_what_breaks_is_a_problem_without_words(
    shared: Shared, caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(*_arguments: object, **_more: object) -> str:
        raise ValueError("Ada Byrne")

    monkeypatch.setattr(pulls, "pull", breaks)
    broken = caller.get(f"/api/v1/people/{shared.sub}")
    assert (broken.status_code, broken.content_type) == (500, "application/problem+json")
    assert "Ada" not in broken.text


def test_nobody_can_send_a_failure(shared: Shared, caller: Caller) -> None:
    sent = {protection.FAILURE: "x", "Portal-Failure": "x"}
    assert caller.get(f"/api/v1/people/{shared.sub}", headers=sent).status_code == 200


def test_other_methods_and_spellings_are_flasks(shared: Shared, caller: Caller) -> None:
    path = f"/api/v1/people/{shared.sub}"
    assert caller.http.post(path).status_code == 405
    assert caller.http.get(path).status_code == 401
    assert caller.get("/api/v1/people/a.b").status_code == 404


@pytest.mark.parametrize("chosen", [{}, {"userinfo_signed_response_alg": "ES256"}], ids=["plain", "signed"])
def test_userinfo_says_the_same_on_both_ways(
    world: World, firm: Firm, shared: Shared, caller: Caller, chosen: dict[str, str]
) -> None:
    def of_person(session: Session) -> str:
        session.execute(update(Client).where(Client.client_id == firm.client_id).values(settings=chosen))
        client = companies.client(session, firm.client_id)
        assert client
        of = Approved(
            person_id=shared.person_id, grant_id=shared.grant_id, scope="openid email", code_hash=b"c",
            authenticated_at=db.now(), level=2,
        )  # fmt: skip
        bound: dict[str, Any] = {"client": client, "jkt": caller.key.thumbprint(), "now": db.now()}
        return tokens.issue_access(session, of=of, scope=of.scope, **bound)

    caller.token = world.transact(of_person)
    short, long = caller.get("/oauth/userinfo"), caller.post("/oauth/userinfo")
    assert (short.status_code, long.status_code) == (200, 200)
    # The second look leaves one less.
    changing = {"Content-Length", "Request-Id", "Vary", "RateLimit"}
    assert {(name, value) for name, value in short.headers if name not in changing} == {
        (name, value) for name, value in long.headers if name not in changing
    }
    assert _claims(short) == _claims(long)
    assert _claims(short)["email"]


def _claims(answer: TestResponse) -> dict[str, Any]:
    found: dict[str, Any] = answer.json or json.loads(base64url.decode(answer.text.split(".")[1]))
    return {name: value for name, value in found.items() if name != "iat"}
