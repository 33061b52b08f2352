"""Facts announced upward: a service says what happened, and `wiring.py` decides who listens.

Listeners run in the announcer's transaction, so a fact and what follows from it are kept or lost together.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy.orm import Session

_listeners: dict[type, list[Callable[[Session, Any], None]]] = defaultdict(list)
Fact = TypeVar("Fact")


@dataclass(frozen=True, kw_only=True)
class RecordChanged:
    """A person changed values of their record; `sequence` is the record's new number."""

    person_id: UUID
    attributes: tuple[str, ...]
    sequence: int
    at: datetime


@dataclass(frozen=True, kw_only=True)
class RecordConfirmed:
    """A person said of values that they are still right; `sequence` is the record's new number."""

    person_id: UUID
    attributes: tuple[str, ...]
    sequence: int
    at: datetime


@dataclass(frozen=True, kw_only=True)
class PersonConfirmed:
    """Somebody new proved their sign-in address; it is `email`, which no listener may keep unsealed."""

    person_id: UUID
    email: str = field(repr=False)
    at: datetime


@dataclass(frozen=True, kw_only=True)
class GrantChanged:
    """A grant was given, changed, paused, resumed or ended; the company is told by whoever listens."""

    person_id: UUID
    grant_id: UUID
    at: datetime


@dataclass(frozen=True, kw_only=True)
class GrantsChanged:
    """Many grants of one person took a step at once, after which each is still live: what froze or goes on again."""

    person_id: UUID
    grant_ids: tuple[UUID, ...]
    at: datetime


@dataclass(frozen=True, kw_only=True)
class ApprovalAnswered:
    """A question that waited in the portal is settled: approved, denied, or taken back by whoever asked."""

    person_id: UUID
    request_id: UUID
    at: datetime


@dataclass(frozen=True, kw_only=True)
class ClientEnded:
    """A company ended one of its clients for good."""

    client_id: str
    at: datetime


@dataclass(frozen=True, kw_only=True)
class ClientLifted:
    """A client that was suspended may go on: what it was owed meanwhile is due."""

    client_id: str


@dataclass(frozen=True, kw_only=True)
class PurposeWithdrawn:
    """A company withdrew a purpose, or an operator took it down: nothing leaves under it from now on."""

    purpose_id: UUID
    at: datetime


@dataclass(frozen=True, kw_only=True)
class ToldInFull:
    """A client that was told only that something changed is told values again, for one of its purposes."""

    client_id: str
    purpose_id: UUID
    at: datetime


@dataclass(frozen=True, kw_only=True)
class SigningKeysChanged:
    """The portal published a key that signs from `signs_from` on; `others_withdrawn` says that no other is good now."""

    kid: str
    signs_from: datetime
    others_withdrawn: bool
    at: datetime


@dataclass(frozen=True, kw_only=True)
class EncryptionKeyInUse:
    """From now on a department of a client (`group`, empty for the rest) is sealed to under `kid`.

    `replaced` are the kids of keys that were used before and need open only what was sealed by now.
    """

    client_id: str
    kid: str
    group: str
    replaced: tuple[str, ...]
    at: datetime


@dataclass(frozen=True, kw_only=True)
class StreamStatusChanged:
    """A client's stream was turned off because it failed, or is on again: its `status` is that of SSF 1.0 now."""

    client_id: str
    status: str
    reason: str
    at: datetime


@dataclass(frozen=True, kw_only=True)
class EncryptionKeyStopped:
    """A client's key is in other hands, or none of its own: what is sealed to it must not leave any more."""

    client_id: str
    kid: str
    at: datetime


def listen(fact: type[Fact], listener: Callable[[Session, Fact], None]) -> None:
    """Call `listener` with every `fact` from now on; naming the same listener twice changes nothing."""
    if listener not in _listeners[fact]:
        _listeners[fact].append(listener)


def announce(session: Session, fact: object) -> None:
    """Tell every listener of `fact`'s class, in the order they were named."""
    for listener in _listeners[type(fact)]:
        listener(session, fact)
