"""Every form of every page, damaged in every way: a clear refusal, and nothing written."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode

import pytest
from markupsafe import escape

from tests.bad_input.pages import FORMS, path, posts

if TYPE_CHECKING:
    from flask import Flask
    from werkzeug.test import TestResponse

    from tests.bad_input.cast import Cast, Fields
    from tests.bad_input.unchanged import State

CANARY = "Quixotrophe"
ENDPOINTS = sorted(FORMS)


def _address(app: Flask, cast: Cast, endpoint: str) -> str:
    return path(app, endpoint, FORMS[endpoint].arguments(cast))


def _refused(answer: TestResponse) -> None:
    assert 400 <= answer.status_code < 500, answer.text
    assert answer.content_type == "text/html; charset=utf-8"
    assert answer.headers["Cache-Control"] == "no-store"
    assert "<h1" in answer.text


def _encoded(fields: Fields, token: str) -> bytes:
    return urlencode({**fields, "csrf_token": token}).encode()


def test_every_form_is_in_the_table(app: Flask) -> None:
    assert set(posts(app)) == set(FORMS)


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_the_undamaged_form_is_taken(app: Flask, fresh: Cast, endpoint: str) -> None:
    form = FORMS[endpoint]
    answer = form.visitor(fresh).send(_address(app, fresh, endpoint), form.fields(fresh).items())
    assert answer.status_code == form.status, answer.text


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_token_missing_forged_or_of_another_browser(app: Flask, cast: Cast, state: State, endpoint: str) -> None:
    form = FORMS[endpoint]
    fields, address, visitor = form.fields(cast), _address(app, cast, endpoint), form.visitor(cast)
    other = cast.rival_staff.csrf()
    with state.kept():
        _refused(visitor.post(address, urlencode(fields).encode()))
        for token in ("", "forged", other, other[:-1] + "x", "\x00", "é" * 3000):
            _refused(visitor.post(address, _encoded(fields, token)))


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_field_missing(app: Flask, cast: Cast, state: State, endpoint: str) -> None:
    form = FORMS[endpoint]
    fields, address, visitor = form.fields(cast), _address(app, cast, endpoint), form.visitor(cast)
    with state.kept():
        for name in form.needed:
            _refused(visitor.send(address, [(n, value) for n, value in fields.items() if n != name]))


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_field_damaged(app: Flask, cast: Cast, state: State, endpoint: str, caplog: pytest.LogCaptureFixture) -> None:
    """NUL, a control, a direction mark, far too long: refused, and what was typed is not told to the log."""
    caplog.set_level(logging.DEBUG)
    form = FORMS[endpoint]
    fields, address, visitor = form.fields(cast), _address(app, cast, endpoint), form.visitor(cast)
    with state.kept():
        for name in form.needed:
            # A password may hold any character.
            odd = () if name == "password" else (f"{CANARY}\x00", f"\x1b[31m{CANARY}")
            for damage in (*odd, CANARY * 4000):
                _refused(visitor.send(address, (fields | {name: damage}).items()))
    assert CANARY not in caplog.text


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_broken_utf8(app: Flask, cast: Cast, state: State, endpoint: str) -> None:
    form = FORMS[endpoint]
    address, visitor = _address(app, cast, endpoint), form.visitor(cast)
    sound = _encoded(form.fields(cast), visitor.csrf())
    names = [*form.fields(cast), "unknown"]
    with state.kept():
        for bad in (b"\xff", b"%FF", b"\xc3(", b"%C3%28", b"%ED%A0%80"):
            for name in names:
                rest = [pair for pair in sound.split(b"&") if not pair.startswith(name.encode() + b"=")]
                _refused(visitor.post(address, b"&".join([*rest, quote(name).encode() + b"=a" + bad])))
            _refused(visitor.post(address, sound + b"&a" + bad + b"=1"))


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_field_sent_twice(app: Flask, cast: Cast, state: State, endpoint: str) -> None:
    """Which of two answers holds is nothing to guess about."""
    form = FORMS[endpoint]
    fields, address, visitor = form.fields(cast), _address(app, cast, endpoint), form.visitor(cast)
    with state.kept():
        for name in {*fields, "csrf_token"} - set(form.optional):
            again = (name, fields.get(name, "forged"))
            _refused(visitor.send(address, [*fields.items(), again]))


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_body_too_large(app: Flask, cast: Cast, state: State, endpoint: str) -> None:
    form = FORMS[endpoint]
    address, visitor = _address(app, cast, endpoint), form.visitor(cast)
    sound = _encoded(form.fields(cast), visitor.csrf())
    with state.kept():
        for size in (70_000, 300_000):
            answer = visitor.post(address, sound + b"&more=" + b"x" * size)
            assert answer.status_code == 413
            _refused(answer)
        _refused(visitor.post(address, sound + b"&" + b"&".join(b"f%d=1" % number for number in range(1500))))


@pytest.mark.parametrize("endpoint", ENDPOINTS)
@pytest.mark.parametrize("kind", ["application/json", "text/plain", "multipart/form-data", "text/xml", ""])
def test_wrong_content_type(app: Flask, cast: Cast, state: State, endpoint: str, kind: str) -> None:
    """Also with a good token in the header: a page takes a form and nothing else."""
    form = FORMS[endpoint]
    address, visitor = _address(app, cast, endpoint), form.visitor(cast)
    headers = {"X-CSRFToken": visitor.csrf()}
    sound = _encoded(form.fields(cast), headers["X-CSRFToken"])
    with state.kept():
        for body in (b'{"value": "Ada King", "answer": "share"}', sound):
            _refused(visitor.client.post(address, data=body, content_type=kind, headers=headers))


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_unknown_field_changes_nothing_more(app: Flask, fresh: Cast, state: State, endpoint: str) -> None:
    """A field that no page asks for reaches no column (OWASP ASVS 5.0, 15.3.3)."""
    form = FORMS[endpoint]
    fields = form.fields(fresh)
    more = {
        name: CANARY
        for name in ("person_id", "state", "role", "verified", "changed_by", "is_admin")
        if name not in fields
    }
    form.visitor(fresh).send(_address(app, fresh, endpoint), (fields | more).items())
    assert not state.holds(CANARY)


# Whoever fills these in sees them again with what they typed; the others are buttons, secrets, or lead elsewhere.
KEPT = (
    "identity.try_create", "consumer.change", "consent.change", "oauth.answer", "companies.join", "companies.new_app",
    "purposes.new", "company_keys.overview", "sync.endpoint",
)  # fmt: skip


@pytest.mark.parametrize("endpoint", KEPT)
def test_what_was_typed_stays(app: Flask, cast: Cast, state: State, endpoint: str) -> None:
    """One answer is wrong: the page says which, and the others stand as they were."""
    form = FORMS[endpoint]
    fields, address, visitor = form.fields(cast), _address(app, cast, endpoint), form.visitor(cast)
    wrong = next(name for name in reversed(form.needed) if name not in {"mode", "longest_days"})
    with state.kept():
        answer = visitor.send(address, (fields | {wrong: f"{CANARY}\x07"}).items())
    assert answer.status_code == 422, answer.text
    assert "<title>Error: " in answer.text
    assert "There is a problem" in answer.text
    assert 'id="e-' in answer.text
    for name, value in fields.items():
        if name not in {wrong, "answer"}:
            assert str(escape(value)) in answer.text, name


def test_a_password_is_never_sent_back(app: Flask, cast: Cast, state: State) -> None:
    secret = f"{CANARY} 7"
    for endpoint, fields in (
        ("identity.try_sign_in", {"email": "a@example.org", "password": secret}),
        ("identity.set_password", {"password": secret[:10]}),
    ):
        with state.kept():
            answer = FORMS[endpoint].visitor(cast).send(_address(app, cast, endpoint), fields.items())
        assert answer.status_code == 422
        assert secret[:10] not in answer.text
