"""Having a code mailed: how often, and by which job."""

from __future__ import annotations

from typing import TYPE_CHECKING

from portal import queue
from portal.db import new_id
from portal.identity import pending
from portal.vault import blind_index
from portal.web import context, limits

if TYPE_CHECKING:
    from portal.identity.pending import Pending

_QUARTER = 900
# What one caller can have sent to an address leaves something for whoever the address belongs to.
_MAILS = limits.Rate("mails", 5, _QUARTER)
_MAILS_IN_ALL = limits.Rate("mails-in-all", 15, _QUARTER)
_SECOND_PROOF_MAILS = limits.Rate("second-proof-mails", 5, _QUARTER)
_JOBS = {
    pending.SIGN_IN: "portal.identity.jobs.send_code",
    pending.SECOND_PROOF: "portal.identity.jobs.send_second_proof_code",
}


def send(begun: Pending, *, allowed: bool, name: str = pending.SIGN_IN) -> Pending:
    """Have a code sent if it is `allowed`, and return what is under way with it.

    The job makes the code, so that this answer takes as long for an address nobody has.
    """
    who, code_id = begun.person() if allowed else None, new_id()
    queue.ring_after_commit(
        context.session(), context.settings().redis_url, queue.MAIL, _JOBS[name], str(who or new_id()), str(code_id)
    )
    return pending.with_code(begun, code_id)


def may_send(email: str) -> bool:
    """Say whether this caller may have another code sent to this address, known or not."""
    index = blind_index.of_email(context.keyring(), email).hex()
    return not (limits.spend(_MAILS, limits.caller(), index) or limits.spend(_MAILS_IN_ALL, index))


def may_send_second_proof(begun: Pending) -> bool:
    """Say whether a signed-in person may have another code sent."""
    return not limits.spend(_SECOND_PROOF_MAILS, begun.person_id)
