"""The versions of a purpose as staff and operators see them, whether people can be asked under them or not."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import func, select, tuple_

from portal.companies import queries
from portal.companies.clients import ENDED
from portal.companies.models import Client, Purpose, PurposeVersion
from portal.errors import NotFoundError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy import ColumnElement, Row, Select
    from sqlalchemy.orm import Session

    from portal.companies.queries import ClientFacts, PurposeFacts

    Cursor = tuple[datetime, UUID]

DRAFT, WAITING, SENT_BACK, LIVE, REPLACED = "draft", "waiting", "sent-back", "live", "replaced"
OPEN: Final = (DRAFT, WAITING)
DAY: Final = timedelta(days=1)
_LISTED = 50
_WAITS = PurposeVersion.state == WAITING, Purpose.withdrawn_at.is_(None), Client.state != ENDED
_CONTENT = (
    "sentence", "dpv", "lawful_basis", "mode", "required", "optional", "retention_days", "longest_days", "pulls_a_day",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class VersionFacts:
    """One version; `in_use` says that people are asked under it now, `words` is what the operator said of it."""

    purpose: PurposeFacts
    in_use: bool
    drafted_at: datetime
    sent_at: datetime | None
    decided_at: datetime | None
    words: str

    @property
    def state(self) -> str:
        return self.purpose.state


@dataclass(frozen=True, kw_only=True)
class Withdrawal:
    """What became of a purpose; `taken_down` says that an operator did it, for what `words` say."""

    code: str
    sentence: str
    at: datetime
    taken_down: bool
    words: str


@dataclass(frozen=True, kw_only=True)
class Review:
    """A version that an operator decides on, or has decided on, and whose it is."""

    version: VersionFacts
    client: ClientFacts


def of_client(session: Session, client_id: str) -> dict[str, list[VersionFacts]]:
    """Return the versions of each purpose of a client that is not withdrawn, newest first, by code, oldest first."""
    mine = _versions().where(Purpose.client_id == client_id, Purpose.withdrawn_at.is_(None))
    found: dict[str, list[VersionFacts]] = {}
    for facts in _facts(session.execute(mine.order_by(Purpose.created_at, Purpose.code))):
        found.setdefault(facts.purpose.code, []).append(facts)
    return {code: sorted(each, key=lambda one: -one.purpose.version) for code, each in found.items()}


def withdrawal(session: Session, *, client_id: str, code: str) -> Withdrawal | None:
    """Return what became of a purpose that is withdrawn; None for any other."""
    return next(iter(_withdrawn(session, Purpose.client_id == client_id, Purpose.code == code)), None)


def withdrawn(session: Session, client_id: str) -> list[Withdrawal]:
    """Return the purposes of a client that are withdrawn, the latest first."""
    return sorted(_withdrawn(session, Purpose.client_id == client_id), key=lambda one: one.at, reverse=True)


def of_purpose(session: Session, *, client_id: str, code: str, withdrawn_too: bool = False) -> list[VersionFacts]:
    """Return every version of a purpose that is not withdrawn, newest first; raise `NotFoundError`."""
    mine = [Purpose.client_id == client_id, Purpose.code == code]
    if not withdrawn_too:
        mine.append(Purpose.withdrawn_at.is_(None))
    found = [] if queries.unnameable(code) else _facts(session.execute(_versions().where(*mine)))
    if not found:
        raise NotFoundError
    return sorted(found, key=lambda facts: -facts.purpose.version)


def review(session: Session, *, purpose_id: UUID, version: int) -> Review:
    """Return one version that was ever sent for review; raise `NotFoundError`."""
    one = _versions().where(
        PurposeVersion.purpose_id == purpose_id, PurposeVersion.version == version, PurposeVersion.sent_at.is_not(None)
    )
    found = _reviews(session, _facts(session.execute(one)))
    if not found:
        raise NotFoundError
    return found[0]


def waiting(session: Session, *, after: Cursor | None = None, limit: int = _LISTED) -> list[Review]:
    """Return what waits for review, the longest first, behind `after` = (sent_at, purpose_id)."""
    rows = _versions().join(Client).where(*_WAITS)
    if after is not None:
        rows = rows.where(tuple_(PurposeVersion.sent_at, PurposeVersion.purpose_id) > after)
    ordered = rows.order_by(PurposeVersion.sent_at, PurposeVersion.purpose_id)
    return _reviews(session, _facts(session.execute(ordered.limit(limit))))


def waiting_count(session: Session) -> int:
    """Return how many versions wait for review."""
    rows = select(func.count()).select_from(PurposeVersion).join(Purpose).join(Client)
    return session.scalar(rows.where(*_WAITS)) or 0


def decided(session: Session, *, before: Cursor | None = None, limit: int = _LISTED) -> list[Review]:
    """Return what operators decided, the latest first, earlier than `before` = (decided_at, purpose_id)."""
    rows = _versions().where(PurposeVersion.decided_by.is_not(None))
    if before is not None:
        rows = rows.where(tuple_(PurposeVersion.decided_at, PurposeVersion.purpose_id) < before)
    ordered = rows.order_by(PurposeVersion.decided_at.desc(), PurposeVersion.purpose_id.desc())
    return _reviews(session, _facts(session.execute(ordered.limit(limit))))


def version_facts(purpose: Purpose, row: PurposeVersion) -> VersionFacts:
    return VersionFacts(
        purpose=queries.purpose_facts(purpose, row),
        in_use=purpose.version == row.version,
        drafted_at=row.drafted_at,
        sent_at=row.sent_at,
        decided_at=row.decided_at,
        words=row.words,
    )


def content(row: PurposeVersion) -> dict[str, Any]:
    """Return what a version says, as `declared.columns` returned it."""
    return {name: getattr(row, name) for name in _CONTENT}


def attributes(row: PurposeVersion) -> list[str]:
    """Return the names of all details that a version asks for."""
    return [item["attribute"] for item in (*row.required, *row.optional)]


def _withdrawn(session: Session, *which: ColumnElement[bool]) -> Iterable[Withdrawal]:
    mine = _versions().where(*which, Purpose.withdrawn_at.is_not(None))
    found: dict[UUID, Withdrawal] = {}
    # What people were asked under is the last of each; the newest where they never were.
    in_use = (PurposeVersion.version == func.coalesce(Purpose.version, 0)).asc()
    for row, said in session.execute(mine.order_by(in_use, PurposeVersion.version)):
        found[row.purpose_id] = _withdrawal(row, said)
    return found.values()


def _withdrawal(row: Purpose, said: PurposeVersion) -> Withdrawal:
    if row.withdrawn_at is None:
        raise NotFoundError
    return Withdrawal(
        code=row.code,
        sentence=said.sentence,
        at=row.withdrawn_at,
        taken_down=row.withdrawn_role == queries.OPERATOR,
        words=row.withdrawn_words,
    )


def _versions() -> Select[Purpose, PurposeVersion]:
    return select(Purpose, PurposeVersion).join(PurposeVersion)


def _facts(rows: Iterable[Row[Purpose, PurposeVersion]]) -> list[VersionFacts]:
    return [version_facts(purpose, row) for purpose, row in rows]


def _reviews(session: Session, versions: Sequence[VersionFacts]) -> list[Review]:
    whose: Mapping[str, ClientFacts] = queries.clients(session, {one.purpose.client_id for one in versions})
    return [Review(version=one, client=whose[one.purpose.client_id]) for one in versions]
