"""Who looks after the portal: named on the command line, both proofs given, and nobody else finds anything there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from portal import db
from portal.companies import services as companies
from portal.identity import levels, operators, queries, services
from portal.web import access
from tests.test_cli import run

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

    from flask import Flask
    from flask.testing import FlaskClient

    from portal.config import Settings
    from portal.vault.keyring import Keyring

    Person = tuple[UUID, str]
    Open = Callable[[int], FlaskClient]


@pytest.fixture
def opened(app: Flask, settings: Settings, person: Person) -> Open:
    """Sign the person in on a browser of their own, with one proof given or with both."""

    def opened(level: int) -> FlaskClient:
        with db.transaction(settings.database_url) as session:
            token = services.open_session(
                session, person_id=person[0], method="code", browser="a test", now=db.now(), level=level
            )
        browser = app.test_client()
        browser.set_cookie("session", token, domain="localhost")
        return browser

    return opened


def employ(settings: Settings, person: Person) -> None:
    with db.transaction(settings.database_url) as session:
        companies.register_company(
            session, legal_name="Operating Ltd", trading_name=f"Operating {person[0].hex}", registration_number="IE 1",
            country="IE", contact_email="people@operating.example", privacy_url="https://operating.example/",
            now=db.now(), owner=person[0],
        )  # fmt: skip


def test_a_stranger_is_sent_to_sign_in(client: FlaskClient) -> None:
    answer = client.get("/ops")
    assert (answer.status_code, answer.location) == (303, "/account/sign-in?next=/ops")


@pytest.mark.parametrize("staff", [False, True])
@pytest.mark.parametrize("level", [levels.ONE_PROOF, levels.TWO_PROOFS])
def test_nobody_else_finds_anything_there(
    *, settings: Settings, person: Person, opened: Open, staff: bool, level: int
) -> None:
    if staff:
        employ(settings, person)
    browser = opened(level)
    assert browser.get("/ops").status_code == 404
    assert 'href="/ops"' not in browser.get("/home").text


def test_an_operator_gives_both_proofs_first(opened: Open, person: Person) -> None:
    assert run("operator-add", person[1]) == 0
    browser = opened(levels.ONE_PROOF)
    answer = browser.get("/ops?from=a-letter")
    assert (answer.status_code, answer.location) == (303, f"{access.SECOND_PROOF}?next=/ops%3Ffrom%3Da-letter")
    assert 'href="/ops"' in browser.get("/home").text


def test_an_operator_is_one_until_they_are_not(opened: Open, person: Person) -> None:
    assert run("operator-add", person[1]) == 0
    assert run("operator-add", person[1].upper()) == 0
    browser = opened(levels.TWO_PROOFS)
    assert "What waits for you" in browser.get("/ops").text
    assert run("operator-remove", person[1]) == 0
    assert browser.get("/ops").status_code == 404
    assert run("operator-remove", person[1]) == 0


@pytest.mark.parametrize("command", ["operator-add", "operator-remove"])
def test_whoever_has_no_account_is_no_operator(
    command: str, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    assert settings
    assert run(command, "nobody@example.org") == 1
    assert capsys.readouterr().err == "Nobody has an account with this address: they create one first.\n"


def test_an_address_nobody_has_confirmed_names_no_operator(settings: Settings, keys: Keyring) -> None:
    email = f"{db.new_id().hex}@example.org"
    with db.transaction(settings.database_url) as session:
        made = services.register(session, keyring=keys, email=email, now=db.now())
        with pytest.raises(operators.NoAccountError):
            operators.add(session, keyring=keys, email=email, now=db.now())
        assert not queries.is_operator(session, person_id=made.person_id)
