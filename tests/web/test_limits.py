"""How often machines and people may fail, on a real Valkey; each test calls from addresses of its own (RFC 5737)."""

from __future__ import annotations

import itertools
import logging
import re
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

import pytest
from redis import Redis
from sqlalchemy import text

from portal import config, db
from portal.app import create_app
from portal.embedded.valkey import Valkey
from portal.errors import MisconfiguredError
from portal.identity import mailing
from portal.identity import services as identity
from portal.ledger import services as ledger
from portal.web import limits
from tests.oauth.conftest import make_person, make_rp
from tests.oauth.rp import FORM
from tests.timing import until, within

if TYPE_CHECKING:
    from collections.abc import Iterator

    from apiflask import APIFlask
    from flask.testing import FlaskClient
    from werkzeug.test import TestResponse

    from portal.config import Settings
    from portal.vault.keyring import Keyring
    from tests.oauth.rp import Answer

_numbers = itertools.count(1)
PASSWORD = "plinth-otter-kelp-sonnet"
SIGN_IN = "/account/sign-in"


def new_address() -> str:
    return f"198.51.{next(_numbers)}.7"


@pytest.fixture(scope="module")
def low(settings: Settings) -> Settings:
    with db.transaction(settings.database_url) as session:
        ledger.open_months(session, now=db.now())
    return replace(settings, machine_failures=5, people_tries=5, client_requests=5)


@pytest.fixture(scope="module")
def app(low: Settings) -> APIFlask:
    return create_app(low)


@pytest.fixture
def own_valkey() -> Iterator[Valkey]:
    """A Valkey that may be stopped."""
    with tempfile.TemporaryDirectory(prefix="ucm-") as folder:
        server = Valkey(Path(folder))
        server.start()
        yield server
        server.stop()


def caller(app: APIFlask, address: str, *, cookies: bool = False) -> FlaskClient:
    client = app.test_client(use_cookies=cookies)
    client.environ_base |= {"HTTP_HOST": "localhost:8000", "REMOTE_ADDR": address}
    return client


def unknown_client(http: FlaskClient, path: str = "/oauth/token") -> TestResponse:
    """Fail client authentication."""
    return http.post(path, data="grant_type=client_credentials&client_id=nobody", content_type=FORM)


def unknown_token(http: FlaskClient, path: str = "/api/v1/people/somebody") -> TestResponse:
    return http.get(path, headers={"Authorization": "DPoP ucmat_unknown", "DPoP": "x.y.z"})


def waited(answer: Answer) -> int:
    """Return Retry-After, which must be whole seconds within the window (RFC 9110 section 10.2.3)."""
    assert answer.status_code == 429, answer.text
    assert re.fullmatch(r"[1-9][0-9]*", answer.headers["Retry-After"])
    assert answer.headers["Cache-Control"] == "no-store"
    return int(answer.headers["Retry-After"])


# --- Machines -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/oauth/token", "/oauth/par", "/oauth/introspect", "/oauth/revoke"])
def test_row_75_brute_force_on_an_oauth_endpoint(app: APIFlask, path: str) -> None:
    http = caller(app, new_address())
    tried = [unknown_client(http, path).status_code for _ in range(5)]
    assert tried == [401] * 5
    answer = unknown_client(http, path)
    assert waited(answer) <= 60
    assert answer.json
    assert answer.json["error"] == "temporarily_unavailable"
    assert set(answer.json) == {"error", "error_description"}


@pytest.mark.parametrize("path", ["/api/v1/people/somebody", "/api/v1/pulls/x", "/oauth/userinfo"])
def test_row_75_brute_force_on_a_resource(app: APIFlask, path: str) -> None:
    """The pull's fast way in, the API and userinfo: a problem document (RFC 9457)."""
    http = caller(app, new_address())
    path = path.replace("/x", "/00000000-0000-0000-0000-000000000000")
    assert [unknown_token(http, path).status_code for _ in range(5)] == [401] * 5
    answer = unknown_token(http, path)
    assert waited(answer) <= 60
    assert answer.content_type == "application/problem+json"
    assert answer.json
    assert answer.json["type"].endswith("/docs/errors/too-many-requests")
    assert http.get("/docs/errors/too-many-requests").status_code == 200


def test_what_anyone_may_read_stays_open(app: APIFlask) -> None:
    http = caller(app, new_address())
    for _ in range(7):
        answer = unknown_client(http)
    waited(answer)
    for path in ("/oauth/jwks", "/.well-known/openid-configuration", "/account/sign-in", "/"):
        assert http.get(path).status_code == 200, path


def test_failures_of_every_kind_count_together_and_shut_every_door(app: APIFlask) -> None:
    http = caller(app, new_address())
    for _ in range(3):
        unknown_client(http)
        unknown_token(http)
    waited(unknown_client(http))
    waited(unknown_token(http))


def test_good_requests_of_a_shut_address_wait_and_other_addresses_do_not(app: APIFlask, low: Settings) -> None:
    address = new_address()
    rp = make_rp(caller(app, address), low)
    token = rp.own_token()
    for _ in range(6):
        unknown_client(rp.http)
    waited(rp.call("/api/v1/people/somebody", token))
    waited(rp.token(grant_type="client_credentials"))
    rp.http = caller(app, new_address())
    assert rp.call("/api/v1/people/somebody", token).status_code == 404
    assert rp.token(grant_type="client_credentials").status_code == 200


def test_an_answer_in_front_of_flask_waits_as_well(app: APIFlask, low: Settings, keys: Keyring) -> None:
    """A pull and userinfo that are good leave before any hook runs."""
    rp = make_rp(caller(app, new_address()), low)
    given = rp.redeem(rp.code(make_person(app, low, keys).browser)).json
    paths = (f"/api/v1/people/{given['sub']}", "/oauth/userinfo")
    assert [rp.call(path, given["access_token"]).status_code for path in paths] == [200, 200]
    for _ in range(6):
        unknown_client(rp.http)
    for path in paths:
        waited(rp.call(path, given["access_token"]))


def test_good_requests_are_not_counted(app: APIFlask, low: Settings) -> None:
    rp = make_rp(caller(app, new_address()), low)
    for _ in range(12):
        token = rp.own_token()
        assert rp.call("/api/v1/people/somebody", token).status_code == 404
    assert unknown_client(rp.http).status_code == 401


def test_a_token_that_ran_out_is_no_try(app: APIFlask, low: Settings) -> None:
    """Whoever asks often meets the end of a token many times at once."""
    rp = make_rp(caller(app, new_address()), low)
    token = rp.own_token()
    with db.transaction(low.database_url) as session:
        ended = "UPDATE access_token SET expires_at = now() - interval '1 second' WHERE client_id = :id"
        session.execute(text(ended), {"id": rp.client_id})
    for path in ("/api/v1/people/somebody", "/oauth/userinfo", f"/api/v1/pulls/{UUID(int=0)}") * 6:
        answer = rp.call(path, token)
        assert answer.status_code == 401
        assert 'error="invalid_token"' in answer.headers["WWW-Authenticate"]
    assert rp.token(grant_type="client_credentials").status_code == 200


def test_a_burst_sent_at_once_is_counted_one_by_one(app: APIFlask) -> None:
    address = new_address()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _number: unknown_client(caller(app, address)).status_code, range(16)))
    waited(unknown_client(caller(app, address)))


def test_processes_count_together(app: APIFlask, low: Settings) -> None:
    address, other = new_address(), create_app(low)
    for _ in range(3):
        unknown_client(caller(app, address))
        unknown_client(caller(other, address))
    waited(unknown_client(caller(app, address)))
    waited(unknown_client(caller(other, address)))


def test_the_window_ends(app: APIFlask) -> None:
    own, rate, who = limits.of(app), limits.Rate("short", 2, 2), new_address()
    for _ in range(3):
        own.fail(rate, who)
    assert own.wait_of(who) in {1, 2}
    until(lambda: own.wait_of(who) == 0)
    own.fail(rate, who)
    assert own.wait_of(who) == 0


def test_a_proof_that_is_bad_counts_and_a_scope_that_is_missing_does_not(app: APIFlask, low: Settings) -> None:
    rp = make_rp(caller(app, new_address()), low)
    own = rp.own_token()
    for _ in range(8):
        assert rp.call("/oauth/userinfo", own).status_code == 403
    bad = [rp.proof("/elsewhere", method="GET", token=own) for _ in range(6)]
    assert [rp.call("/oauth/userinfo", own, dpop=proof).status_code for proof in bad] == [401] * 5 + [429]
    waited(rp.call("/oauth/userinfo", own))


@pytest.mark.parametrize("endpoint", ["/oauth/par"])
def test_one_client_may_push_so_many(app: APIFlask, low: Settings, endpoint: str) -> None:
    """RFC 9126 section 2.3; another client is not held up by it."""
    http = caller(app, new_address())
    eager, other = make_rp(http, low), make_rp(http, low)
    assert [eager.post(endpoint, eager.request()).status_code for _ in range(5)] == [201] * 5
    answer = eager.post(endpoint, eager.request())
    assert waited(answer) <= 60
    assert answer.json["error"] == "temporarily_unavailable"
    assert other.post(endpoint, other.request()).status_code == 201
    assert eager.token(grant_type="client_credentials").status_code == 200


def test_whoever_was_too_fast_waits_until_the_window_ends(app: APIFlask) -> None:
    """Valkey is told of a twentieth at once; the answers in between are no gaps."""
    own, rate, who = limits.of(app), limits.Rate("pushes", 40, 60), new_address()
    waits = [own.pace(rate, who) for _ in range(100)]
    assert waits[:41] == [0] * 41
    assert all(0 < wait <= 60 for wait in waits[41:])


def test_a_good_request_asks_valkey_nothing(app: APIFlask, low: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    rp = make_rp(caller(app, new_address()), replace(low, client_requests=1000))
    monkeypatch.setitem(app.extensions, "portal_settings", replace(low, client_requests=1000))
    with Redis.from_url(low.redis_url) as valkey:
        before = _answered(valkey)
        token = rp.own_token()
        rp.call("/api/v1/people/somebody", token)
        rp.post("/oauth/introspect", rp.identified(token=token))
        rp.push()
        assert _answered(valkey) - before <= 1  # the second look itself


def _answered(valkey: Redis) -> int:
    return int(valkey.info("stats")["total_commands_processed"])


# --- Whose address ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("2001:DB8:1:2::ffff", "2001:db8:1:2::"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("fe80::1%eth0", "fe80::"),
        ("::nonsense::", "::nonsense::"),
        ("", ""),
    ],
)
def test_an_ipv6_address_is_counted_with_its_neighbours(address: str, network: str) -> None:
    assert limits.network(address) == network


def test_no_address_is_kept_in_plain(app: APIFlask, low: Settings) -> None:
    address = "203.0.113.199"
    for _ in range(7):
        unknown_client(caller(app, address))
    with Redis.from_url(low.redis_url) as valkey:
        names = b" ".join(valkey.scan_iter())
    assert b"ucm-limits" in names
    assert address.encode() not in names
    assert limits.of(app).name_of(address).encode() in names


@pytest.mark.parametrize(
    ("proxies", "forwarded", "seen"),
    [
        (0, "203.0.113.1", "10.0.0.1"),
        (1, "203.0.113.1", "203.0.113.1"),
        (1, "203.0.113.66, 203.0.113.1", "203.0.113.1"),
        (2, "203.0.113.66, 203.0.113.1, 10.9.9.9", "203.0.113.1"),
        (1, "", "10.0.0.1"),
    ],
)
def test_only_our_own_proxies_say_where_somebody_comes_from(
    low: Settings, proxies: int, forwarded: str, seen: str
) -> None:
    """OWASP ASVS 5.0, 4.1.3: what a caller writes into X-Forwarded-For moves nothing."""
    app = create_app(replace(low, trusted_proxies=proxies))
    told: list[str] = []
    app.before_request(lambda: told.append(limits.caller()))
    caller(app, "10.0.0.1").get("/", headers={"X-Forwarded-For": forwarded})
    assert told == [seen]


@pytest.mark.parametrize("value", ["-1", "1.5", "many", "0", "٣"])
@pytest.mark.parametrize(
    "name",
    [
        "LIMIT_MACHINE_FAILURES",
        "LIMIT_PEOPLE_TRIES",
        "LIMIT_CLIENT_REQUESTS",
        "LIMIT_API_REQUESTS",
        "LIMIT_GRANT_PULLS",
    ],
)
def test_a_setting_that_is_no_number_is_told(name: str, value: str) -> None:
    environ = {"DATABASE_URL": "postgresql://x/y", "REDIS_URL": "unix:///x", "KEYRING_FILE": "/x", name: value}
    with pytest.raises(MisconfiguredError, match=name):
        config.load(environ)
    assert config.load(environ | {name: "", "TRUSTED_PROXIES": "0"}).trusted_proxies == 0


# --- People -------------------------------------------------------------------------------------------------


def send(browser: FlaskClient, at: str, fields: dict[str, str], to: str = "") -> TestResponse:
    token = re.search(r'name="csrf_token"[^>]*value="([^"]+)"', browser.get(at).text)
    assert token
    return browser.post(to or at, data={"csrf_token": token[1], **fields})


@pytest.fixture
def known(low: Settings, keys: Keyring) -> str:
    """The address of somebody with an account and `PASSWORD`."""
    email = f"{db.new_id().hex}@example.org"
    with db.transaction(low.database_url) as session:
        made = identity.register(session, keyring=keys, email=email, now=db.now())
        identity.confirm(session, keyring=keys, person_id=made.person_id)
        identity.set_password(session, keyring=keys, person_id=made.person_id, password=PASSWORD, now=db.now())
    return email


def test_row_75_wrong_passwords_are_answered_by_a_page(app: APIFlask, known: str) -> None:
    """OWASP ASVS 5.0, 6.3.1: one password tried on many addresses is stopped where it comes from."""
    browser = caller(app, new_address(), cookies=True)
    for number in range(5):
        wrong = {"email": f"{number}{known}", "password": "wrong wrong wrong", "by": "password"}
        assert send(browser, SIGN_IN, wrong).status_code == 422
    answer = send(browser, SIGN_IN, {"email": known, "password": PASSWORD, "by": "password"})
    assert waited(answer) <= 900
    assert "<title>Error: Sign in" in answer.text
    assert "too many tries" in answer.text
    assert "Wait 15 minutes" in answer.text
    assert f'value="{known}"' in answer.text
    assert PASSWORD not in answer.text
    elsewhere = caller(app, new_address(), cookies=True)
    assert send(elsewhere, SIGN_IN, {"email": known, "password": PASSWORD, "by": "password"}).status_code == 303


def test_known_and_unknown_people_are_stopped_alike(app: APIFlask, known: str) -> None:
    def told(email: str) -> list[tuple[int, str]]:
        browser, found = caller(app, new_address(), cookies=True), []
        for _ in range(7):
            answer = send(browser, SIGN_IN, {"email": email, "password": "wrong wrong wrong", "by": "password"})
            page = re.sub(r'name="csrf_token"[^>]*', "", answer.text.replace(email, "ADDRESS"))
            found.append((answer.status_code, page))
        return found

    assert told(known) == told(f"{db.new_id().hex}@example.org")


def test_people_who_share_an_address_do_not_use_up_each_others_tries(app: APIFlask, known: str) -> None:
    address = new_address()
    for _ in range(9):
        browser = caller(app, address, cookies=True)
        assert send(browser, SIGN_IN, {"email": known, "password": PASSWORD, "by": "password"}).status_code == 303


@pytest.mark.parametrize("at", [SIGN_IN, "/account/create"])
def test_codes_and_new_accounts_are_asked_for_so_often(app: APIFlask, at: str) -> None:
    address = new_address()
    for number in range(6):
        browser = caller(app, address, cookies=True)
        answer = send(browser, at, {"email": f"{number}{db.new_id().hex}@example.org", "by": "code"})
        assert answer.status_code == (303 if number < 5 else 429)
    assert waited(answer) <= 900
    assert "@example.org" in answer.text
    again = caller(app, address, cookies=True)
    with again.session_transaction() as kept:
        assert "sign-in" not in kept


def test_code_tries_are_counted_over_browsers(app: APIFlask) -> None:
    address = new_address()
    browsers = [caller(app, address, cookies=True) for _ in range(3)]
    for browser in browsers:
        send(browser, SIGN_IN, {"email": f"{db.new_id().hex}@example.org", "by": "code"})
    tried = [send(browser, "/account/code", {"code": "123456"}).status_code for browser in browsers * 2]
    assert tried == [422] * 5 + [429]
    answer = send(browsers[0], "/account/code", {}, to="/account/code/again")
    assert answer.status_code == 303


def test_a_stranger_keeps_nobody_out_of_codes(app: APIFlask, known: str) -> None:
    """Five codes an address may have sent from one place; the person's own place is another."""
    strangers, owners = new_address(), new_address()
    assert [_may_send(app, strangers, known) for _ in range(6)] == [True] * 5 + [False]
    assert [_may_send(app, owners, known) for _ in range(6)] == [True] * 5 + [False]


def test_a_mailbox_is_not_flooded_from_many_places(app: APIFlask, known: str) -> None:
    assert sum(_may_send(app, new_address(), known) for _ in range(20)) == 15


def _may_send(app: APIFlask, address: str, email: str) -> bool:
    with app.test_request_context(environ_base={"REMOTE_ADDR": address}):
        return mailing.may_send(email)


# --- Valkey away --------------------------------------------------------------------------------------------


def test_without_valkey_everything_is_answered_and_a_line_says_so(
    low: Settings, own_valkey: Valkey, known: str, caplog: pytest.LogCaptureFixture
) -> None:
    """OWASP ASVS 5.0, 16.5.2: each process then counts for itself."""
    caplog.set_level(logging.WARNING)
    app = create_app(replace(low, redis_url=own_valkey.url))
    http = caller(app, new_address())
    assert unknown_client(http).status_code == 401
    own_valkey.kill()
    assert [unknown_client(http).status_code for _ in range(5)] == [401] * 5
    waited(unknown_client(http))
    browser = caller(app, new_address(), cookies=True)
    assert send(browser, SIGN_IN, {"email": known, "password": PASSWORD, "by": "password"}).status_code == 303
    told = [record.getMessage() for record in caplog.records if record.name == limits.__name__]
    assert told == ["rate limits are counted by each process alone: ConnectionError"]


def test_a_valkey_that_hangs_holds_nobody_up(low: Settings, own_valkey: Valkey) -> None:
    apps = [create_app(replace(low, redis_url=own_valkey.url)) for _ in range(5)]
    callers = [caller(app, new_address()) for app in apps]
    for http in callers:
        unknown_client(http)
    with Redis.from_url(own_valkey.url) as valkey:
        valkey.execute_command("CLIENT", "PAUSE", "60000", "ALL")
    fresh = iter(callers)

    def ask() -> list[int]:
        http = next(fresh)
        return [unknown_client(http).status_code for _ in range(4)]

    assert within(2.5, ask) == [401] * 4
