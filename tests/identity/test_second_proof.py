"""The other proof in the same session: what gives it, what does not, and what changes with it."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text

from portal import db
from portal.identity import services
from portal.web import access
from tests.identity.test_pages import ENTRY, by_code, by_password, cookie

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
    Deliver = Callable[[], int]

PAGE = access.SECOND_PROOF
BACK = f"{PAGE}?next=/sharing"


@pytest.fixture
def no_password(settings: Settings, keys: Keyring) -> Person:
    """Somebody with a confirmed address and nothing else."""
    email = f"{db.new_id().hex}@example.org"
    with db.transaction(settings.database_url) as session:
        made = services.register(session, keyring=keys, email=email, now=db.now())
        services.confirm(session, keyring=keys, person_id=made.person_id)
    return made.person_id, email


@pytest.fixture
def by_mail(client: FlaskClient, send: Send, mailbox: Mailbox, deliver: Deliver) -> Callable[[str], FlaskClient]:
    """Sign this browser in by a code."""

    def by_mail(email: str) -> FlaskClient:
        by_code(send, client, email)
        deliver()
        assert send(client, "/account/code", {"code": mailbox.code()}).status_code == 303
        return client

    return by_mail


def asked_for_code(client: FlaskClient, send: Send, mailbox: Mailbox, deliver: Deliver) -> str:
    """Have a code sent from the page and return it."""
    assert send(client, BACK, {}, to=f"{PAGE}/code?next=/sharing").location == f"{PAGE}?next=%2Fsharing"
    deliver()
    assert mailbox.mails[-1]["Subject"] == "Your code to confirm it is you"
    return mailbox.code()


def levels_of(settings: Settings, person: Person) -> list[int]:
    with db.transaction(settings.database_url) as session:
        live = "SELECT level FROM browser_session WHERE person_id = :id AND ended_at IS NULL"
        return list(session.scalars(text(live), {"id": person[0]}))


def changed(settings: Settings, person: Person, **values: Any) -> None:  # noqa: ANN401 - values of columns
    """Set columns of the person's browser sessions."""
    with db.transaction(settings.database_url) as session:
        columns = ", ".join(f"{name} = :{name}" for name in values)
        session.execute(text(f"UPDATE browser_session SET {columns} WHERE person_id = :id"), values | {"id": person[0]})  # noqa: S608


def test_after_the_password_a_code_is_the_other_proof(
    *, signed_in: FlaskClient, settings: Settings, person: Person, send: Send, mailbox: Mailbox, deliver: Deliver
) -> None:
    assert levels_of(settings, person) == [1]
    assert "Email me a code" in signed_in.get(BACK).text
    answer = send(signed_in, BACK, {"code": asked_for_code(signed_in, send, mailbox, deliver)})
    assert (answer.status_code, answer.location) == (303, "/sharing")
    assert levels_of(settings, person) == [2]


def test_after_a_code_the_password_is_the_other_proof(
    by_mail: Callable[[str], FlaskClient], settings: Settings, person: Person, password: str, send: Send
) -> None:
    client = by_mail(person[1])
    answer = send(client, BACK, {"password": password})
    assert (answer.status_code, answer.location) == (303, "/sharing")
    assert levels_of(settings, person) == [2]


def test_the_token_changes_with_what_it_is_worth(
    by_mail: Callable[[str], FlaskClient], person: Person, password: str, send: Send
) -> None:
    """OWASP ASVS 5.0, 7.2.4: a cookie that somebody planted, or copied, before is worth nothing afterwards."""
    client = by_mail(person[1])
    before = client.get_cookie("session")
    assert before
    after = cookie(send(client, BACK, {"password": password}))["session"]
    assert after.value != before.value
    assert (after["httponly"], after["samesite"], after["path"]) == (True, "Lax", "/")
    client.set_cookie("session", before.value)
    assert client.get("/account/security").status_code == 303


def test_a_button_pressed_twice_leads_on_as_well(
    by_mail: Callable[[str], FlaskClient], person: Person, password: str, send: Send
) -> None:
    """The second press carries the cookie that the first one replaced; the browser has the new one by then."""
    client = by_mail(person[1])
    before = client.get_cookie("session")
    assert before
    send(client, BACK, {"password": password})
    after = client.get_cookie("session")
    assert after
    client.set_cookie("session", before.value)
    form = {"csrf_token": _token_at(client, "/account/sign-in?again=1"), "password": password}
    answer = client.post(BACK, data=form, headers={"Referer": f"http://localhost{BACK}"})
    assert answer.location == f"{ENTRY}?next={PAGE}%3Fnext%3D/sharing"
    client.set_cookie("session", after.value)
    place: str | None = answer.location
    for expected in (BACK, "/sharing"):
        place = client.get(str(place)).location
        assert place == expected


def test_the_moment_is_new_and_the_end_is_not(
    *, by_mail: Callable[[str], FlaskClient], settings: Settings, person: Person, password: str, send: Send
) -> None:
    client, now = by_mail(person[1]), db.now()
    ends = now + timedelta(hours=3)
    changed(settings, person, authenticated_at=now - timedelta(hours=9), expires_at=ends)
    send(client, BACK, {"password": password})
    with db.transaction(settings.database_url) as session:
        row = session.execute(
            text("SELECT authenticated_at, expires_at FROM browser_session WHERE person_id = :id AND ended_at IS NULL"),
            {"id": person[0]},
        ).one()
    assert row.authenticated_at >= now
    assert row.expires_at == ends


def test_signing_in_again_begins_with_one_proof(
    *, app: Flask, by_mail: Callable[[str], FlaskClient], settings: Settings, person: Person, password: str, send: Send
) -> None:
    client = by_mail(person[1])
    send(client, BACK, {"password": password})
    by_password(send, client, person[1], password, "?again=1")
    assert levels_of(settings, person) == [1]
    by_password(send, app.test_client(), person[1], password)
    assert levels_of(settings, person) == [1, 1]


@pytest.mark.parametrize("address", ["https://evil.example", "//evil.example", "/\\evil.example", "/%09/evil.example"])
def test_nobody_is_led_elsewhere(
    by_mail: Callable[[str], FlaskClient], person: Person, password: str, send: Send, address: str
) -> None:
    """OWASP ASVS 5.0, 3.7.2."""
    answer = send(by_mail(person[1]), f"{PAGE}?next={address}", {"password": password})
    assert answer.location == "/home"


def test_whoever_has_given_both_goes_on(
    by_mail: Callable[[str], FlaskClient], person: Person, password: str, send: Send
) -> None:
    client = by_mail(person[1])
    send(client, BACK, {"password": password})
    assert client.get(BACK).location == "/sharing"
    token = re.search(r'name="csrf_token"[^>]*value="([^"]+)"', client.get("/account/password").text)
    assert token
    assert client.post(BACK, data={"csrf_token": token[1], "password": "x"}).location == "/sharing"


def test_a_stranger_signs_in_first(client: FlaskClient) -> None:
    assert client.get(BACK).location == f"{ENTRY}?next={PAGE}%3Fnext%3D/sharing"
    assert client.post(BACK).status_code == 400


def test_the_same_proof_twice_is_one_proof(
    *, app: Flask, settings: Settings, client: FlaskClient, person: Person, password: str, send: Send,
    mailbox: Mailbox, deliver: Deliver,
) -> None:  # fmt: skip
    """A password after the password, and a code after a code, change nothing."""
    by_password(send, client, person[1], password)
    assert send(client, BACK, {"password": password}).location == f"{PAGE}?next=%2Fsharing"
    other = app.test_client()
    by_code(send, other, person[1])
    send(other, "/account/code", {}, to="/account/code/again")
    deliver()
    codes = re.findall(r"\b\d{3} \d{3}\b", "".join(str(mail.get_payload()) for mail in mailbox.mails))
    assert send(other, "/account/code", {"code": codes[0]}).status_code == 303
    assert send(other, BACK, {"code": codes[1]}).status_code == 422
    assert levels_of(settings, person) == [1, 1]


def test_a_code_to_sign_in_with_confirms_nothing(
    *, app: Flask, settings: Settings, signed_in: FlaskClient, person: Person, send: Send, mailbox: Mailbox,
    deliver: Deliver,
) -> None:  # fmt: skip
    """What somebody was talked into reading out for one thing does not do the other."""
    other = app.test_client()
    by_code(send, other, person[1])
    deliver()
    to_sign_in = mailbox.code()
    to_confirm = asked_for_code(signed_in, send, mailbox, deliver)
    assert send(signed_in, BACK, {"code": to_sign_in}).status_code == 422
    assert send(other, "/account/code", {"code": to_confirm}).status_code == 422
    assert levels_of(settings, person) == [1]


def test_a_code_sent_in_another_browser_is_none(
    *, app: Flask, signed_in: FlaskClient, person: Person, password: str, send: Send, mailbox: Mailbox, deliver: Deliver
) -> None:
    code = asked_for_code(signed_in, send, mailbox, deliver)
    other = app.test_client()
    by_password(send, other, person[1], password)
    asked_for_code(other, send, mailbox, deliver)
    assert send(other, BACK, {"code": code}).status_code == 422


def test_wrong_codes_use_the_code_up(
    *, settings: Settings, signed_in: FlaskClient, person: Person, send: Send, mailbox: Mailbox, deliver: Deliver
) -> None:
    """OWASP ASVS 5.0, 6.6.3."""
    code = asked_for_code(signed_in, send, mailbox, deliver)
    wrong = f"{(int(code.replace(' ', '')) + 1) % 1_000_000:06d}"
    for _ in range(5):
        answer = send(signed_in, BACK, {"code": wrong})
        assert answer.status_code == 422
        assert "<title>Error: Confirm it is you" in answer.text
    assert send(signed_in, BACK, {"code": code}).status_code == 422
    assert levels_of(settings, person) == [1]


def test_wrong_passwords_close_the_way_wherever_they_are_typed(
    *, app: Flask, by_mail: Callable[[str], FlaskClient], settings: Settings, person: Person, password: str, send: Send
) -> None:
    """OWASP ASVS 5.0, 6.3.1."""
    for client in (by_mail(person[1]), another(app, settings, person)):
        for _ in range(5):
            assert send(client, BACK, {"password": "wrong wrong wrong"}).status_code == 422
    assert send(client, BACK, {"password": password}).status_code == 422
    assert levels_of(settings, person) == [1, 1]


def test_a_stranger_at_the_door_keeps_nobody_from_confirming(
    *, app: Flask, by_mail: Callable[[str], FlaskClient], person: Person, password: str, send: Send
) -> None:
    """Ten wrong passwords close the door; whoever came in by a code still shows theirs."""
    client, stranger = by_mail(person[1]), app.test_client()
    for _ in range(10):
        by_password(send, stranger, person[1], "wrong wrong wrong")
    assert by_password(send, stranger, person[1], password).status_code == 422
    assert send(client, BACK, {"password": password}).location == "/sharing"


def another(app: Flask, settings: Settings, person: Person) -> FlaskClient:
    """One more browser in which the person has signed in with a code."""
    client = app.test_client()
    with db.transaction(settings.database_url) as session:
        token = services.open_session(session, person_id=person[0], method="code", browser="a test", now=db.now())
    client.set_cookie("session", token)
    return client


def test_five_codes_are_mailed_at_most(signed_in: FlaskClient, send: Send, mailbox: Mailbox, deliver: Deliver) -> None:
    for _ in range(7):
        send(signed_in, BACK, {}, to=f"{PAGE}/code")
    deliver()
    assert len(mailbox.mails) == 5


def test_the_first_password_is_the_other_proof(
    by_mail: Callable[[str], FlaskClient], settings: Settings, no_password: Person, send: Send
) -> None:
    """docs/decisions: whoever has the mailbox had the account; from here on it takes both."""
    client = by_mail(no_password[1])
    shown = client.get(BACK).text
    assert "You have no password yet" in shown
    found = re.search(r'href="(/account/password[^"]+)"', shown)
    assert found
    answer = send(client, found[1].replace("&amp;", "&"), {"password": "gravel heron mitten quartz"})
    assert answer.location == f"{PAGE}?next=%2Fsharing"
    assert client.get(answer.location).location == "/sharing"
    assert "Your password is saved" in client.get("/account/security").text
    assert levels_of(settings, no_password) == [2]


def test_of_two_first_passwords_at_once_one_is_the_first(
    *, app: Flask, settings: Settings, keys: Keyring, no_password: Person
) -> None:
    """Whoever loses has replaced a password by a code alone, and waits."""

    def choose(number: int) -> int:
        client = another(app, settings, no_password)
        form = {"csrf_token": _token(client), "password": f"gravel heron mitten {number}"}
        ready.wait()
        return client.post("/account/password", data=form).status_code

    assert keys
    ready = Barrier(2)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(choose, range(2)))
    with db.transaction(settings.database_url) as session:
        waits = session.scalar(
            text("SELECT second_proof_from FROM password WHERE person_id = :id"), {"id": no_password[0]}
        )
        raised = "SELECT count(*) FROM browser_session WHERE person_id = :id AND level = 2"
        assert session.scalar(text(raised), {"id": no_password[0]}) == 1
    assert waits is not None


def test_a_mailbox_alone_is_never_both_proofs(
    *, app: Flask, by_mail: Callable[[str], FlaskClient], settings: Settings, person: Person, send: Send,
    mailbox: Mailbox, deliver: Deliver,
) -> None:  # fmt: skip
    """OWASP ASVS 5.0, 6.4.3: a password that replaced another for a code counts a day later, either way round."""
    client, new = by_mail(person[1]), "gravel heron mitten quartz"
    send(client, "/account/password", {"password": new})
    assert "has to wait until" in client.get(BACK).text
    assert client.post(BACK, data={"csrf_token": _token(client), "password": new}).location == f"{PAGE}?next=%2Fsharing"
    other = app.test_client()
    by_password(send, other, person[1], new)
    assert "has to wait until" in other.get(BACK).text
    before = len(mailbox.mails)
    other.post(f"{PAGE}/code", data={"csrf_token": _token(other)})
    deliver()
    assert len(mailbox.mails) == before + 1  # the notice of the change
    assert levels_of(settings, person) == [1, 1]


def test_a_new_password_counts_after_a_day(
    by_mail: Callable[[str], FlaskClient], settings: Settings, person: Person, send: Send
) -> None:
    client, new = by_mail(person[1]), "gravel heron mitten quartz"
    send(client, "/account/password", {"password": new})
    with db.transaction(settings.database_url) as session:
        back = "UPDATE password SET second_proof_from = second_proof_from - interval '24 hours' WHERE person_id = :id"
        session.execute(text(back), {"id": person[0]})
    assert send(client, BACK, {"password": new}).location == "/sharing"
    assert levels_of(settings, person) == [2]


def test_changing_it_once_more_does_not_shorten_the_wait(
    *, app: Flask, by_mail: Callable[[str], FlaskClient], settings: Settings, person: Person, send: Send
) -> None:
    client, new = by_mail(person[1]), "gravel heron mitten quartz"
    send(client, "/account/password", {"password": new})
    other = app.test_client()
    by_password(send, other, person[1], new)
    send(other, "/account/password", {"password": "quartz mitten heron gravel"})
    assert "has to wait until" in other.get(BACK).text
    assert levels_of(settings, person) == [1]


def test_a_password_changed_by_whoever_knows_it_counts_at_once(
    *, signed_in: FlaskClient, settings: Settings, person: Person, send: Send, mailbox: Mailbox, deliver: Deliver
) -> None:
    send(signed_in, "/account/password", {"password": "gravel heron mitten quartz"})
    send(signed_in, BACK, {"code": asked_for_code(signed_in, send, mailbox, deliver)})
    assert levels_of(settings, person) == [2]


def test_the_form_token_is_asked_for(signed_in: FlaskClient) -> None:
    for path in (PAGE, f"{PAGE}/code"):
        assert signed_in.post(path, data={"code": "123456"}).status_code == 400


def test_no_secret_is_logged_or_sent_back(
    by_mail: Callable[[str], FlaskClient], person: Person, send: Send, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    client = by_mail(person[1])
    answer = send(client, BACK, {"password": "wrong wrong canary"})
    assert "canary" not in answer.text + caplog.text
    assert "second proof refused" in caplog.text


def _token(client: FlaskClient) -> str:
    return _token_at(client, "/account/password")


def _token_at(client: FlaskClient, path: str) -> str:
    found = re.search(r'name="csrf_token"[^>]*value="([^"]+)"', client.get(path).text)
    assert found
    return found[1]
