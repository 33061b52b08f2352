"""Signing out where a company's site asks for it: OpenID Connect RP-Initiated Logout 1.0."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from joserfc.jwk import OctKey
from sqlalchemy import update

from portal import db
from portal.companies import queries as companies
from portal.companies.models import Client
from portal.companies.services import verify_company
from portal.vault import signing
from tests.oauth.rp import FORM, RelyingParty, b64, csrf, ec_key, query, signed, stays_here

if TYPE_CHECKING:
    from flask.testing import FlaskClient

    from portal.config import Settings
    from portal.vault.keyring import Keyring
    from tests.oauth.conftest import Person
    from tests.oauth.rp import Answer

BACK = "https://client.example/goodbye"
WITH_QUERY = "http://localhost:9/bye?fixed=1"
PAGE = "/oauth/end-session"


@pytest.fixture
def leaver(rp: RelyingParty, settings: Settings) -> RelyingParty:
    """A client that has registered where its people go after signing out."""
    return with_places(rp, settings)


def with_places(rp: RelyingParty, settings: Settings) -> RelyingParty:
    chosen = {"post_logout_redirect_uris": [BACK, WITH_QUERY]}
    with db.transaction(settings.database_url) as session:
        session.execute(update(Client).where(Client.client_id == rp.client_id).values(settings=chosen))
    return rp


@pytest.fixture
def checked(leaver: RelyingParty, settings: Settings) -> RelyingParty:
    """The same client, of a company that somebody has checked."""
    with db.transaction(settings.database_url) as session:
        client = companies.client(session, leaver.client_id)
        assert client
        verify_company(session, slug=client.company_slug, now=db.now())
    return leaver


def link(**sent: str | None) -> str:
    return PAGE + "?" + urlencode({name: value for name, value in sent.items() if value is not None})


def answered(browser: FlaskClient, address: str, **changes: str) -> Answer:
    """Open the page and press the button."""
    shown = browser.get(address)
    assert shown.status_code == 200, shown.text
    form = {name: values[0] for name, values in parse_qs(urlsplit(address).query).items()} | changes
    return cast("Answer", browser.post(PAGE + "/answer", data=form | {"csrf_token": csrf(shown.text)}))


def signed_in(browser: FlaskClient) -> bool:
    return browser.get("/account/security").status_code == 200


def id_token(rp: RelyingParty, person: Person) -> str:
    return str(rp.redeem(rp.code(person.browser)).json["id_token"])


def forged(keys: Keyring, settings: Settings, claims: dict[str, Any], typ: str = "JWT") -> str:
    """Return what the portal's own key signs, whatever it says."""
    with db.transaction(settings.database_url) as session:
        return signing.current(session, keyring=keys).sign(claims, typ=typ)


def test_the_whole_way(leaver: RelyingParty, person: Person) -> None:
    hint = id_token(leaver, person)
    address = link(id_token_hint=hint, post_logout_redirect_uri=BACK, state="a&b=c d")
    shown = person.browser.get(address)
    assert "client.example" in shown.text
    assert hint not in shown.text
    assert signed_in(person.browser)
    back = answered(person.browser, address)
    assert back.status_code == 303
    assert back.headers["Location"].startswith(BACK + "?")
    assert query(back) == {"state": "a&b=c d"}
    assert back.headers["Referrer-Policy"] == "no-referrer"
    assert "no-store" in back.headers["Cache-Control"]
    assert not signed_in(person.browser)


def test_without_state_the_address_is_as_registered(leaver: RelyingParty, person: Person) -> None:
    address = link(client_id=leaver.client_id, post_logout_redirect_uri=WITH_QUERY)
    assert answered(person.browser, address).headers["Location"] == WITH_QUERY


def test_with_a_query_of_its_own(checked: RelyingParty, http: FlaskClient) -> None:
    address = link(client_id=checked.client_id, post_logout_redirect_uri=WITH_QUERY, state="s")
    assert http.get(address).headers["Location"] == WITH_QUERY + "&state=s"


def test_what_the_page_says_of_itself(leaver: RelyingParty, person: Person) -> None:
    shown = person.browser.get(link(client_id=leaver.client_id, post_logout_redirect_uri=BACK))
    policy = shown.headers["Content-Security-Policy"]
    assert "form-action 'self' https://client.example;" in policy + ";"
    assert "frame-ancestors 'none'" in policy
    assert shown.headers["Cache-Control"] == "no-store"


def test_nobody_in_particular_may_ask(person: Person) -> None:
    back = answered(person.browser, PAGE)
    assert back.headers["Location"] == PAGE
    assert not signed_in(person.browser)
    assert "You are signed out" in person.browser.get(PAGE).text


def test_whoever_is_not_signed_in_goes_straight_on(checked: RelyingParty, http: FlaskClient) -> None:
    back = http.get(link(client_id=checked.client_id, post_logout_redirect_uri=BACK, state="s"))
    assert back.status_code == 303
    assert back.headers["Location"] == BACK + "?state=s"
    assert "You are signed out" in http.get(link(client_id=checked.client_id)).text


def test_nobody_is_led_to_those_whom_nobody_has_checked(leaver: RelyingParty, http: FlaskClient) -> None:
    """RFC 9700 section 4.11.2: a link to us must not end at whoever registered an address here."""
    shown = http.get(link(client_id=leaver.client_id, post_logout_redirect_uri=BACK, state="s"))
    assert shown.status_code == 200
    assert "<strong>client.example</strong>" in shown.text
    assert f'<a href="{BACK}?state=s" rel="noreferrer">' in shown.text


def test_an_expired_hint_will_do(checked: RelyingParty, http: FlaskClient, settings: Settings, keys: Keyring) -> None:
    claims = {"iss": checked.issuer, "aud": checked.client_id, "sub": "s", "auth_time": 1, "iat": 1, "exp": 2}
    hint = forged(keys, settings, claims)
    assert http.get(link(id_token_hint=hint, post_logout_redirect_uri=BACK)).headers["Location"] == BACK


def test_a_form_from_elsewhere_only_asks(leaver: RelyingParty, person: Person) -> None:
    hint = id_token(leaver, person)
    form = {"id_token_hint": hint, "post_logout_redirect_uri": BACK, "state": "s", "logout_hint": "a@example.org"}
    answer = person.browser.post(PAGE, data=form, headers={"Origin": "https://evil.example"})
    assert answer.status_code == 303
    assert answer.headers["Location"] == link(client_id=leaver.client_id, post_logout_redirect_uri=BACK, state="s")
    assert signed_in(person.browser)
    assert person.browser.get(answer.headers["Location"]).status_code == 200


@pytest.mark.parametrize("spoilt", [{}, {"csrf_token": "made up"}], ids=["none", "made up"])
def test_nobody_is_signed_out_by_another_site(leaver: RelyingParty, person: Person, spoilt: dict[str, str]) -> None:
    form = {"client_id": leaver.client_id, "post_logout_redirect_uri": BACK} | spoilt
    stays_here(person.browser.post(PAGE + "/answer", data=form))
    assert person.browser.get(PAGE + "/answer").status_code == 405
    assert signed_in(person.browser)


NEAR_MISSES = [
    BACK + "/", BACK + "?x=1", BACK + "#x", BACK.upper(), BACK.replace("https", "http"), "https://evil.example/",
    "//client.example/goodbye", "javascript:alert(1)", "https://client.example\\@evil.example/goodbye", " " + BACK,
    BACK.replace("client.example", "client.example.evil"), "https://client.example/callback", "é", "\ud83d\ude00",
]  # fmt: skip


@pytest.mark.parametrize("place", NEAR_MISSES, ids=ascii)
def test_places_that_are_not_registered(leaver: RelyingParty, person: Person, http: FlaskClient, place: str) -> None:
    address = (
        PAGE
        + "?"
        + urlencode({"client_id": leaver.client_id, "post_logout_redirect_uri": place}, errors="surrogatepass")
    )
    for browser in (person.browser, http):
        stays_here(browser.get(address))
    assert signed_in(person.browser)


def test_the_form_is_checked_again(leaver: RelyingParty, person: Person) -> None:
    address = link(client_id=leaver.client_id, post_logout_redirect_uri=BACK)
    stays_here(answered(person.browser, address, post_logout_redirect_uri="https://evil.example/"))
    assert signed_in(person.browser)


def test_who_asks_must_be_known(leaver: RelyingParty, other: RelyingParty, http: FlaskClient) -> None:
    for sent in (
        {"post_logout_redirect_uri": BACK},
        {"post_logout_redirect_uri": BACK, "client_id": other.client_id},
        {"post_logout_redirect_uri": BACK, "client_id": "unknown"},
        {"post_logout_redirect_uri": BACK, "client_id": "a\0b"},
        {"client_id": "unknown"},
        {"post_logout_redirect_uri": BACK, "logout_hint": leaver.client_id},
    ):
        stays_here(http.get(link(**sent)))


def test_a_suspended_client_leads_nowhere(leaver: RelyingParty, http: FlaskClient, settings: Settings) -> None:
    with db.transaction(settings.database_url) as session:
        session.execute(update(Client).where(Client.client_id == leaver.client_id).values(state="suspended"))
    stays_here(http.get(link(client_id=leaver.client_id, post_logout_redirect_uri=BACK)))


def test_a_hint_for_another_client(
    leaver: RelyingParty, other: RelyingParty, person: Person, http: FlaskClient, settings: Settings
) -> None:
    with_places(other, settings)
    hint = id_token(leaver, person)
    stays_here(http.get(link(id_token_hint=hint, client_id=other.client_id, post_logout_redirect_uri=BACK)))
    assert http.get(link(id_token_hint=hint, client_id=leaver.client_id)).status_code == 200


def test_hints_that_are_none(leaver: RelyingParty, http: FlaskClient, settings: Settings, keys: Keyring) -> None:
    now = int(time.time())
    claims = {"iss": leaver.issuer, "aud": leaver.client_id, "sub": "s", "auth_time": now, "iat": now, "exp": now + 9}
    key = http.get("/oauth/jwks").get_json()["keys"][0]
    kid, public = key["kid"], json.dumps(key).encode()
    unsigned = (
        b64(json.dumps({"alg": "none", "typ": "JWT", "kid": kid}).encode()) + "." + b64(json.dumps(claims).encode())
    )
    hints = [
        "a.b.c", "é", "x" * 9000, unsigned + ".", unsigned + ".AA",
        signed({"alg": "ES256", "kid": kid, "typ": "JWT"}, claims, ec_key()),
        signed({"alg": "ES256", "typ": "JWT"}, claims, ec_key()),
        signed({"alg": "HS256", "kid": kid, "typ": "JWT"}, claims, OctKey.import_key(public)),
        forged(keys, settings, claims | {"iss": "https://another.example"}),
        forged(keys, settings, claims, typ="secevent+jwt"),
        forged(keys, settings, {name: claims[name] for name in ("iss", "aud", "sub", "exp")}),
        forged(keys, settings, claims | {"aud": ["unknown"]}),
        forged(keys, settings, claims | {"aud": 7}),
    ]  # fmt: skip
    for hint in hints:
        stays_here(http.get(link(id_token_hint=hint, post_logout_redirect_uri=BACK)))


@pytest.mark.parametrize("state", ["s" * 513, "grüß", "a\nb", "a\0b"], ids=ascii)
def test_a_state_that_is_none(leaver: RelyingParty, http: FlaskClient, state: str) -> None:
    stays_here(http.get(link(client_id=leaver.client_id, post_logout_redirect_uri=BACK, state=state)))


def test_a_parameter_twice(leaver: RelyingParty, person: Person, http: FlaskClient) -> None:
    pairs = [("client_id", leaver.client_id), ("post_logout_redirect_uri", BACK)]
    for name, value in (*pairs, ("state", "s")):
        twice = urlencode([*pairs, ("state", "s"), (name, value)])
        stays_here(http.get(f"{PAGE}?{twice}"))
        stays_here(http.post(PAGE, data=twice, content_type=FORM))
    assert signed_in(person.browser)


def test_bodies_that_are_no_form(http: FlaskClient) -> None:
    for body, kind in ((b"{}", "application/json"), (b"\xff=1", FORM), (b"a=%ff", FORM), (b"a", FORM)):
        stays_here(http.post(PAGE, data=body, content_type=kind))
    assert http.post(PAGE, data=b"a=" + b"x" * 70_000, content_type=FORM).status_code == 413
    assert http.get(PAGE + "?client_id=%ff").status_code == 400
