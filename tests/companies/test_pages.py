"""The pages of company staff by HTTP, with the form token on and without JavaScript."""

from __future__ import annotations

import json
import re
import secrets
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import update

from portal import db
from portal.companies import queries, services
from portal.identity.models import BrowserSession

if TYPE_CHECKING:
    from collections.abc import Callable

    from flask import Flask

    from portal.companies.queries import CompanyFacts
    from portal.config import Settings
    from tests.companies.browser import Browser

    Make = Callable[..., dict[str, Any]]

APP = {
    "name": "Billing",
    "redirect_uris": "https://brightwell.example/back\r\nhttp://localhost:5000/back",
    "sentence": "send bills to the right address",
    "dpv": "PaymentManagement",
    "lawful_basis": "consent",
    "mode": "kept-up-to-date",
    "retention_days": "30",
    "longest_days": "365",
    "want-address-home": "required",
    "why-address-home": "Where the bill goes",
    "want-email-main": "optional",
    "why-email-main": "To send a copy",
}


@pytest.fixture
def client(settings: Settings, own: CompanyFacts, jwks: dict[str, Any]) -> str:
    return _client(settings, own, jwks)


def _client(settings: Settings, company: CompanyFacts, jwks: dict[str, Any]) -> str:
    metadata = {"client_name": "Bills", "redirect_uris": ["https://brightwell.example/back"], "jwks": jwks}
    with db.transaction(settings.database_url) as session:
        return services.register_client(session, company_slug=company.slug, metadata=metadata, now=db.now())


PLACES = ["/org/apps", "/org/apps/new", "/org/deliveries", "/org/registration-tokens"]
OF_A_CLIENT = ["", "/keys", "/keys/address", "/settings", "/endpoint", "/purposes/new"]


@pytest.mark.parametrize("path", ["/org", "/org/join", *PLACES, *(f"/org/apps/test_x{end}" for end in OF_A_CLIENT)])
def test_strangers_are_sent_to_sign_in(app: Flask, path: str) -> None:
    answer = app.test_client().get(path)
    assert answer.status_code == 303
    assert answer.headers["Location"].startswith("/account/sign-in?next=/org")


@pytest.mark.parametrize("path", [*PLACES, *(f"/org/apps/test_x{end}" for end in OF_A_CLIENT)])
def test_who_acts_for_no_organisation_is_led_to_register_one(staff: Browser, path: str) -> None:
    answer = staff.get(path, follow_redirects=True)
    assert answer.request.path == "/org"
    assert "Register your organisation" in answer.text


@pytest.mark.parametrize("end", OF_A_CLIENT)
def test_another_companys_app_is_not_found(  # noqa: PLR0917 - fixtures
    settings: Settings, staff: Browser, own: CompanyFacts, facts: Make, jwks: dict[str, Any], end: str
) -> None:
    with db.transaction(settings.database_url) as session:
        other = services.register_company(session, **facts())
    theirs = _client(settings, other, jwks)
    assert staff.get("/org").status_code == 200
    assert staff.get(f"/org/apps/{theirs}{end}").status_code == 404
    assert staff.send(f"/org/apps/{theirs}/keys/retire", kid="s1").status_code == 404
    assert staff.send(f"/org/apps/{theirs}/program/end").status_code == 404
    assert own.slug != other.slug


@pytest.mark.parametrize("path", ["/org/join", "/org/apps/new", "/org/switch"])
def test_a_form_without_its_token_is_refused(staff: Browser, own: CompanyFacts, path: str) -> None:
    assert own
    assert staff.client.post(path, data={"legal_name": "X"}).status_code == 400


def test_somebody_registers_an_organisation_and_acts_for_it(staff: Browser, facts: Make) -> None:
    given = {name: value for name, value in facts().items() if name != "now"}
    answer = staff.send("/org/join", **given, stop_effect="We write to the last address we have.")
    assert answer.headers["Location"] == "/org"
    page = staff.get("/org").text
    assert given["trading_name"] in page
    assert "not checked this organisation yet" in page
    assert "We write to the last address we have." in page


def test_everything_wrong_is_said_at_once_and_what_was_typed_is_kept(staff: Browser, facts: Make) -> None:
    given = {name: value for name, value in facts().items() if name != "now"}
    answer = staff.send(
        "/org/join", **given | {"contact_email": "nobody", "privacy_url": "http://x.example", "country": ""}
    )
    assert answer.status_code == 422
    assert "<title>Error: " in answer.text
    for part in ("Enter an e-mail address", "must start with https://", "Choose a country", 'value="nobody"'):
        assert part in answer.text
    assert given["trading_name"] in answer.text
    assert 'href="#contact_email"' in answer.text


def test_a_name_that_is_taken_is_said_beside_it(staff: Browser, own: CompanyFacts, facts: Make) -> None:
    given = {name: value for name, value in facts(trading_name=own.trading_name).items() if name != "now"}
    answer = staff.send("/org/join", **given)
    assert answer.status_code == 422
    assert "registered already" in answer.text
    assert staff.get("/org").status_code == 200


def test_an_app_is_registered_with_its_purpose(settings: Settings, staff: Browser, own: CompanyFacts) -> None:
    answer = staff.send("/org/apps/new", **APP)
    path = answer.headers["Location"]
    page = staff.get(path).text
    assert own.trading_name in page
    assert "so they can send bills to the right address" in page
    assert "Home address: Where the bill goes" in page
    assert "Used by this test app, not reviewed" in page
    assert "No keys yet" in page
    with db.transaction(settings.database_url) as session:
        client_id = path.rpartition("/")[2]
        purpose = queries.purpose_by_code(session, client_id, "send-bills-to-the-right-address")
    assert purpose is not None
    assert purpose.required == (("address.home", "Where the bill goes"),)
    assert purpose.optional == (("email.main", "To send a copy"),)


def test_a_preview_saves_nothing(settings: Settings, staff: Browser, own: CompanyFacts) -> None:
    answer = staff.send("/org/apps/new", act="preview", **APP)
    assert answer.status_code == 200
    assert "so they can send bills to the right address" in answer.text
    assert 'value="Billing"' in answer.text
    with db.transaction(settings.database_url) as session:
        assert queries.clients_of(session, company_id=own.company_id) == []


@pytest.mark.parametrize(
    ("change", "sentence"),
    [({"redirect_uris": "http://brightwell.example/"}, "must start with https://"),
     ({"redirect_uris": ""}, "at least one redirect address"), ({"name": ""}, "Enter a name for the app"),
     ({"sentence": "we need it"}, "Start with what you do"), ({"dpv": ""}, "Choose the kind of purpose"),
     ({"why-address-home": ""}, "Give a reason people will understand"), ({"retention_days": "x"}, "Enter a number"),
     ({"retention_days": "-1"}, "from 0 to"), ({"pulls_a_day": "0"}, "from 1 to"),
     ({"pulls_a_day": "often"}, "Enter a number, or leave it empty"),
     ({"want-address-home": "", "want-email-main": ""}, "at least one detail"),
     ({"sentence": "send\x00bills"}, "cannot be shown")],
)  # fmt: skip
def test_an_app_that_is_not_right_is_not_kept(
    settings: Settings, staff: Browser, own: CompanyFacts, change: dict[str, str], sentence: str
) -> None:
    answer = staff.send("/org/apps/new", **APP | change)
    assert answer.status_code == 422
    assert sentence in answer.text
    assert "To send a copy" in answer.text
    with db.transaction(settings.database_url) as session:
        assert queries.clients_of(session, company_id=own.company_id) == []


@pytest.mark.parametrize(("typed", "kept", "said"), [("4", 4, "4 times a day"), ("1", 1, "once a day"), ("", None, "")])
def test_a_purpose_says_how_often_it_looks(
    *, settings: Settings, staff: Browser, client: str, typed: str, kept: int | None, said: str
) -> None:
    assert staff.send(f"/org/apps/{client}/purposes/new", **APP | {"pulls_a_day": typed}).status_code == 303
    with db.transaction(settings.database_url) as session:
        assert [purpose.pulls_a_day for purpose in queries.purposes_of(session, client)] == [kept]
    shown = staff.get(f"/org/apps/{client}").text
    assert said in shown
    assert ("Looks at most" in shown) is bool(said)


def test_a_second_purpose_needs_its_own_words(staff: Browser, client: str) -> None:
    path = f"/org/apps/{client}/purposes/new"
    assert staff.send(path, **APP).status_code == 303
    again = staff.send(path, **APP)
    assert again.status_code == 422
    assert "purpose with this code already" in again.text
    assert staff.send(path, **APP | {"sentence": "answer your questions"}).status_code == 303


def test_keys_are_pasted_and_retired(staff: Browser, own: CompanyFacts, public: Make, jwks: dict[str, Any]) -> None:
    assert own
    path = staff.send("/org/apps/new", **APP).headers["Location"] + "/keys"
    assert staff.send(path, jwks=json.dumps(jwks)).status_code == 303
    more = {"keys": [public("p256 too", use="enc", kid="e2")]}
    assert "Added: e2." in staff.client.get(staff.send(path, jwks=json.dumps(more)).headers["Location"]).text
    kept = staff.send(f"{path}/retire", kid="s1", follow=1)
    assert "last key of its kind" in staff.get(kept.headers["Location"]).text
    gone = staff.send(f"{path}/retire", kid="e1")
    assert "Retired: e1." in staff.get(gone.headers["Location"]).text
    assert staff.send(f"{path}/retire", kid="e1").status_code == 404


def test_a_private_key_is_refused_and_not_shown_anywhere_else(
    staff: Browser, client: str, pool: dict[str, dict[str, Any]]
) -> None:
    answer = staff.send(f"/org/apps/{client}/keys", jwks=json.dumps({"keys": [pool["p256"] | {"use": "sig"}]}))
    assert answer.status_code == 422
    assert "This is a private key" in answer.text


def test_who_acts_for_several_organisations_chooses(
    settings: Settings, staff: Browser, own: CompanyFacts, facts: Make
) -> None:
    with db.transaction(settings.database_url) as session:
        second = services.register_company(session, **facts(owner=staff.person_id, trading_name=f"Zebra {own.slug}"))
    assert f"<h1>{own.trading_name}</h1>" in staff.get("/org").text
    staff.send("/org/switch", company=second.slug)
    assert f"<h1>{second.trading_name}</h1>" in staff.get("/org").text
    assert staff.send("/org/switch", company="somebody-elses").status_code == 404


def test_the_register_shows_checked_organisations_to_everybody(
    app: Flask, settings: Settings, facts: Make, jwks: dict[str, Any]
) -> None:
    with db.transaction(settings.database_url) as session:
        draft = services.register_company(session, **facts())
        listed = services.register_company(session, **facts(verified=True, trading_name=f"Ö {secrets.token_hex(4)}"))
        metadata = {"client_name": "Bills", "redirect_uris": ["https://a.example/"], "jwks": jwks}
        client_id = services.register_client(session, company_slug=listed.slug, metadata=metadata, now=db.now())
        services.declare_purpose(
            session, client_id=client_id, sentence="send bills", dpv="PaymentManagement", mode="asked",
            required=[("name.full", "To address you")], optional=[], retention_days=9, catalogue={"name.full"},
            now=db.now(),
        )  # fmt: skip
    browser = app.test_client()
    page = browser.get("/organisations").text
    assert listed.trading_name in page
    assert draft.trading_name not in page
    shown = browser.get(f"/organisations/{listed.slug}").text
    assert "To send bills" in shown
    assert "Full name: To address you" in shown
    assert browser.get(f"/organisations/{draft.slug}").status_code == 404
    assert browser.get("/organisations/%00").status_code == 404


def test_every_field_has_a_label_and_every_id_is_there_once(staff: Browser, own: CompanyFacts) -> None:
    assert own
    html = staff.get("/org/apps/new").text
    ids = re.findall(r'\bid="([^"]+)"', html)
    assert len(ids) == len(set(ids))
    inputs = set(re.findall(r'<(?:input|select|textarea)(?![^>]*type="hidden")[^>]*\bid="([^"]+)"', html))
    assert inputs <= set(re.findall(r'<label[^>]*\bfor="([^"]+)"', html))


def test_a_live_app_needs_a_checked_organisation(settings: Settings, staff: Browser, own: CompanyFacts) -> None:
    refused = staff.send("/org/apps/new", **APP | {"environment": "live"})
    assert refused.status_code == 422
    assert "A live app needs a checked organisation" in refused.text
    with db.transaction(settings.database_url) as session:
        services.verify_company(session, slug=own.slug, now=db.now())
    assert "/org/apps/live_" in staff.send("/org/apps/new", **APP | {"environment": "live"}).headers["Location"]


@pytest.mark.parametrize("page", ["keys", "endpoint"])
def test_keys_and_endpoints_ask_who_it_is_once_more(
    settings: Settings, staff: Browser, own: CompanyFacts, page: str
) -> None:
    now = db.now()
    with db.transaction(settings.database_url) as session:
        client_id = services.create_client(
            session, company_id=own.company_id, name="Billing", redirect_uris=["https://brightwell.example/b"], now=now
        )
        mine = update(BrowserSession).where(BrowserSession.person_id == staff.person_id)
        session.execute(mine.values(authenticated_at=now - timedelta(minutes=16)))
    path = f"/org/apps/{client_id}/{page}"
    assert staff.get(f"/org/apps/{client_id}").status_code == 200
    for answer in (staff.get(path), staff.send(path, jwks="{}", url="https://elsewhere.example/")):
        assert answer.status_code == 303
        assert answer.headers["Location"].startswith("/account/sign-in?next=")
        assert "again=1" in answer.headers["Location"]
