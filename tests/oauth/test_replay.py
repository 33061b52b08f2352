"""What a request shows is used up once, stays used up, and a replay is said before anything else is."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import TYPE_CHECKING, cast
from urllib.parse import urlencode

import pytest
from sqlalchemy import func, select

from portal import db
from portal.oauth.models import AccessToken, UsedProof
from tests.counting import prepared, statements
from tests.oauth.rp import FORM, ec_key

if TYPE_CHECKING:
    from apiflask import APIFlask

    from portal.config import Settings
    from tests.oauth.conftest import Person
    from tests.oauth.rp import Answer, RelyingParty

PARALLEL = 12
OWN = {"grant_type": "client_credentials"}


def error(answer: Answer) -> str:
    return str(answer.json["error"])


def issued(settings: Settings, rp: RelyingParty) -> int:
    mine = select(func.count()).select_from(AccessToken).where(AccessToken.client_id == rp.client_id)
    with db.transaction(settings.database_url) as session:
        return session.scalar(mine) or 0


@pytest.mark.parametrize(
    ("spoilt", "first"),
    [
        ({"scope": "people:write"}, "invalid_scope"),
        ({"grant_type": "refresh_token"}, "invalid_request"),
        ({"grant_type": "refresh_token", "refresh_token": "unknown"}, "invalid_grant"),
        ({"grant_type": "authorization_code", "code": "unknown"}, "invalid_grant"),
        ({"resource": "https://elsewhere.example"}, "invalid_target"),
    ],
)
def test_a_refused_request_has_used_up_both(rp: RelyingParty, spoilt: dict[str, str], first: str) -> None:
    form, proof = rp.identified(**OWN), rp.proof()
    assert error(rp.post("/oauth/token", form | spoilt, DPoP=proof)) == first
    assert error(rp.post("/oauth/token", form, DPoP=rp.proof())) == "invalid_client"
    assert error(rp.post("/oauth/token", rp.identified(**OWN), DPoP=proof)) == "invalid_dpop_proof"


def test_a_bad_proof_uses_up_the_assertion_and_a_missing_one_too(rp: RelyingParty) -> None:
    for headers in ({"DPoP": rp.proof(htm="GET")}, {}):
        form = rp.identified(**OWN)
        assert error(rp.post("/oauth/token", form, **headers)) in {"invalid_dpop_proof", "invalid_request"}
        assert error(rp.post("/oauth/token", form, DPoP=rp.proof())) == "invalid_client"


def test_a_bad_assertion_uses_up_nothing(rp: RelyingParty) -> None:
    proof = rp.proof()
    form = rp.identified(**OWN, client_assertion=rp.assertion(aud="https://other.example"))
    assert error(rp.post("/oauth/token", form, DPoP=proof)) == "invalid_client"
    assert rp.post("/oauth/token", rp.identified(**OWN), DPoP=proof).status_code == 200


@pytest.mark.parametrize("path", ["/oauth/token", "/oauth/par", "/oauth/introspect", "/oauth/revoke"])
def test_a_replayed_assertion_is_said_before_what_else_is_wrong(rp: RelyingParty, path: str) -> None:
    form = rp.identified(**OWN)
    assert rp.post("/oauth/token", form, DPoP=rp.proof()).status_code == 200
    answer = rp.post(path, form | {"scope": "unknown"}, DPoP=rp.proof())
    assert (answer.status_code, error(answer)) == (401, "invalid_client")


@pytest.mark.parametrize("shared", ["assertion", "proof", "both"])
def test_one_of_many_at_once_gets_a_token(app: APIFlask, rp: RelyingParty, settings: Settings, shared: str) -> None:
    form, proof = rp.identified(**OWN), rp.proof()
    sent = [
        (urlencode(form if shared != "proof" else rp.identified(**OWN)), proof if shared != "assertion" else rp.proof())
        for _ in range(PARALLEL)
    ]
    together = Barrier(PARALLEL)

    def ask(body: str, header: str) -> Answer:
        client = app.test_client(use_cookies=False)
        together.wait()
        return cast("Answer", client.post("/oauth/token", data=body, content_type=FORM, headers={"DPoP": header}))

    with ThreadPoolExecutor(PARALLEL) as threads:
        answers = list(threads.map(ask, *zip(*sent, strict=True)))
    assert [answer.status_code for answer in answers].count(200) == 1
    others = {error(answer) for answer in answers if answer.status_code != 200}
    assert others == {"invalid_dpop_proof" if shared == "proof" else "invalid_client"}
    assert issued(settings, rp) == 1


def test_a_proof_for_many_people_stays_used_when_the_call_is_refused(rp: RelyingParty) -> None:
    token = rp.own_token()
    proof = rp.proof("/api/v1/pulls", token=token)
    headers = {"Authorization": f"DPoP {token}", "DPoP": proof}
    first = rp.raw("/api/v1/pulls", json={"subjects": "nobody"}, headers=headers)
    assert first.status_code == 422
    again = rp.raw("/api/v1/pulls", json={"subjects": ["x"]}, headers=headers)
    assert again.status_code == 401
    assert 'error="invalid_dpop_proof"' in again.headers["WWW-Authenticate"]


def test_a_refused_token_leaves_the_proof_used_but_not_by_a_stranger(rp: RelyingParty) -> None:
    wrong = rp.token(**OWN, scope="grant_management_query").json["access_token"]
    path = "/api/v1/pulls"
    proof = rp.proof(path, token=wrong)
    headers = {"Authorization": f"DPoP {wrong}", "DPoP": proof}
    assert rp.raw(path, json={"subjects": ["x"]}, headers=headers).status_code == 403
    assert rp.raw(path, json={"subjects": ["x"]}, headers=headers).status_code == 401
    # Whoever saw the token, without its key, uses nothing up.
    token = rp.own_token()
    foreign = {"Authorization": f"DPoP {token}", "DPoP": rp.proof(path, token=token, key=ec_key(), jti="mine")}
    assert rp.raw(path, json={"subjects": ["x"]}, headers=foreign).status_code == 401
    own = {"Authorization": f"DPoP {token}", "DPoP": rp.proof(path, token=token, jti="mine")}
    assert rp.raw(path, json={"subjects": ["x"]}, headers=own).status_code == 202


def test_how_many_statements_a_token_costs(rp: RelyingParty, person: Person, settings: Settings) -> None:
    # The first signature of a key is noted, and the client read anew for that once.
    for _ in range(2):
        rp.own_token()
    with statements(settings) as others, prepared() as seen:
        rp.own_token()
    assert ([each.name for each in seen], others) == (["client_fingerprint", "issue_own"], [])
    refresh = rp.redeem(rp.code(person.browser)).json["refresh_token"]
    with statements(settings) as others, prepared() as seen:
        assert rp.token(grant_type="refresh_token", refresh_token=refresh).status_code == 200
    assert ([each.name for each in seen], others) == (["client_fingerprint", "refresh", "issue_refreshed"], [])


def test_a_refusal_leaves_no_token_and_two_used_proofs(rp: RelyingParty, settings: Settings) -> None:
    with db.transaction(settings.database_url) as session:
        before = session.scalar(select(func.count()).select_from(UsedProof)) or 0
    assert rp.token(**OWN, scope="people:write").status_code == 400
    with db.transaction(settings.database_url) as session:
        assert session.scalar(select(func.count()).select_from(UsedProof)) == before + 2
    assert issued(settings, rp) == 0
