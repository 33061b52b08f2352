"""Asking a customer for approval in the portal, while they are on the telephone or at the counter (CIBA, poll)."""

from __future__ import annotations

import secrets
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import requests

from portal_client import PortalProblemError, UntrustedError
from receiver import RefusedError

if TYPE_CHECKING:
    from asking import Asking
    from portal_client import PortalClient

WAITING, APPROVED = "waiting", "approved"
_SLOWER = 5
_KEPT = 200
# Words that are hard to mishear.
_WORDS = ("amber", "badger", "cedar", "dolphin", "ember", "falcon", "garnet", "harbour", "island", "juniper")


@dataclass
class Approval:
    """One question: `words` are shown here and in the portal, `outcome` is OAuth's error or one of the two above."""

    id: str
    sub: str
    words: str
    outcome: str = WAITING
    auth_req_id: str = field(default="", repr=False)


class Approvals:
    """Questions asked since the program started, and a thread each that polls for the answer."""

    def __init__(self, portal: PortalClient, pulls: Asking) -> None:
        self._portal, self._pulls = portal, pulls
        self._asked: dict[str, Approval] = {}

    def ask(self, sub: str, *, attributes: list[str]) -> Approval:
        """Ask a customer whether these details still may be used; raise `PortalProblemError` when that is refused."""
        words = f"{secrets.choice(_WORDS)} {secrets.choice(_WORDS)} {secrets.randbelow(90) + 10}"
        started = self._portal.ask_approval(sub, words=words, attributes=attributes)
        made = Approval(secrets.token_urlsafe(9), sub, words, auth_req_id=str(started["auth_req_id"]))
        while len(self._asked) >= _KEPT:
            self._asked.pop(next(iter(self._asked)))
        self._asked[made.id] = made
        pause, ends = int(started.get("interval", _SLOWER)), time.monotonic() + int(started["expires_in"])
        threading.Thread(target=self._follow, args=(made, pause, ends), daemon=True).start()
        return made

    def find(self, approval_id: str) -> Approval | None:
        return self._asked.get(approval_id)

    def _follow(self, approval: Approval, pause: int, ends: float) -> None:
        while approval.outcome == WAITING:
            time.sleep(pause)
            try:
                approval.outcome = self._fetch(approval)
            except PortalProblemError as problem:
                pause += _SLOWER * (problem.code == "slow_down")
                if problem.code not in {"authorization_pending", "slow_down"}:
                    approval.outcome = problem.code
            except requests.RequestException:
                # The portal was away: the answer waits there.
                approval.outcome = WAITING if time.monotonic() < ends else "expired_token"
            except (UntrustedError, RefusedError):
                approval.outcome = "untrusted"

    def _fetch(self, approval: Approval) -> str:
        connection = self._portal.approval(approval.auth_req_id, sub=approval.sub)
        self._pulls.one(approval.sub, token=connection.token)
        return APPROVED
