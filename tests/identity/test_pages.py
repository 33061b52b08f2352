"""Signing up, in and out over HTTP, with form tokens really on."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta
from http.cookies import SimpleCookie
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from portal import db
from portal.identity import queries

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

    from flask import Flask
    from flask.testing import FlaskClient
    from werkzeug.test import TestResponse

    from portal.config import Settings
    from portal.vault.keyring import Keyring

    from .conftest import Mailbox

    Person = tuple[UUID, str]
    Send = Callable[..., TestResponse]

ENTRY = "/account/sign-in"


def new_address() -> str:
    return f"{db.new_id().hex}@example.org"


def by_password(send: Send, client: FlaskClient, email: str, password: str, query: str = "") -> TestResponse:
    return send(client, f"{ENTRY}{query}", {"email": email, "password": password, "by": "password"})


def by_code(send: Send, client: FlaskClient, email: str) -> TestResponse:
    return send(client, ENTRY, {"email": email, "by": "code"})


def cookie(response: TestResponse, name: str = "session") -> SimpleCookie:
    return SimpleCookie(next(line for line in response.headers.getlist("Set-Cookie") if line.startswith(f"{name}=")))


def test_a_password_signs_in_and_leads_back(client: FlaskClient, person: Person, password: str, send: Send) -> None:
    answer = by_password(send, client, person[1], password, "?next=/account/security")
    assert (answer.status_code, answer.location) == (303, "/account/security")
    assert person[1] in client.get("/account/security").text


@pytest.mark.parametrize("address", ["https://evil.example", "//evil.example", "/\\evil.example", "/%09/evil.example"])
def test_nobody_is_led_elsewhere(client: FlaskClient, person: Person, password: str, send: Send, address: str) -> None:
    assert by_password(send, client, person[1], password, f"?next={address}").location == "/home"


def test_strangers_are_sent_to_sign_in(client: FlaskClient) -> None:
    answer = client.get("/account/security")
    assert (answer.status_code, answer.location) == (303, "/account/sign-in?next=/account/security")


def test_a_form_without_its_token_is_refused(client: FlaskClient, person: Person, password: str) -> None:
    answer = client.post(ENTRY, data={"email": person[1], "password": password})
    assert answer.status_code == 400
    assert "Set-Cookie" not in answer.headers or "session=" not in answer.headers["Set-Cookie"]


def test_a_mistake_keeps_the_address_and_says_how_to_mend_it(client: FlaskClient, send: Send) -> None:
    answer = by_password(send, client, "wren@example.org", "")
    assert answer.status_code == 422
    assert "<title>Error: Sign in" in answer.text
    assert 'value="wren@example.org"' in answer.text
    assert '<a href="#password">Enter your password' in answer.text
    assert 'aria-invalid="true"' in answer.text


def test_what_was_typed_is_escaped(client: FlaskClient, send: Send) -> None:
    answer = by_password(send, client, '"><script>alert(1)</script>', "x")
    assert answer.status_code == 422
    assert "<script>alert" not in answer.text


@pytest.mark.parametrize(
    "email", ["", "no-at-sign", "a@b", "a b@example.org", "x" * 300 + "@example.org", "a@exa\nmple.org"]
)
def test_what_is_no_address_is_refused(client: FlaskClient, send: Send, email: str) -> None:
    assert send(client, "/account/create", {"email": email}).status_code == 422


def test_a_code_signs_in(
    client: FlaskClient, person: Person, send: Send, mailbox: Mailbox, deliver: Callable[[], int]
) -> None:
    assert by_code(send, client, person[1]).location == "/account/code"
    deliver()
    assert mailbox.mails[-1]["To"] == person[1]
    answer = send(client, "/account/code", {"code": mailbox.code()})
    assert (answer.status_code, answer.location) == (303, "/home")
    assert client.get("/account/security").status_code == 200


def test_looking_at_the_page_uses_no_code(
    client: FlaskClient, person: Person, send: Send, mailbox: Mailbox, deliver: Callable[[], int]
) -> None:
    by_code(send, client, person[1])
    deliver()
    code = mailbox.code().replace(" ", "-")
    for method in (client.get, client.head):
        assert method("/account/code", query_string={"code": code}).status_code == 200
    assert send(client, "/account/code", {"code": code}).status_code == 303


def test_a_code_does_nothing_in_another_browser(
    *, app: Flask, client: FlaskClient, person: Person, send: Send, mailbox: Mailbox, deliver: Callable[[], int]
) -> None:
    by_code(send, client, person[1])
    deliver()
    code, other = mailbox.code(), app.test_client()
    by_code(send, other, person[1])
    assert send(other, "/account/code", {"code": code}).status_code == 422
    assert send(client, "/account/code", {"code": code}).status_code == 303


def test_another_code_can_be_sent_and_both_work(
    client: FlaskClient, person: Person, send: Send, mailbox: Mailbox, deliver: Callable[[], int]
) -> None:
    by_code(send, client, person[1])
    deliver()
    first = mailbox.code()
    assert send(client, "/account/code", {}, to="/account/code/again").location == "/account/code"
    deliver()
    assert len(mailbox.mails) == 2
    assert send(client, "/account/code", {"code": first}).status_code == 303


def test_a_new_account_begins_with_a_code(
    client: FlaskClient, send: Send, mailbox: Mailbox, deliver: Callable[[], int]
) -> None:
    email = new_address()
    send(client, "/account/create?next=/details", {"email": email})
    deliver()
    assert "create an account" in mailbox.mails[-1]["Subject"]
    answer = send(client, "/account/code?next=/details", {"code": mailbox.code()})
    assert answer.location == "/account/password?next=%2Fdetails&new=1"
    shown = client.get(answer.location).text
    assert 'href="/details">Do without' in shown
    assert email in client.get("/details").text


def test_a_known_address_is_told_so_by_mail_alone(
    client: FlaskClient, person: Person, send: Send, mailbox: Mailbox, deliver: Callable[[], int]
) -> None:
    send(client, "/account/create", {"email": person[1]})
    deliver()
    assert "already have an account" in mailbox.mails[-1]["Subject"]
    assert send(client, "/account/code", {"code": mailbox.code()}).location == "/home"


def told(app: Flask, send: Send, at: str, fields: dict[str, str]) -> tuple[object, ...]:
    """Return all that a visitor learns: status, place, headers, what the cookie holds, the next page."""
    client = app.test_client()
    answer = send(client, at, fields)
    page = client.get("/account/code").text if answer.status_code == 303 else answer.text
    page = page.replace(fields["email"], "ADDRESS")
    page = re.sub(r'name="csrf_token"[^>]*|req_[0-9a-f]+', "", page)
    with client.session_transaction() as cookie:
        kept = {name: len(str(value)) for name, value in cookie.items()}
    names = sorted(name for name, _ in answer.headers)
    return answer.status_code, answer.location, names, kept, page


@pytest.mark.parametrize(
    ("at", "fields"),
    [
        (ENTRY, {"by": "code"}),
        (ENTRY, {"by": "password", "password": "wrong wrong wrong"}),
        ("/account/create", {}),
    ],
)
def test_nothing_tells_whether_an_address_is_known(
    app: Flask, person: Person, send: Send, at: str, fields: dict[str, str]
) -> None:
    known = told(app, send, at, {"email": person[1], **fields})
    assert known == told(app, send, at, {"email": new_address(), **fields})


def test_a_wrong_code_tells_nothing_either(app: Flask, person: Person, send: Send) -> None:
    def wrong(email: str) -> tuple[int, str]:
        client = app.test_client()
        by_code(send, client, email)
        answer = send(client, "/account/code", {"code": "000 000"})
        return answer.status_code, re.sub(r'name="csrf_token"[^>]*', "", answer.text.replace(email, "ADDRESS"))

    assert wrong(person[1]) == wrong(new_address())


def test_a_bell_is_rung_for_everybody(app: Flask, person: Person, send: Send, deliver: Callable[[], int]) -> None:
    for email in (person[1], new_address()):
        by_code(send, app.test_client(), email)
        assert deliver() == 1


def test_one_address_gets_five_mails_at_most(
    app: Flask, send: Send, mailbox: Mailbox, deliver: Callable[[], int]
) -> None:
    email = new_address()
    for _ in range(7):
        assert send(app.test_client(), "/account/create", {"email": email}).status_code == 303
    deliver()
    assert len(mailbox.mails) == 5


def test_ten_wrong_passwords_are_answered_alike(client: FlaskClient, person: Person, password: str, send: Send) -> None:
    wrong = {by_password(send, client, person[1], "wrong wrong wrong").status_code for _ in range(10)}
    assert wrong == {422}
    assert by_password(send, client, person[1], password).status_code == 422


def test_a_sign_in_brings_a_new_token(client: FlaskClient, person: Person, password: str, send: Send) -> None:
    client.set_cookie("session", "planted-by-somebody-else")
    first = cookie(by_password(send, client, person[1], password))["session"].value
    second = cookie(by_password(send, client, person[1], password, "?again=1"))["session"].value
    assert len({first, second, "planted-by-somebody-else"}) == 3
    client.set_cookie("session", first)
    assert client.get("/account/security").status_code == 303


def test_a_sign_in_empties_the_form_cookie(client: FlaskClient, person: Person, password: str, send: Send) -> None:
    by_code(send, client, person[1])
    by_password(send, client, person[1], password)
    assert client.get("/account/code").location == ENTRY


def test_the_cookie_is_kept_from_scripts_and_other_sites(
    client: FlaskClient, person: Person, password: str, send: Send
) -> None:
    morsel = cookie(by_password(send, client, person[1], password))["session"]
    assert (morsel["httponly"], morsel["samesite"], morsel["path"], morsel["domain"]) == (True, "Lax", "/", "")
    assert not morsel["secure"]


def test_with_tls_the_cookie_is_bound_to_the_host(
    settings: Settings, app: Flask, person: Person, password: str, send: Send
) -> None:
    app.extensions["portal_settings"] = replace(settings, url="https://portal.example")
    client = app.test_client()
    morsel = cookie(by_password(send, client, person[1], password), "__Host-session")["__Host-session"]
    assert (morsel["secure"], morsel["path"], morsel["domain"]) == (True, "/", "")


def test_signing_out_ends_the_session(signed_in: FlaskClient, send: Send) -> None:
    held = signed_in.get_cookie("session")
    assert held
    answer = send(signed_in, "/account/security", {}, to="/account/sign-out")
    assert (answer.status_code, answer.location) == (303, "/")
    assert answer.headers["Clear-Site-Data"] == '"cache", "storage"'
    assert signed_in.get_cookie("session") is None
    signed_in.set_cookie("session", held.value)
    assert signed_in.get("/account/security").status_code == 303


def test_signing_out_takes_a_form(signed_in: FlaskClient) -> None:
    assert signed_in.get("/account/sign-out").status_code == 405
    assert signed_in.get("/account/security").status_code == 200


def test_an_idle_session_is_over(signed_in: FlaskClient, settings: Settings, person: Person) -> None:
    with db.transaction(settings.database_url) as session:
        back = {"at": db.now() - timedelta(minutes=31), "id": person[0]}
        session.execute(text("UPDATE browser_session SET seen_at = :at WHERE person_id = :id"), back)
    assert signed_in.get("/account/security").status_code == 303


def test_other_browsers_can_be_signed_out(
    *, app: Flask, signed_in: FlaskClient, person: Person, password: str, send: Send, settings: Settings
) -> None:
    other = app.test_client()
    by_password(send, other, person[1], password)
    with db.transaction(settings.database_url) as session:
        newest = queries.sessions_of(session, person_id=person[0], now=db.now())[0]
    send(signed_in, "/account/security", {"session": newest.token_hash.hex()}, to="/account/sessions/end")
    assert other.get("/account/security").status_code == 303
    assert signed_in.get("/account/security").status_code == 200


@pytest.mark.parametrize("named", ["", "zz", "00", "ff" * 32])
def test_a_session_of_nobodys_cannot_be_ended(signed_in: FlaskClient, send: Send, named: str) -> None:
    answer = send(signed_in, "/account/security", {"session": named}, to="/account/sessions/end")
    assert answer.status_code == 404


def test_a_password_needs_a_recent_sign_in(signed_in: FlaskClient, settings: Settings, person: Person) -> None:
    with db.transaction(settings.database_url) as session:
        back = {"at": db.now() - timedelta(minutes=16), "id": person[0]}
        session.execute(text("UPDATE browser_session SET authenticated_at = :at WHERE person_id = :id"), back)
    answer = signed_in.get("/account/password")
    assert answer.location == "/account/sign-in?next=/account/password&again=1"
    assert "Sign in again" in signed_in.get(answer.location).text


def test_a_new_password_ends_other_sessions_and_is_told(
    *,
    app: Flask,
    signed_in: FlaskClient,
    person: Person,
    password: str,
    send: Send,
    mailbox: Mailbox,
    deliver: Callable[[], int],
) -> None:
    other = app.test_client()
    by_password(send, other, person[1], password)
    answer = send(signed_in, "/account/password", {"password": "gravel heron mitten quartz"})
    assert answer.location == "/account/security"
    assert other.get("/account/security").status_code == 303
    deliver()
    assert "was changed" in mailbox.mails[-1]["Subject"]
    assert by_password(send, app.test_client(), person[1], "gravel heron mitten quartz").status_code == 303


def test_a_weak_password_is_refused_with_a_way_to_mend_it(signed_in: FlaskClient, send: Send) -> None:
    answer = send(signed_in, "/account/password", {"password": "too short"})
    assert answer.status_code == 422
    assert "at least 15 characters" in answer.text
    assert "too short" not in answer.text


def test_nothing_of_a_person_is_logged(
    *,
    client: FlaskClient,
    person: Person,
    password: str,
    send: Send,
    mailbox: Mailbox,
    deliver: Callable[[], int],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("DEBUG")
    by_password(send, client, person[1], "wrong wrong wrong")
    by_code(send, client, person[1])
    deliver()
    code = mailbox.code()
    send(client, "/account/code", {"code": code})
    assert "sign-in refused: password" in caplog.text
    own = [record for record in caplog.records if not record.name.startswith(("mail.log", "asyncio"))]
    logged = "\n".join(record.getMessage() for record in own)
    assert not [secret for secret in (person[1], password, code, code.replace(" ", "")) if secret in logged]


@pytest.mark.parametrize("path", ["/", "/help", "/how-it-works", "/privacy", "/accessibility"])
def test_anyone_can_read_the_front_pages(client: FlaskClient, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 200
    assert "Ultimate Customer Master</title>" in answer.text


def test_a_missing_page_says_so_with_a_number(client: FlaskClient) -> None:
    answer = client.get("/nowhere")
    assert answer.status_code == 404
    assert "Page not found" in answer.text
    assert answer.headers["Request-Id"] in answer.text


def test_password_managers_find_the_way(client: FlaskClient) -> None:
    assert client.get("/.well-known/change-password").location == "/account/password"


def test_keys_of_another_portal_open_no_sign_in(client: FlaskClient, keys: Keyring) -> None:
    assert keys
    with client.session_transaction() as kept:
        kept["sign-in"] = "1.AAAA"
    assert client.get("/account/code").location == ENTRY


def test_a_broken_database_is_met_with_a_page(app: Flask, signed_in: FlaskClient) -> None:
    away = "postgresql+psycopg://nobody@127.0.0.1:9/none"
    app.extensions["portal_settings"] = replace(app.extensions["portal_settings"], database_url=away)
    answer = signed_in.get("/account/security")
    assert answer.status_code == 500
    assert "Something went wrong on our side" in answer.text
    assert "127.0.0.1" not in answer.text
