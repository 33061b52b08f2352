"""An app's registered metadata, its key address and registration tokens, on the pages of company staff."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import select, update

from portal import db
from portal.companies import queries, registration, services
from portal.companies.metadata import CIBA
from portal.companies.models import Client, InitialAccessToken
from portal.identity.models import BrowserSession
from tests.companies.browser import Browser
from tests.oauth.key_server import KeyServer
from tests.sync.cast import allow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from flask import Flask

    from portal.companies.queries import ClientFacts, CompanyFacts
    from portal.config import Settings
    from portal.vault.keyring import Keyring

    Make = Callable[..., dict[str, Any]]

SETTINGS = {
    "name": "Billing",
    "redirect_uris": "https://brightwell.example/back\r\nhttp://localhost:5000/back",
    "post_logout_redirect_uris": "https://brightwell.example/bye",
    "approvals": "poll",
    "notification_endpoint": "",
    "require_signed_request_object": "y",
    "authorization_signed": "y",
    "id_token_encrypted": "y",
    "userinfo": "signed",
    "introspection": "encrypted",
}
TOKEN = {"name": "Pipeline", "environment": "test", "uses": "3", "days": "2"}
TOKENS = "/org/registration-tokens"


@pytest.fixture
def client(settings: Settings, own: CompanyFacts, jwks: dict[str, Any]) -> str:
    metadata = {
        "client_name": "Bills", "redirect_uris": ["https://brightwell.example/back"], "jwks": jwks,
        "contacts": ["dev@brightwell.example"], "default_max_age": 60,
    }  # fmt: skip
    with db.transaction(settings.database_url) as session:
        return services.register_client(session, company_slug=own.slug, metadata=metadata, now=db.now())


@pytest.fixture
def server(public: Make) -> Iterator[KeyServer]:
    keys = [public("p256 too", use="sig", kid="s2"), public("x25519", use="enc", kid="e1")]
    made = KeyServer({"keys": keys})
    allow(made.pair)
    yield made
    made.close()


def kept(settings: Settings, client_id: str) -> ClientFacts:
    with db.transaction(settings.database_url) as session:
        found = queries.client(session, client_id)
    assert found
    return found


def test_settings_are_saved_and_shown_and_what_the_form_does_not_show_stays(
    settings: Settings, staff: Browser, client: str
) -> None:
    assert staff.send(f"/org/apps/{client}/settings", **SETTINGS).headers["Location"] == f"/org/apps/{client}"
    found = kept(settings, client)
    assert (found.name, found.redirect_uris) == ("Billing", ("https://brightwell.example/back",
                                                             "http://localhost:5000/back"))  # fmt: skip
    held = found.metadata
    assert held.post_logout_redirect_uris == ("https://brightwell.example/bye",)
    assert CIBA in held.grant_types
    assert held.backchannel_token_delivery_mode == "poll"
    assert held.require_signed_request_object
    assert held.authorization_signed_response_alg == "ES256"
    assert held.id_token_encrypted_response_enc == "A256GCM"
    assert (held.userinfo_signed_response_alg, held.userinfo_encrypted_response_alg) == ("ES256", None)
    assert held.introspection_encrypted_response_alg == "ECDH-ES+A256KW"
    assert (held.contacts, held.default_max_age) == (("dev@brightwell.example",), 60)
    page = staff.get(f"/org/apps/{client}").text
    for words in ("Signed only (JAR)", "Always signed (JARM)", "Poll", "https://brightwell.example/bye"):
        assert words in page


def test_the_form_shows_what_holds_and_takes_it_all_back(settings: Settings, staff: Browser, client: str) -> None:
    path = f"/org/apps/{client}/settings"
    before = kept(settings, client)
    staff.send(path, **SETTINGS)
    html = staff.get(path).text
    assert re.search(r'<input checked[^>]*name="approvals"[^>]*value="poll"', html)
    assert re.search(r'<input[^>]*checked[^>]*name="authorization_signed"', html)
    assert re.search(r'<input checked[^>]*name="introspection"[^>]*value="encrypted"', html)
    off = {"name": "Bills", "redirect_uris": "https://brightwell.example/back", "approvals": "off",
           "post_logout_redirect_uris": "", "notification_endpoint": "",
           "userinfo": "plain", "introspection": "plain"}  # fmt: skip
    assert staff.send(path, **off).status_code == 303
    assert kept(settings, client) == before


@pytest.mark.parametrize(
    ("change", "sentence", "field"),
    [({"redirect_uris": "http://brightwell.example/"}, "must start with https://", "redirect_uris"),
     ({"redirect_uris": ""}, "at least one redirect address", "redirect_uris"),
     ({"redirect_uris": "https://a.example/ https://b.example/"}, "one host", "redirect_uris"),
     ({"post_logout_redirect_uris": "https://evil.example/"}, "one host", "post_logout_redirect_uris"),
     ({"approvals": "ping"}, "ping needs", "notification_endpoint"),
     ({"approvals": "ping", "notification_endpoint": "https://10.0.0.1/"}, "full domain name", "notification_endpoint"),
     ({"approvals": ""}, "Choose how you ask", "approvals"), ({"userinfo": "x"}, "Not a valid choice", "userinfo"),
     ({"name": " "}, "Enter a name for the app", "name")],
)  # fmt: skip
def test_settings_that_are_not_right_are_said_at_their_field_and_what_was_typed_is_kept(  # noqa: PLR0917 - fixtures
    settings: Settings, staff: Browser, client: str, change: dict[str, str], sentence: str, field: str
) -> None:
    before = kept(settings, client)
    answer = staff.send(f"/org/apps/{client}/settings", **SETTINGS | change)
    assert answer.status_code == 422
    shown = re.search(rf'id="e-{field}".*?</span>(.*?)</span>', answer.text, re.DOTALL)
    assert shown
    assert sentence in shown[1]
    assert SETTINGS["post_logout_redirect_uris"] in answer.text or "post_logout_redirect_uris" in change
    assert kept(settings, client) == before


def test_keys_are_read_from_an_address_and_given_back(
    settings: Settings, staff: Browser, client: str, server: KeyServer, jwks: dict[str, Any]
) -> None:
    path = f"/org/apps/{client}/keys"
    assert staff.send(f"{path}/address", jwks_uri=server.url).status_code == 303
    assert kept(settings, client).metadata.jwks_uri == server.url
    with db.transaction(settings.database_url) as session:
        assert [key["kid"] for key in queries.keys(session, client, "sig")] == ["s2"]
        assert [key["kid"] for key in queries.keys(session, client, "enc")] == ["e1"]
    html = staff.get(path).text
    assert server.url in html
    assert 'name="jwks"' not in html
    assert server.url in staff.get(f"/org/apps/{client}").text
    assert "Change them there" in staff.get(staff.send(f"{path}/retire", kid="s2").headers["Location"]).text
    assert "Change them there" in staff.send(path, jwks=json.dumps(jwks)).text
    assert staff.send(f"{path}/address", jwks_uri="").status_code == 303
    assert 'name="jwks"' in staff.get(path).text
    with db.transaction(settings.database_url) as session:
        assert [key["kid"] for key in queries.keys(session, client, "sig")] == ["s2"]


@pytest.mark.parametrize(
    ("address", "sentence"),
    [("http://brightwell.example/jwks", "begin with https://"), ("https://127.0.0.1/jwks", "full domain name"),
     ("nonsense", "begin with https://"), ("https://a.example:22/", "port must be")],
)  # fmt: skip
def test_an_address_that_cannot_be_read_is_said_beside_it(
    settings: Settings, staff: Browser, client: str, address: str, sentence: str
) -> None:
    answer = staff.send(f"/org/apps/{client}/keys/address", jwks_uri=address)
    assert answer.status_code == 422
    assert sentence in answer.text
    assert f'value="{address}"' in answer.text
    assert kept(settings, client).metadata.jwks_uri is None


def test_a_set_that_would_leave_no_key_changes_nothing(
    settings: Settings, staff: Browser, client: str, server: KeyServer
) -> None:
    server.jwks["keys"].pop()
    answer = staff.send(f"/org/apps/{client}/keys/address", jwks_uri=server.url)
    assert answer.status_code == 422
    assert kept(settings, client).metadata.jwks_uri is None
    with db.transaction(settings.database_url) as session:
        assert {key["kid"] for key in queries.keys(session, client, "sig")} == {"s1"}


def _token(html: str) -> str:
    found = re.search(r"ucmit_[\w-]{43}", html)
    assert found
    return found[0]


def test_a_token_is_shown_once_and_kept_as_its_hash(settings: Settings, staff: Browser, own: CompanyFacts) -> None:
    answer = staff.send(TOKENS, **TOKEN)
    assert answer.status_code == 200
    assert answer.headers["Cache-Control"] == "no-store"
    token = _token(answer.text)
    again = staff.get(TOKENS).text
    assert token not in again
    assert "Pipeline" in again
    with db.transaction(settings.database_url) as session:
        row = session.get_one(InitialAccessToken, registration.hash_of(token))
        assert (row.company_id, row.uses_left, row.made_by) == (own.company_id, 3, staff.person_id)
        assert row.expires_at - row.created_at == timedelta(days=2)
        assert registration.admitted(session, token, now=db.now()) is not None
        assert registration.admitted(session, token, now=db.now() + timedelta(days=3)) is None


def test_a_token_that_is_ended_works_no_more(settings: Settings, staff: Browser, own: CompanyFacts) -> None:
    assert own
    token = _token(staff.send(TOKENS, **TOKEN).text)
    token_id = registration.hash_of(token).hex()
    answer = staff.send(f"{TOKENS}/end", token=token_id)
    assert "Ended: Pipeline." in staff.get(answer.headers["Location"]).text
    with db.transaction(settings.database_url) as session:
        assert registration.admitted(session, token, now=db.now()) is None


@pytest.mark.parametrize("token_id", ["", "zz", "00", "é", "00" * 32])
def test_a_token_that_is_none_of_theirs_is_not_found(staff: Browser, own: CompanyFacts, token_id: str) -> None:
    assert own
    assert staff.send(f"{TOKENS}/end", token=token_id).status_code == 404


def test_another_companys_token_is_not_found(  # noqa: PLR0917 - fixtures
    app: Flask, settings: Settings, keys: Keyring, staff: Browser, own: CompanyFacts, facts: Make
) -> None:
    token_id = registration.hash_of(_token(staff.send(TOKENS, **TOKEN).text)).hex()
    rival = Browser(app, settings, keys)
    with db.transaction(settings.database_url) as session:
        services.register_company(session, **facts(owner=rival.person_id))
    assert rival.send(f"{TOKENS}/end", token=token_id).status_code == 404
    assert "Pipeline" not in rival.get(TOKENS).text
    assert own.trading_name not in rival.get(TOKENS).text


@pytest.mark.parametrize(
    ("change", "sentence"),
    [({"name": ""}, "Enter a name for the token"), ({"uses": "0"}, "from 1 to 20"), ({"uses": "21"}, "from 1 to 20"),
     ({"days": "8"}, "from 1 to 7"), ({"days": "x"}, "Enter a number of days"), ({"environment": "x"}, "Not a valid"),
     ({"environment": "live"}, "A live app needs a checked organisation")],
)  # fmt: skip
def test_a_token_has_bounds(
    settings: Settings, staff: Browser, own: CompanyFacts, change: dict[str, str], sentence: str
) -> None:
    answer = staff.send(TOKENS, **TOKEN | change)
    assert answer.status_code == 422
    assert sentence in answer.text
    with db.transaction(settings.database_url) as session:
        assert registration.tokens_of(session, company_id=own.company_id, now=db.now()) == []


def test_a_company_has_ten_tokens_at_most(staff: Browser, own: CompanyFacts) -> None:
    assert own
    statuses = [staff.send(TOKENS, **TOKEN).status_code for _ in range(11)]
    assert statuses == [200] * 10 + [422]


@pytest.mark.parametrize("path", ["/org/apps/{}/settings", "/org/apps/{}/keys/address", TOKENS])
def test_what_decides_who_gets_in_asks_who_it_is_once_more(
    settings: Settings, staff: Browser, client: str, path: str
) -> None:
    with db.transaction(settings.database_url) as session:
        mine = update(BrowserSession).where(BrowserSession.person_id == staff.person_id)
        session.execute(mine.values(authenticated_at=db.now() - timedelta(minutes=16)))
    for answer in (staff.get(path.format(client)), staff.send(path.format(client), **SETTINGS)):
        assert answer.status_code == 303
        assert "again=1" in answer.headers["Location"]
    with db.transaction(settings.database_url) as session:
        assert session.scalar(select(Client.settings).where(Client.client_id == client)) != {}
        assert kept(settings, client).name == "Bills"


def test_an_ended_app_says_so(settings: Settings, staff: Browser, client: str) -> None:
    with db.transaction(settings.database_url) as session:
        session.execute(update(Client).where(Client.client_id == client).values(state="ended"))
    html = staff.get(f"/org/apps/{client}").text
    assert "Test app, ended" in html
    assert not [words for words in ("Change settings", "Change keys", "Endpoint", "Add a purpose") if words in html]
    assert ">Test, ended</span>" in staff.get("/org/apps").text


def test_the_token_of_a_program_ends_where_staff_say_so(settings: Settings, staff: Browser, client: str) -> None:
    token, path = registration.client_token(), f"/org/apps/{client}"
    assert "registration access token" not in staff.get(path).text
    with db.transaction(settings.database_url) as session:
        mine = update(Client).where(Client.client_id == client)
        session.execute(mine.values(registration_token_hash=registration.hash_of(token)))
    assert "registration access token" in staff.get(path).text
    answer = staff.send(f"{path}/program/end")
    assert "Ended: no program" in staff.get(answer.headers["Location"]).text
    with db.transaction(settings.database_url) as session:
        assert registration.managed(session, client_id=client, token=token) is None
        assert not registration.by_program(session, client_id=client)
