"""Deleting what customers asked to be deleted, and saying so to the portal, detail by detail.

What customers shared is gone from the file when they stop (`store.py`).  A real company also has statements, mailing
lists and backups: going through those takes a while, here `after` seconds, and only then is it said to be deleted.
The portal's list is what counts: a message about a wish that never arrived is found there too.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from datetime import datetime
from typing import TYPE_CHECKING

import requests

from portal_client import PortalProblemError, UntrustedError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from portal_client import PortalClient
    from store import Store

    Wishes = Mapping[tuple[str, str], list[str]]

AFTER = 300.0
_LOOK_EVERY = 30.0


class Deleting:
    """Looks at the portal's list, deletes, and says so; what could not be said is said at the next look."""

    def __init__(self, portal: PortalClient, store: Store, *, after: float = AFTER) -> None:
        self._portal, self._store, self._after = portal, store, after

    def start(self) -> None:
        threading.Thread(target=self._run, daemon=True).start()

    def look(self) -> int:
        """Delete what is to be deleted by now and say so; return of how many consents."""
        try:
            wishes = self._due()
        except (PortalProblemError, UntrustedError, requests.RequestException):
            return 0
        return sum(self._settle(grant_id, sub, names) for (grant_id, sub), names in wishes.items())

    def _due(self) -> Wishes:
        """Return the details to delete of each consent and customer; what is held back is not asked for now."""
        found: dict[tuple[str, str], list[str]] = defaultdict(list)
        for each in self._portal.to_delete():
            asked = datetime.fromisoformat(each["asked_at"]).timestamp()
            if each["state"] == "asked" and asked + self._after <= time.time():
                found[each["grant_id"], each["sub"]].append(each["attribute"])
        return found

    def _settle(self, grant_id: str, sub: str, names: list[str]) -> bool:
        # First it is gone, then it is said: whoever dies in between says it later.
        self._store.erase(sub, grant_id, names, now=time.time())
        try:
            self._portal.say_deleted(grant_id, names)
        except (PortalProblemError, UntrustedError, requests.RequestException):
            # Also where the customer shares it again by now: then it is no longer on the list.
            return False
        return True

    def _run(self) -> None:
        while True:
            self.look()
            time.sleep(max(1.0, min(self._after, _LOOK_EVERY)))
