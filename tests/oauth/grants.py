"""What the tests of grants do again and again: ask, answer, look whether a token is still good for anything."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from portal import db
from portal.consent.models import Grant
from tests.oauth.rp import query

if TYPE_CHECKING:
    from portal.config import Settings
    from tests.oauth.conftest import Person
    from tests.oauth.rp import Answer, RelyingParty


def details(rp: RelyingParty, **members: Any) -> str:  # noqa: ANN401 - members of any kind
    return json.dumps([{"type": "ucm_profile", "purpose": rp.purpose, **members}])


def asked(rp: RelyingParty, action: str | None = None, grant_id: str | None = None, **members: Any) -> dict[str, Any]:  # noqa: ANN401
    managed = {"grant_management_action": action, "grant_id": grant_id}
    return {"authorization_details": details(rp, **members), **{name: one for name, one in managed.items() if one}}


def share(rp: RelyingParty, person: Person, request: dict[str, Any], **form: Any) -> dict[str, Any]:  # noqa: ANN401
    """Ask, answer and redeem: return the token answer."""
    back = rp.answer(person.browser, rp.push(**request), **form)
    assert back.status_code == 303, back.text
    answer = rp.redeem(query(back)["code"])
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json
    return body


def refresh(rp: RelyingParty, body: dict[str, Any]) -> int:
    return rp.token(grant_type="refresh_token", refresh_token=body["refresh_token"]).status_code


def userinfo(rp: RelyingParty, body: dict[str, Any]) -> int:
    return rp.call("/oauth/userinfo", body["access_token"]).status_code


def active(rp: RelyingParty, token: str) -> bool:
    return bool(rp.post("/oauth/introspect", rp.identified(token=token)).json["active"])


def manage(rp: RelyingParty, method: str, grant_id: str, *, scope: str | None = None) -> Answer:
    verb = {"GET": "query", "DELETE": "revoke"}[method]
    token = rp.token(grant_type="client_credentials", scope=scope or f"grant_management_{verb}").json["access_token"]
    path = f"/oauth/grants/{grant_id}"
    headers = {"Authorization": f"DPoP {token}", "DPoP": rp.proof(path, method=method, token=token)}
    return rp.http.open(path, method=method, headers=headers)


def states(settings: Settings, person: Person) -> list[str]:
    with db.transaction(settings.database_url) as session:
        mine = select(Grant.state).where(Grant.person_id == person.person_id)
        return sorted(session.scalars(mine))
