"""Where this program can be made to die on purpose, to prove that nothing is lost when it does.

`CRASH_AT=claim.committed` kills the process the first time it gets there, `CRASH_AT=claim.committed:3` the third.
Nothing is cleaned up on the way, as when the power fails.  Never set it where people's details are.
"""

from __future__ import annotations

import os
import signal
from collections import Counter
from types import MappingProxyType
from typing import Final

from portal import config

POINTS: Final = MappingProxyType(
    {
        "save.owed": "an edit's outbox rows are written, nothing is committed",
        "save.committed": "an edit is committed, nobody has been rung",
        "ring.noted": "the bell is marked as rung, no job is in the queue",
        "drain.answered": "a drain has answered its bell and claimed nothing yet",
        "claim.leased": "rows are leased, nothing is committed",
        "claim.logged": "the disclosures of a claim are written, nothing is committed",
        "claim.committed": "leases and disclosures are committed, nothing is sealed",
        "send.connected": "a connection stands, the consent has not been asked again",
        "send.sealed": "a message is sealed and signed, nothing has left",
        "send.checked": "the consent has been asked again, no byte has left",
        "send.written": "a message has left, no answer has come",
        "send.answered": "an answer has come, nothing is noted",
        "finish.reported": "outcomes are written, nothing is committed",
        "finish.noted": "deliveries are acknowledged, nothing is committed",
        "finish.committed": "what became of a claim is committed, the drain goes on",
        "health.disabled": "an endpoint is turned off, nothing is committed",
        "poll.leased": "a poll's rows are handed out, nothing is committed",
        "poll.committed": "a poll's disclosures are committed, no byte has left",
        "poll.acked": "a poll's acknowledgements are noted, nothing is committed",
        "batch.leased": "a batch pull is leased",
        "batch.answered": "some subjects of a batch pull are answered, nothing is committed",
        "batch.released": "a batch pull is done, nothing is committed",
        "pull.logged": "a pull's disclosure is committed, nothing is opened",
        "receipt.noted": "a receipt is written, nothing is committed",
        "replay.stepped": "part of a replay is written, nothing is committed",
        "reconcile.found": "the reconciler has found what is due, nobody has been rung",
        "log.grown": "the log has grown, nothing is committed",
        "log.committed": "the log has grown, nothing is signed",
        "log.kept": "what will be signed is in its file, nothing else says so",
        "log.signed": "a checkpoint is signed, nothing is committed",
        "stop.stepped": "somebody's stop is written, nothing is committed",
    }
)
_reached: Counter[str] = Counter()


def reach(point: str) -> None:
    """Die here when `CRASH_AT` says so; `point` is one of `POINTS`."""
    wanted, _, count = config.current().crash_at.partition(":")
    if wanted != point:
        return
    _reached[point] += 1
    if _reached[point] == int(count or 1):
        os.kill(os.getpid(), signal.SIGKILL)
