"""Looking changes nothing: every address that answers a GET, opened by a person, by staff and by a stranger.

Staff who look at one person leave a row in that person's log.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlencode

import pytest

from tests.bad_input.pages import path

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flask import Flask

    from tests.bad_input.cast import Cast
    from tests.bad_input.pages import Arguments
    from tests.bad_input.unchanged import State

WHO = ("ada", "staff", "stranger")
ODD = ["%00", "%FF", "%ED%A0%80", "%F0%9F%92%A5", "'\"><script>alert(1)</script>", "%0d%0aSet-Cookie:a=b", "9" * 5000,
       "-1", "0001-01-01T00:00:00+14:00~00000000-0000-0000-0000-000000000000",
       "9999-12-31T23:59:59-14:00~00000000-0000-0000-0000-000000000000", "0001-01", "9999-12", "../../etc/passwd",
       "//evil.example", "\\evil.example"]  # fmt: skip
QUERY = ("next", "before", "month", "organisation", "sharing", "detail", "own", "state", "view", "saved", "turn",
         "attribute", "request_uri", "client_id", "again", "new", "after", "number")  # fmt: skip


def _addresses(app: Flask, cast: Cast) -> Iterator[str]:
    known: Arguments = {
        "grant_id": cast.shared.grant_id, "disclosure_id": cast.disclosure_id, "client_id": cast.firm.client_id,
        "sub": cast.shared.sub, "pull_id": cast.pull_id, "attribute": "name.full", "sequence": 1,
        "request_id": cast.question_id, "replay_id": cast.replay_id, "jti": cast.jti, "kid": cast.spare_kid,
        "slug": cast.firm.name.lower().replace(" ", "-"), "code": "invalid", "name": "streams",
        "purpose_id": cast.firm.purpose_id, "version": 1, "index": 0, "first": 1, "level": 0, "number": "000",
    }  # fmt: skip
    # The same name is something else there: a purpose of the firm, and the app that is told.
    elsewhere: dict[str, Arguments] = {
        "/purposes/": {"code": cast.purpose_code}, "/org/deliveries/": {"client_id": cast.told.client_id},
    }  # fmt: skip
    for rule in app.url_map.iter_rules():
        if "GET" in (rule.methods or ()) and rule.endpoint != "static":
            here = next((known | other for part, other in elsewhere.items() if part in rule.rule), known)
            yield path(app, rule.endpoint, {name: here[name] for name in rule.arguments})


@pytest.mark.parametrize("who", WHO)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_nothing_is_written(app: Flask, cast: Cast, state: State, who: str, method: str) -> None:
    visitor, seen = getattr(cast, who), 0
    logged = {"staff": {"disclosure", "disclosure_context"}}.get(who, set())
    asked = urlencode({"client_id": cast.rival.client_id, "request_uri": cast.pushed()})
    with state.kept(but=logged):
        for address in [*_addresses(app, cast), f"/oauth/authorize?{asked}"]:
            for headers in ({}, {"HX-Request": "true"}):
                answer = visitor.client.open(address, method=method, headers=headers, buffered=True)
                assert answer.status_code < 500, address
                seen += answer.status_code == 200
    assert seen > 20


@pytest.mark.parametrize("who", ["ada", "staff"])
def test_what_is_for_one_person_is_not_stored(app: Flask, cast: Cast, who: str) -> None:
    """OWASP ASVS 5.0, 14.3.2."""
    for address in _addresses(app, cast):
        answer = getattr(cast, who).client.get(address, buffered=True)
        if answer.status_code == 200 and not address.startswith(("/oauth/jwks", "/.well-known/", "/api/", "/log/")):
            assert answer.headers["Cache-Control"] == "no-store", address
        assert answer.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("who", WHO)
def test_odd_queries_break_nothing(app: Flask, cast: Cast, state: State, who: str) -> None:
    visitor = getattr(cast, who)
    addresses = [address for address in _addresses(app, cast) if not address.startswith(("/api", "/docs", "/.well"))]
    with state.kept():
        for value in ODD:
            query = "&".join(f"{name}={value}" for name in QUERY)
            for address in addresses:
                answer = visitor.client.get(f"{address}?{query}", buffered=True)
                assert answer.status_code < 500, (address, value)
                assert "<script>alert" not in answer.text
                assert "evil.example" not in answer.headers.get("Location", "").partition("?")[0]


@pytest.mark.parametrize("who", WHO)
def test_odd_paths_break_nothing(app: Flask, cast: Cast, state: State, who: str) -> None:
    visitor = getattr(cast, who)
    with state.kept():
        for rule in app.url_map.iter_rules():
            for value in ODD if rule.arguments else ():
                address = rule.rule
                for name in rule.arguments:
                    address = address.replace(f"<{name}>", value).replace(f":{name}>", f":{value}")
                address = _plain(address, value)
                answer = visitor.client.get(address)
                assert answer.status_code < 500, (rule.rule, value)
                assert not answer.content_type.startswith("text/html") or "<script>alert" not in answer.text


def _plain(address: str, value: str) -> str:
    # "<uuid:…>" and "<int:…>" leave their converter's name behind.
    for converter in ("uuid", "int", "path"):
        address = address.replace(f"<{converter}:{value}", value)
    return address


@pytest.mark.parametrize("header", ["Host", "Referer", "User-Agent", "Cookie", "X-Forwarded-Host", "X-Forwarded-For",
                                    "HX-Request", "HX-Target", "Accept-Language", "Content-Type"])  # fmt: skip
def test_odd_headers_break_nothing(cast: Cast, state: State, header: str) -> None:
    with state.kept():
        for value in ("http://[", "evil.example", "\xff\xfe", "x" * 5000, "session=\xff; form=\x01", "//evil.example/"):
            for address in ("/", "/home", "/account/sign-in", "/details", "/nowhere"):
                answer = cast.stranger.client.get(address, headers={header: value})
                assert answer.status_code < 500, (header, value)
                assert "evil.example" not in answer.text + answer.headers.get("Location", "")


def test_an_odd_referer_breaks_no_form(cast: Cast, state: State) -> None:
    """A form sent after the sign-in ended leads back by where it stood, if that can be read at all."""
    visitor = cast.stranger
    for referer in ("http://[", "http://[::1", "//evil.example/x", "http://localhost:8000//evil.example"):
        with state.kept():
            answer = visitor.client.post(
                "/details/name.full/remove", data={"csrf_token": visitor.csrf()}, headers={"Referer": referer}
            )
        assert answer.status_code == 303
        assert "evil.example" not in visitor.client.get(answer.headers["Location"]).headers.get("Location", "")


def test_a_wrong_method_is_told_the_right_one(cast: Cast) -> None:
    answer = cast.ada.client.put("/sharing")
    assert answer.status_code == 405
    assert "GET" in answer.headers["Allow"]


@pytest.mark.parametrize("who", WHO)
def test_raw_bytes_in_a_query_break_nothing(app: Flask, cast: Cast, who: str) -> None:
    for address in _addresses(app, cast):
        answer = getattr(cast, who).client.get(address, environ_overrides={"QUERY_STRING": "next=\xff"})
        assert answer.status_code < 500, address
