"""Companies that fetch (RFC 8936) instead of being told, from a server that is killed as well.

They forget to acknowledge now and then, complain of a message, or lose an answer; what they were handed they write
into the same journal as the receivers.
"""

from __future__ import annotations

import json
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import requests
from sqlalchemy.exc import SQLAlchemyError

from tests.sync.caller import Caller

if TYPE_CHECKING:
    from collections.abc import Mapping
    from concurrent.futures import Future
    from pathlib import Path

    from tests.chaos.site import Site
    from tests.sync.cast import Firm, World

_PATH = "/api/v1/events"
_TOKEN_SECONDS = 300.0
_FORGETS, _COMPLAINS = 0.05, 0.02


@dataclass
class Poller:
    """One company's loop; `calm` once it takes everything."""

    here: Site
    world: World
    firm: Firm
    journal: Path
    seed: int
    calm: bool = False
    refused: int = 0
    _ack: list[str] = field(default_factory=list)
    _errors: dict[str, Any] = field(default_factory=dict)
    _polling: Future[None] | None = None

    def __post_init__(self) -> None:
        self._chance = random.Random(self.seed)
        self._over = threading.Event()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="poller")
        self._caller, self._issued = self._called(), time.monotonic()

    def start(self) -> None:
        self._polling = self._pool.submit(self._run)

    def end(self) -> None:
        """Let the last poll finish; raises what ended the polling before."""
        self._over.set()
        self._pool.shutdown()
        if self._polling is not None:
            self._polling.result()

    def _run(self) -> None:
        while not self._over.wait(self._chance.uniform(0.02, 0.2)):
            try:
                self._poll()
            except (requests.RequestException, ValueError, SQLAlchemyError):
                # The server may be away, and the database too, of which a new token is asked for.
                self.refused += 1
                self._over.wait(0.3)

    def _poll(self) -> None:
        asked = {"returnImmediately": True, "maxEvents": 50, "ack": self._ack, "setErrs": self._errors}
        headers = self._fresh().headers("POST", _PATH)
        answer = requests.post(self.here.settings.url + _PATH, json=asked, headers=headers, timeout=10)
        answer.raise_for_status()
        at, sets = time.monotonic(), answer.json()["sets"]
        if sets:
            self._note(at, sets)
        self._ack, self._errors = [], {}
        for jti in sets:
            self._settle(jti)

    def _settle(self, jti: str) -> None:
        drawn = 1.0 if self.calm else self._chance.random()
        if drawn < _COMPLAINS:
            self._errors[jti] = {"err": "invalid_request", "description": "chance"}
        elif drawn > _COMPLAINS + _FORGETS:
            self._ack.append(jti)

    def _note(self, at: float, sets: Mapping[str, str]) -> None:
        line = {"port": self.firm.receiver.port, "at": at, "way": "poll", "tokens": list(sets.values())}
        with self.journal.open("a", encoding="utf-8") as kept:
            kept.write(json.dumps(line) + "\n")

    def _fresh(self) -> Caller:
        if time.monotonic() - self._issued > _TOKEN_SECONDS:
            self._caller, self._issued = self._called(), time.monotonic()
        return self._caller

    def _called(self) -> Caller:
        return Caller(_Nobody(), self.world, self.firm)  # type: ignore[arg-type]  # only its headers are used


class _Nobody:
    """Stands where a caller has its test client: here everything goes by HTTP."""
