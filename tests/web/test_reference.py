"""Every reason the API can refuse for leads to a page that says how to mend it."""

from __future__ import annotations

import pytest

from portal.consent.rules import Refusal
from portal.web.reference import BY_CODE


@pytest.mark.parametrize("refusal", Refusal)
def test_every_refusal_is_explained(refusal: Refusal) -> None:
    assert BY_CODE[refusal].mend
