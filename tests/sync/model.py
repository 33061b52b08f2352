"""A company that believes what it is told and nothing else: the model that a real receiver is held against."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from jsonschema_rs import Draft202012Validator

from portal.sync.event_schemas import SCHEMAS
from tests.sync.receiver import CONSENT, PROFILE

if TYPE_CHECKING:
    from tests.sync.receiver import Message

CONFIRMED = "urn:ucm:event:confirmed"
ERASURE = "urn:ucm:event:erasure-requested"
SHAPES = {kind: Draft202012Validator(schema) for kind, schema in SCHEMAS.items()}
OVER = {"withdrawn": "stopped", "ended": "ended", "expired": "expired"}


@dataclass
class Believed:
    """What a company believes of one grant; `values` maps each attribute to its version, its value and when confirmed.

    A thin one knows versions only: its values are `None` until it fetches.
    """

    state: str = ""
    version: int = 0
    attributes: frozenset[str] = frozenset()
    values: dict[str, tuple[int, Any, str | None]] = field(default_factory=dict)
    erasure: dict[str, Any] | None = None
    changes: list[str] = field(default_factory=list)

    def apply(self, message: Message) -> None:
        """Take a message in the order in which its events make sense: first what holds, then the details."""
        events = message.claims["events"]
        for kind, event in events.items():
            SHAPES[kind].validate(event)
        if CONSENT in events:
            self._hear(events[CONSENT])
        if ERASURE in events:
            self.erasure = events[ERASURE]
        if PROFILE in events:
            self._learn(events[PROFILE], message)
        for name, mark in events.get(CONFIRMED, {}).get("attributes", {}).items():
            version, value, _ = self.values[name]
            assert mark["version"] == version, "what is confirmed is what is held"
            self.values[name] = (version, value, mark["confirmed_at"])

    def _hear(self, event: dict[str, Any]) -> None:
        assert event["version"] >= self.version
        self.changes.append(event["change"])
        self.state, self.version = event["state"], event["version"]
        if self.state == "active":
            self.attributes = frozenset(event["attributes"])
            self.values = {name: held for name, held in self.values.items() if name in self.attributes}
        else:
            assert event["attributes"] == []
        if self.state in OVER:
            self.values = {}

    def _learn(self, event: dict[str, Any], message: Message) -> None:
        if event["complete"]:
            self.values = {}
        for name, entry in event["attributes"].items():
            version = self.values.get(name, (0,))[0]
            assert entry["version"] >= version, "no version goes backwards"
            value = None if event.get("thin") else message.values[name][1]
            self.values[name] = (entry["version"], value, entry["confirmed_at"])
