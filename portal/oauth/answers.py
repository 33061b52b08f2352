"""The answers that give nothing now: each is kept, and the client hears of it in the sentence of its redirect.

The error is always `access_denied` (RFC 6749 section 4.1.2.1), which is all that a client needs to know; the sentence
says what it may do next, and `offer` names the grant that the person offers instead.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from portal.consent import counters, services, unwanted
from portal.consent.forms import LATER, NEVER

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from portal.consent.counters import Less
    from portal.consent.services import Reply

DENIED: Final = "access_denied"
DECLINED: Final = "The person declined."
PUT_OFF: Final = "The person will decide another time. You may ask again."
FROZEN: Final = "The person has frozen everything they share. Nothing new begins until they unfreeze it."
OFFERED: Final = "The person offers less than you asked for. Nothing is shared until you accept the offer."


def refuse(session: Session, answer: str, reply: Reply) -> dict[str, str]:
    """Keep a no, a "not now" or a "never again", and return what the client is told; any other answer is a no."""
    acts = {LATER: (services.defer, PUT_OFF), NEVER: (unwanted.refuse_for_good, unwanted.NotWantedError.public)}
    act, sentence = acts.get(answer, (services.refuse, DECLINED))
    act(session, reply)
    return {"error": DENIED, "error_description": sentence}


def counter(session: Session, reply: Reply, less: Less) -> dict[str, str]:
    """Keep an offer of less, and return what the client is told; raises as `counters.counter`."""
    made = counters.counter(session, reply, less)
    return {"error": DENIED, "error_description": OFFERED, "offer": str(made.grant_id)}
