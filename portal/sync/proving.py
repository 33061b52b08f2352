"""Having an endpoint prove itself, within what one company may take of the time that all share.

A process waits for one stranger's server at a time (`services.await_echo`): whoever names servers that hang, one after
the other, would else keep every other company from setting up its own.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Final

from portal.errors import TooManyError
from portal.sync import services
from portal.web import limits
from portal.web.context import session

if TYPE_CHECKING:
    from uuid import UUID

    from portal.sync.services import Challenge

_TRIES: Final = limits.Rate("stream-proof", 20, 60)
_SECONDS: Final = limits.Rate("stream-proof-seconds", 20, 60)


class TooManyProofsError(TooManyError):
    """Each proof is a request to an address that the company chose, and waits for it."""

    public = "You had endpoints proven twenty times, or for twenty seconds, within a minute. Wait a minute."


def prove(asked: Challenge, *, company_id: UUID) -> None:
    """Return when the endpoint has proved itself; what the request has written so far is committed before.

    Raises `TooManyProofsError` and what `services.await_echo` raises.
    """
    whom = str(company_id)
    if wait := limits.spend(_TRIES, whom) or limits.spend(_SECONDS, whom):
        raise TooManyProofsError(wait)
    # Nothing is held while a stranger's server takes its time.
    session().commit()
    began = time.monotonic()
    try:
        services.await_echo(asked)
    finally:
        limits.spend(_SECONDS, whom, cost=math.floor(time.monotonic() - began))
