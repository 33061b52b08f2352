"""How companies' copies stand beside the master: who has a change, and how many copies are equal to it.

A copy equals the master when the company has every shared detail as it stands now: by its receipts where it sends
them, else by its acknowledgements.  All subscriptions count under which a company may be kept up to date now, but
those whose stream the company itself has paused or turned off.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from portal.consent import rules as policy
from portal.oauth.statements import standing
from portal.sync import copy_statements, receipts

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy import Row
    from sqlalchemy.orm import Session

GOAL: Final = 0.998
# A change this young is still on its way, however well everything works.
SETTLED: Final = timedelta(seconds=60)


class Told(NamedTuple):
    """How far one company is with a change, and since when.

    `state` is `waiting`, `failing`, `asks` (it may have the change and can ask for it, but has no endpoint that is
    enabled), `noticed` (told that there is something new, and it has not fetched it), `received` (it sends no
    receipts), `unused` (received, and no receipt yet), `applied` or `rejected`.
    `attributes` are the details touched; `took` is how long after saving it got there, None where the person shared
    only after that.
    """

    company_name: str
    grant_id: UUID
    state: str
    at: datetime | None
    took: timedelta | None
    attributes: Sequence[str]
    reason: str


class Share(NamedTuple):
    """How many of `total` copies equal the master now; `fresh` of the others miss a change of the last minute only."""

    total: int
    equal: int
    fresh: int

    @property
    def now(self) -> float:
        """The share of copies that are equal at this moment; 1 where there is none."""
        return self.equal / self.total if self.total else 1.0

    @property
    def settled(self) -> float:
        """The same without the copies that miss a change of the last minute only."""
        return self.equal / (self.total - self.fresh) if self.total > self.fresh else 1.0

    @property
    def words(self) -> str:
        """The figure as a line, beside the goal."""
        old = f"older than {SETTLED.seconds} s: {self.settled:.2%}"
        return f"copies equal to the master: {self.now:.2%} ({self.equal:,} of {self.total:,}); {old}; goal {GOAL:.1%}"


def status_of_change(session: Session, *, person_id: UUID, sequence: int, now: datetime) -> list[Told]:
    """Return, by name, each company that may have the change `sequence` and how far it is with it.

    The policy that names them before saving names them here.
    """
    values = {"person_id": person_id, "sequence": sequence, "receipts_after": now - receipts.KEPT}
    return [_told(row) for row in session.execute(copy_statements.STATUS, values) if _may_have(row, now)]


def share(session: Session, *, now: datetime, client_id: str | None = None) -> Share:
    """Return how many copies equal the master, of one client's or of all."""
    values = {"now": now, "client_id": client_id}
    total = session.scalar(copy_statements.LIVE, values) or 0
    values |= {"settled_before": now - SETTLED, "receipts_after": now - receipts.KEPT}
    row = session.execute(copy_statements.STALE, values).one()
    return Share(total=total, equal=total - row.stale, fresh=row.fresh)


def _may_have(row: Row[Any], now: datetime) -> bool:
    return policy.decide(
        standing(row),
        client_id=row.client_id,
        channel=policy.Channel.PUSH,
        requested=row.touched,
        now=now,
    ).allowed


def _told(row: Row[Any]) -> Told:
    state, at = _state(row)
    # Whoever shared only afterwards did not wait for it since then.
    waited = at is not None and row.saved_at is not None and row.given_at <= row.saved_at
    took = max(at - row.saved_at, timedelta()) if at and waited else None
    touched = [name for name in row.touched if name in row.attributes]
    return Told(row.trading_name, row.grant_id, state, at, took, touched, row.reason or "")


def _state(row: Row[Any]) -> tuple[str, datetime | None]:
    if row.status is not None:
        return ("rejected" if row.status == "rejected" else "applied"), row.applied_at
    if row.thin and not row.fetched_at:
        return ("noticed", row.received_at) if row.received else _coming(row)
    if row.thin:
        return ("unused" if row.sends_receipts else "received"), row.fetched_at
    if row.received:
        return ("unused" if row.sends_receipts else "received"), row.received_at
    return _coming(row)


def _coming(row: Row[Any]) -> tuple[str, datetime | None]:
    if not row.told:
        return "asks", None
    return ("failing" if row.failing else "waiting"), None
