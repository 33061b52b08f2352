"""The answers that give nothing now: each is kept, and the client hears of it in the sentence of its redirect.

The error is always `access_denied` (RFC 6749 section 4.1.2.1), which is all that a client needs to know; the sentence
says what it may do next, and `offer` names the grant that the person offers instead.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from portal.consent import counters, services, unwanted
from portal.consent.forms import LATER, NEVER

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy.orm import Session

    from portal.consent.asking import Ask
    from portal.oauth.models import PushedRequest

DENIED: Final = "access_denied"
DECLINED: Final = "The person declined."
PUT_OFF: Final = "The person will decide another time. You may ask again."
OFFERED: Final = "The person offers less than you asked for. Nothing is shared until you accept the offer."


def refuse(
    session: Session,
    answer: str,
    *,
    pushed: PushedRequest,
    ask: Ask,
    person_id: UUID,
    shown: dict[str, Any],
    asked_at: datetime,
    now: datetime,
) -> dict[str, str]:
    """Keep a no, a "not now" or a "never again", and return what the client is told; any other answer is a no."""
    acts = {LATER: (services.defer, PUT_OFF), NEVER: (unwanted.refuse_for_good, unwanted.NotWantedError.public)}
    act, sentence = acts.get(answer, (services.refuse, DECLINED))
    act(
        session, person_id=person_id, client_id=pushed.client_id, purpose_id=ask.purpose_id,
        shown=shown | ({"for_good": True} if answer == NEVER else {}), wanted=ask.wanted, asked_at=asked_at,
        now=now,
    )  # fmt: skip
    return {"error": DENIED, "error_description": sentence}


def counter(
    session: Session,
    *,
    pushed: PushedRequest,
    ask: Ask,
    person_id: UUID,
    level: int,
    offered: dict[str, Any],
    shown: dict[str, Any],
    asked_at: datetime,
    now: datetime,
) -> dict[str, str]:
    """Keep an offer of less, and return what the client is told; raises as `counters.counter`."""
    made = counters.counter(
        session, person_id=person_id, client_id=pushed.client_id, purpose_id=ask.purpose_id, level=level,
        shown=shown, wanted=ask.wanted, asked_at=asked_at, now=now, **offered,
    )  # fmt: skip
    return {"error": DENIED, "error_description": OFFERED, "offer": str(made.grant_id)}
