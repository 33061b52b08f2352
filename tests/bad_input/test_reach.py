"""Whose is what: every address with an id in it, opened by everybody whose it is not (OWASP ASVS 5.0, 8.2.1-8.2.3).

A route that takes a parameter and stands in neither table fails the first test.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from portal.identity.queries import hash_of
from tests.bad_input.pages import FORMS, SAFE, path

if TYPE_CHECKING:
    from flask import Flask
    from werkzeug.test import TestResponse

    from tests.bad_input.cast import Cast, Visitor
    from tests.bad_input.pages import Arguments
    from tests.bad_input.unchanged import State

# What the id belongs to, and who may open it; everybody else is turned away.
GRANT, DISCLOSURE, APP, PERSON, PULL, CONSENT = "grant", "disclosure", "app", "person", "pull", "consent"
QUESTION, PURPOSE, KEY, REVIEW = "question", "purpose", "key", "review"
TOLD, REPLAY, MESSAGE, LOGGED = "told app", "replay", "message", "logged message"
DISPUTE, ANSWERING = "dispute", "dispute, by the company"
DECIDING, PROVING = "dispute, by an operator", "proof, by an operator"
VOIDING, TAKING_DOWN = "consent, by an operator", "purpose, by an operator"
ASKED = "dispute, by the company's server"
LATER, GIVEN = "question by a program", "consent as its company sees it"
OFFERED = "app with an offer"
GUARDED = {
    "consent.agreement": GRANT,
    "consent.change": GRANT,
    "consent.pause": GRANT,
    "consent.resume": GRANT,
    "consent.stop": GRANT,
    "consent.ask_deletion": GRANT,
    "in_flight.halted": GRANT,
    "holders.today": GRANT,
    "again.again": GRANT,
    "consent_answers.take_back": GRANT,
    "consent_answers.let_them_ask": GRANT,
    "offers.offers": APP,
    "offers.accept": OFFERED,
    "offers.decline": OFFERED,
    "consent.receipt": GRANT,
    "consent.receipt_file": GRANT,
    "approvals.one": QUESTION,
    "ledger.entry": DISCLOSURE,
    "disputes.question": DISCLOSURE,
    "disputes.settle": DISPUTE,
    "disputes.escalate": DISPUTE,
    "dispute_answers.question": ANSWERING,
    "dispute_decisions.question": DECIDING,
    "dispute_decisions.lift": DECIDING,
    "dispute_decisions.proof": PROVING,
    "questions_api.question": ASKED,
    "questions_api.answer": ASKED,
    "deletions.one": GIVEN,
    "company_consents.one": GIVEN,
    "company_consents.ask": GIVEN,
    "company_consents.end": GIVEN,
    "companies.one_app": APP,
    "company_keys.overview": APP,
    "company_keys.retire": APP,
    "companies.end_program": APP,
    "purposes.new": APP,
    "purposes.one": PURPOSE,
    "purposes.change": PURPOSE,
    "purposes.review": PURPOSE,
    "reviews.one": REVIEW,
    "reviews.take_down": TAKING_DOWN,
    "purposes.withdraw": PURPOSE,
    "voiding.one": VOIDING,
    "companies.app_settings": APP,
    "telling.choose": PURPOSE,
    "company_keys.address": APP,
    "company_keys.prove": APP,
    "company_keys.stop": APP,
    "company_keys.groups": PURPOSE,
    "keys_api.prove": KEY,
    "keys_api.stop": KEY,
    "sync.endpoint": APP,
    "sync.pace": TOLD,
    "sync.collect": APP,
    "sync.status": TOLD,
    "health.panel": TOLD,
    "health.turn_on": TOLD,
    "replays.preview": TOLD,
    "replays.begin": TOLD,
    "replays.progress": REPLAY,
    "replays.stop": REPLAY,
    "deliveries.message": MESSAGE,
    "sync_api.person": PERSON,
    "evidence_api.of_message": LOGGED,
    "sync_api.pull_state": PULL,
    "sync_api.pull_result": PULL,
    "grants_api.one_grant": CONSENT,
    "grants_api.receipt": CONSENT,
    "grants_api.ask": CONSENT,
    "grants_api.asked": LATER,
    "deletions_api.of_grant": CONSENT,
    "deletions_api.say": CONSENT,
    "offers_api.accept": CONSENT,
    "offers_api.decline": CONSENT,
    "oauth_api.grant": CONSENT,
    "oauth_api.end_grant": CONSENT,
}
# These name no one's property: a public page, an attribute or a moment of one's own record.
OPEN = {
    "static", "docs.error", "guide.part", "companies.organisation",
    "consumer.detail", "consumer.edit", "consumer.change", "consumer.remove", "consumer.history", "consumer.undo",
    "purposes_api.declare", "purposes_api.review", "purposes_api.withdraw",
    "updates.change", "holders.detail", "log.tile", "log.proof", "log.consistency",
}  # fmt: skip
# The client's own registration token opens these (RFC 7592), and nothing else does.
REGISTERED = {"oauth_api.registered", "oauth_api.replace_registered", "oauth_api.end_registered"}
OWNERS = {
    GRANT: "ada",
    DISCLOSURE: "ada",
    DISPUTE: "ada",
    ANSWERING: "staff",
    DECIDING: "operator",
    PROVING: "operator",
    VOIDING: "operator",
    TAKING_DOWN: "operator",
    QUESTION: "ada",
    APP: "staff",
    GIVEN: "staff",
    PURPOSE: "staff",
    REVIEW: "operator",
    OFFERED: "staff",
    TOLD: "staff",
    REPLAY: "staff",
    MESSAGE: "staff",
}
PEOPLE = ("ada", "bob", "staff", "rival_staff", "stranger", "operator")
MACHINES = (ASKED, LATER, PERSON, LOGGED, PULL, CONSENT, KEY)
# The API's own scope opens the rest.
SCOPES = {
    "oauth_api.grant": "grant_management_query",
    "oauth_api.end_grant": "grant_management_revoke",
    "keys_api.prove": "keys:manage",
    "keys_api.stop": "keys:manage",
    "grants_api.one_grant": "grant_management_query",
    "grants_api.receipt": "grant_management_query",
    "grants_api.ask": "grants:manage",
    "grants_api.asked": "grant_management_query",
    "deletions_api.of_grant": "grant_management_query",
    "deletions_api.say": "grants:manage",
    "offers_api.accept": "grants:manage",
    "offers_api.decline": "grants:manage",
}
BODIES: dict[str, dict[str, Any]] = {
    "questions_api.answer": {"json": {"explanation": "For your bill."}},
    "keys_api.prove": {"json": {"nonce": "x"}},
    "grants_api.ask": {"json": {"attributes": ["phone.mobile"]}},
    "deletions_api.say": {"json": {"details": [{"attribute": "name.full", "status": "deleted"}]}},
}
PAGES = [(endpoint, who) for endpoint, thing in GUARDED.items() if thing not in MACHINES for who in PEOPLE]


def _arguments(cast: Cast, endpoint: str) -> Arguments:
    found: dict[str, Arguments] = {
        GRANT: {"grant_id": cast.shared.grant_id},
        DISCLOSURE: {"disclosure_id": cast.disclosure_id},
        DISPUTE: {"disclosure_id": cast.disputed("answered")},
        ANSWERING: {"disclosure_id": cast.disputed("asked")},
        DECIDING: {"disclosure_id": cast.disputed("escalated")},
        PROVING: {"disclosure_id": cast.disputed("escalated")},
        ASKED: {"disclosure_id": cast.disputed("asked")},
        APP: {"client_id": cast.firm.client_id},
        OFFERED: {"client_id": cast.firm.client_id, "grant_id": cast.shared.grant_id},
        PERSON: {"sub": cast.shared.sub},
        LOGGED: {"sub": cast.shared.sub, "jti": cast.jti},
        PULL: {"pull_id": cast.pull_id},
        CONSENT: {"grant_id": cast.shared.grant_id},
        LATER: {"grant_id": cast.shared.grant_id, "request_id": cast.question_id},
        GIVEN: {"grant_id": cast.wished_id},
        VOIDING: {"grant_id": cast.shared.grant_id},
        TAKING_DOWN: {"purpose_id": cast.firm.purpose_id},
        QUESTION: {"request_id": cast.question_id},
        PURPOSE: {"client_id": cast.firm.client_id, "code": cast.purpose_code},
        REVIEW: cast.reviewed,
        KEY: {"kid": cast.spare_kid},
        TOLD: {"client_id": cast.told.client_id},
        REPLAY: {"replay_id": cast.replay_id},
        MESSAGE: {"client_id": cast.told.client_id, "jti": cast.jti},
    }
    return found[GUARDED[endpoint]]


def _methods(app: Flask, endpoint: str) -> list[str]:
    rules = app.url_map.iter_rules(endpoint)
    return sorted({method for rule in rules for method in rule.methods or ()} - {"OPTIONS"})


def _open(visitor: Visitor, cast: Cast, endpoint: str, address: str, method: str) -> TestResponse:
    if method in SAFE:
        return visitor.client.open(address, method=method, buffered=True)
    return visitor.send(address, FORMS[endpoint].fields(cast).items())


def test_every_route_with_a_parameter_is_in_a_table(app: Flask) -> None:
    found = {rule.endpoint for rule in app.url_map.iter_rules() if rule.arguments}
    assert found == set(GUARDED) | OPEN | REGISTERED


@pytest.mark.parametrize("endpoint", sorted(REGISTERED))
def test_registrations(app: Flask, cast: Cast, state: State, endpoint: str) -> None:
    """Nobody has the token of another's client, and the company's own people and tokens are none."""
    address = path(app, endpoint, {"client_id": cast.firm.client_id})
    (method,) = set(_methods(app, endpoint)) - {"HEAD"}
    access = cast.caller(cast.firm).token
    with state.kept(but={"used_proof"}):
        for header in ({}, {"Authorization": f"Bearer {access}"}, {"Authorization": f"DPoP {access}"}):
            assert cast.http.open(address, method=method, headers=header).status_code == 401
        for who in PEOPLE:
            assert getattr(cast, who).client.open(address, method=method).status_code == 401


@pytest.mark.parametrize(("endpoint", "who"), PAGES)
def test_pages(app: Flask, cast: Cast, state: State, endpoint: str, who: str) -> None:
    """Not found for those who are signed in as somebody else, the way to sign in for a stranger."""
    if OWNERS[GUARDED[endpoint]] == who:
        return
    address, visitor = path(app, endpoint, _arguments(cast, endpoint)), getattr(cast, who)
    for method in _methods(app, endpoint):
        with state.kept():
            answer = _open(visitor, cast, endpoint, address, method)
        assert answer.status_code in {303, 404}, (method, answer.status_code)
        if answer.status_code == 303:
            place = answer.headers["Location"]
            assert place.startswith("/account/sign-in?next=") if who == "stranger" else place == "/org"
        assert cast.firm.name not in answer.text


@pytest.mark.parametrize("endpoint", [endpoint for endpoint in GUARDED if GUARDED[endpoint] not in MACHINES])
def test_the_owner_gets_in(app: Flask, cast: Cast, endpoint: str) -> None:
    """Or the tests above would show nothing."""
    visitor: Visitor = getattr(cast, OWNERS[GUARDED[endpoint]])
    if "GET" in _methods(app, endpoint):
        assert visitor.client.get(path(app, endpoint, _arguments(cast, endpoint))).status_code == 200


@pytest.mark.parametrize("endpoint", [endpoint for endpoint in GUARDED if GUARDED[endpoint] in MACHINES])
def test_machines(app: Flask, cast: Cast, state: State, endpoint: str) -> None:
    address = path(app, endpoint, _arguments(cast, endpoint))
    rival = cast.caller(cast.rival, SCOPES.get(endpoint, "people:read"))
    [method] = set(_methods(app, endpoint)) - {"HEAD"}
    with state.kept(but={"used_proof"}):
        assert rival.send(method, address, **BODIES.get(endpoint, {})).status_code == 404
        for who in PEOPLE:
            assert getattr(cast, who).client.open(address, method=method).status_code == 401


@pytest.mark.parametrize("thing", ["sharing", "organisation"])
def test_filters_show_only_ones_own(cast: Cast, thing: str) -> None:
    wanted = {"sharing": cast.shared.grant_id, "organisation": cast.firm.company_id}[thing]
    assert cast.firm.name in cast.ada.client.get(f"/activity?{thing}={wanted}").text
    assert cast.firm.name not in cast.bob.client.get(f"/activity?{thing}={wanted}").text


def test_company_switch_takes_only_ones_own(cast: Cast, state: State) -> None:
    slug = cast.rival.name.lower().replace(" ", "-")
    with state.kept():
        assert cast.staff.send("/org/switch", [("company", slug)]).status_code == 404
    assert cast.rival.name not in cast.staff.client.get("/org").text


def test_sending_again_is_for_ones_own_company(cast: Cast, state: State) -> None:
    fields = {"sub": cast.shared.sub, "sharing": str(cast.shared.grant_id)}
    with state.kept():
        assert cast.rival_staff.send("/org/deliveries/again", fields.items()).status_code == 404
        assert cast.bob.send("/org/deliveries/again", fields.items()).status_code == 303


def test_another_persons_session_is_not_ended(cast: Cast, state: State) -> None:
    cookie = cast.ada.client.get_cookie("session")
    assert cookie
    with state.kept():
        named = [("session", hash_of(cookie.value).hex())]
        assert cast.bob.send("/account/sessions/end", named).status_code == 404
