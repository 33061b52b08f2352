"""Telling the portal what became of its messages, so that people see when this company updated their details.

The store keeps a receipt with each message; a thread of its own sends them, and nothing waits for it.
"""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import requests

from portal_client import PortalProblemError, UntrustedError

if TYPE_CHECKING:
    from portal_client import PortalClient
    from store import Store

AT_ONCE = 500
_LATER = 5.0


class Receipts:
    """Sends what the store holds; what could not be sent is sent later, the same again if need be."""

    def __init__(self, portal: PortalClient, store: Store) -> None:
        self._portal, self._store = portal, store
        self._bell = threading.Event()

    def start(self) -> None:
        threading.Thread(target=self._run, daemon=True).start()

    def ring(self) -> None:
        """Say that there is something to send."""
        self._bell.set()

    def send(self) -> bool:
        """Send some; False when there was nothing, or nobody to send it to."""
        waiting = self._store.receipts(AT_ONCE)
        if not waiting:
            return False
        try:
            told = self._portal.send_receipts([_receipt(each) for each in waiting])
        except (PortalProblemError, UntrustedError, requests.RequestException):
            return False
        # Whatever it says of one, it would say again.
        self._store.forget_receipts(list(told))
        return bool(told)

    def _run(self) -> None:
        while True:
            self._bell.wait(_LATER)
            self._bell.clear()
            while self.send():
                pass


def _receipt(kept: dict[str, Any]) -> dict[str, str]:
    at = datetime.fromtimestamp(kept["applied_at"], UTC).isoformat()
    return {"jti": kept["jti"], "status": kept["status"], "applied_at": at}
