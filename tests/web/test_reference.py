"""Every reason the API can refuse for leads to a page that says how to mend it."""

from __future__ import annotations

from importlib import import_module

import pytest

from portal.consent.rules import Refusal
from portal.errors import PortalError
from portal.oauth.errors import OAuthError
from portal.web.reference import BY_CODE

# What the API's own slice and the checks before it can raise.
MODULES = ("portal.sync.api", "portal.sync.pulls", "portal.sync.batches", "portal.sync.schemas", "portal.sync.messages")


@pytest.mark.parametrize("refusal", Refusal)
def test_every_refusal_is_explained(refusal: Refusal) -> None:
    assert BY_CODE[refusal].mend


def test_every_problem_of_the_api_is_explained() -> None:
    raised = {
        kind.code: kind.status
        for name in MODULES
        for kind in vars(import_module(name)).values()
        if isinstance(kind, type) and issubclass(kind, PortalError) and not issubclass(kind, OAuthError)
        if kind is not PortalError and kind.code != PortalError.code
    }
    assert raised
    # A seal that does not open is a fault of ours: it is answered, and logged, as such.
    documented = {code: BY_CODE[code].status for code in raised if code in BY_CODE}
    assert {code for code in raised if code not in BY_CODE} <= {"seal-broken"}
    assert documented == {code: status for code, status in raised.items() if code in BY_CODE}
