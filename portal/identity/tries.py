"""How often one may try from one address: asked before a proof is looked at, so that tries sent together all count."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from portal.web import limits

if TYPE_CHECKING:
    from flask_wtf import FlaskForm

PROOF: Final = "proofs"
MAIL: Final = "mails-from"
_MINUTE: Final = 60


def wait_for(form: FlaskForm, what: str) -> int:
    """Count one try and return 0, or the seconds to wait; the form then says so."""
    wait = limits.spend(limits.people(what), limits.caller())
    if wait:
        minutes = math.ceil(wait / _MINUTE)
        how_long = f"{minutes} minutes" if minutes > 1 else "a minute"
        form.form_errors = [f"There were too many tries from where you are. Wait {how_long}, then try again"]
    return wait


def right() -> None:
    """Take a try back that was right: people who share an address do not use up each other's."""
    limits.give_back(limits.people(PROOF), limits.caller())
