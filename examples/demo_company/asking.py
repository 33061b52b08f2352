"""Asking the portal for details: one person at a click, or many at once in the background."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import requests

from portal_client import PortalProblemError, UntrustedError
from receiver import RefusedError

if TYPE_CHECKING:
    from portal_client import PortalClient
    from receiver import Receiver
    from store import Store

_LOG = logging.getLogger(__name__)
MANY = 200
_PAUSE = 0.25
_PATIENCE = 180
_STATES = {
    "consent-paused": "paused",
    "consent-withdrawn": "withdrawn",
    "consent-ended": "ended",
    "consent-expired": "expired",
    "consent-refused": "refused",
}
_FINISHED = "done"
_FAILED = "expired"


class Asking:
    """Pulls, and what the answers mean for the customer's record."""

    def __init__(self, portal: PortalClient, receiver: Receiver, store: Store) -> None:
        self._portal, self._receiver, self._store = portal, receiver, store

    def one(self, sub: str, *, token: str = "") -> None:
        """Ask for one person, answered at once; raise `PortalProblemError` when the portal refuses."""
        try:
            message = self._portal.pull(sub, token=token)
        except PortalProblemError as problem:
            self._learn(sub, problem.code)
            raise
        self._receiver.take(message, how="asked", about=sub)

    def soon(self, sub: str) -> None:
        """Fetch what a notice said is new, once the portal has its answer: a notice is taken at once."""
        threading.Thread(target=self._fetch, args=(sub,), daemon=True).start()

    def _fetch(self, sub: str) -> None:
        try:
            self.one(sub)
        except (PortalProblemError, UntrustedError, RefusedError, requests.RequestException) as error:
            # Whoever looks at the customer can ask again; the next notice does so, too.
            _LOG.warning("what a notice named was not fetched: %s", type(error).__name__)

    def many(self, subjects: list[str]) -> str:
        """Ask for all of `subjects` at once; return the id under which the progress is found."""
        started = self._portal.ask(subjects)
        ask_id = str(started["id"])
        self._save(ask_id, started, {})
        threading.Thread(target=self._follow, args=(ask_id,), daemon=True).start()
        return ask_id

    def _follow(self, ask_id: str) -> None:
        progress: dict[str, Any] = {}
        try:
            progress = self._wait(ask_id)
            results = self._keep(self._portal.result(ask_id)) if progress["state"] == _FINISHED else {}
        except (PortalProblemError, UntrustedError, requests.RequestException, KeyError) as error:
            progress, results = {**progress, "state": _FAILED}, {type(error).__name__: 1}
        self._save(ask_id, progress, results)

    def _wait(self, ask_id: str) -> dict[str, Any]:
        """Return the last state of a pull: finished, or failed when it takes longer than anyone would wait."""
        deadline = time.monotonic() + _PATIENCE
        while time.monotonic() < deadline:
            progress = self._portal.progress(ask_id)
            if progress["state"] in {_FINISHED, _FAILED}:
                return progress
            self._save(ask_id, progress, {})
            time.sleep(_PAUSE)
        return {"state": _FAILED}

    def _keep(self, results: list[dict[str, Any]]) -> dict[str, int]:
        return dict(Counter(self._keep_one(result) for result in results))

    def _keep_one(self, result: dict[str, Any]) -> str:
        sub = str(result.get("sub", ""))
        if "message" not in result:
            self._learn(sub, str(result.get("problem", "")))
            return str(result.get("problem", "unknown"))
        try:
            self._receiver.take(str(result["message"]), how="asked", about=sub)
        except RefusedError as error:
            return error.err
        return "received"

    def _learn(self, sub: str, code: str) -> None:
        if state := _STATES.get(code):
            self._store.note_refusal(sub, state=state)

    def _save(self, ask_id: str, answer: dict[str, Any], results: dict[str, int]) -> None:
        state = answer.get("state", _FAILED)
        progress = {
            # Done means here: the results have been fetched and kept as well.
            "state": "done" if results and state == _FINISHED else ("failed" if state == _FAILED else "waiting"),
            "total": int(answer.get("total") or 0),
            "answered": int(answer.get("answered") or 0) + int(answer.get("refused") or 0),
        }
        self._store.save_ask(ask_id, progress=progress, results=results, now=time.time())
