"""Every address that a company supplies: those that the portal calls pass the guard when they are kept and at each use.

The others are only shown, or a browser is sent there: their form is judged, and nobody here calls them.
"""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

import pytest

from portal import config, db
from portal.companies import client_rules
from portal.companies.metadata import CIBA, ClientMetadata
from portal.egress import guard
from portal.errors import InvalidError
from portal.sync import jobs, services
from tests.egress.attacks import FORMS

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from tests.sync.cast import World

# A stream keeps the one address that is no member of these metadata: it is tried further down.
CALLED = {"jwks_uri", "backchannel_client_notification_endpoint"}
SHOWN = {"client_uri", "logo_uri", "tos_uri", "policy_uri", "redirect_uris", "post_logout_redirect_uris"}


def document(**changes: Any) -> dict[str, Any]:  # noqa: ANN401 - RFC 7591 metadata are JSON
    plain = {"client_name": "Linden", "redirect_uris": ["https://linden.example.com/back"]}
    if "backchannel_client_notification_endpoint" in changes:
        plain |= {"grant_types": [CIBA], "backchannel_token_delivery_mode": "ping"}
    return plain | changes


def described(**changes: Any) -> client_rules.Described:  # noqa: ANN401 - RFC 7591 metadata are JSON
    return client_rules.describe(document(**changes), own_host="linden.example.com", allow=frozenset())


def test_no_address_among_the_metadata_is_forgotten_here() -> None:
    named = {each.name for each in fields(ClientMetadata)} | {each.name for each in fields(client_rules.Described)}
    assert {name for name in named if name.endswith(("_uri", "_uris", "_endpoint"))} == CALLED | SHOWN


@pytest.mark.parametrize("name", sorted(CALLED))
def test_address_that_is_called_is_kept_when_its_form_is_right(name: str) -> None:
    address = "https://keys.example.com:8443/a?b=c"
    assert getattr(described(**{name: address}).metadata, name) == address


@pytest.mark.parametrize("name", sorted(CALLED))
@pytest.mark.parametrize("url", FORMS.values(), ids=FORMS)
def test_address_that_is_called_is_not_kept_when_its_form_is_wrong(name: str, url: str) -> None:
    with pytest.raises(InvalidError):
        described(**{name: url})


# What a browser opens may be on any machine and port; it may not run, pretend to be elsewhere or break a header.
DECEIVING = {
    "script": "javascript:alert(1)", "data": "data:text/html,x", "plain": "http://linden.example.com/",
    **{name: FORMS[name] for name in (
        "ftp", "file", "no scheme", "no slashes", "nothing", "no host", "user", "user and password", "empty user",
        "user that looks like a host", "backslash", "backslashes", "line end in path", "line end in host",
        "newline at the end", "space", "space before", "tab", "null", "fragment", "circled digits", "Cyrillic letter",
        "soft hyphen", "full-width dots", "port in letters", "port too large", "v6 unclosed",
    )},
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(SHOWN))
@pytest.mark.parametrize("url", DECEIVING.values(), ids=DECEIVING)
def test_address_that_is_shown_is_not_kept_when_it_deceives(name: str, url: str) -> None:
    with pytest.raises(InvalidError):
        described(**{name: [url] if name.endswith("s") else url})


@pytest.mark.parametrize("attack", ["user", "line end in path", "localhost", "plain", "port 22", "backslash"])
def test_endpoint_is_not_asked_to_prove_itself_when_its_form_is_wrong(world: World, attack: str) -> None:
    with pytest.raises(guard.UnsafeAddressError):
        _challenge(world, FORMS[attack])


def test_endpoint_passes_the_guard_again_at_each_delivery(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    firm = world.firm()
    person = world.person(name__full="Ada Byrne")
    shared = world.share(person, firm)
    jobs.drain()
    assert len(firm.receiver.journal) == 1
    # Where it leads was all right when it was registered, and for the first message.
    monkeypatch.setenv("EGRESS_ALLOW", "")
    config.current.cache_clear()
    world.save(person, name__full="Ada King")
    jobs.drain()
    monkeypatch.undo()
    config.current.cache_clear()
    assert len(firm.receiver.journal) == 1
    assert world.delivery(shared).last_problem == "The address must begin with https://."


def _challenge(world: World, url: str) -> None:
    firm = world.firm(enabled=False)

    def make(session: Session) -> services.Challenge:
        return services.challenge(session, keyring=world.keyring, client_id=firm.client_id, url=url, now=db.now())

    services.await_echo(world.transact(make))
