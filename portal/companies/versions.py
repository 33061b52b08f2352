"""The versions of a purpose: drafted, sent for review, live or sent back; what one says is never changed.

A live app asks under a version that an operator has put live; a test app under its newest, which keeps to the same
ceilings.  Whoever agreed to a version keeps it, whatever is declared later.
docs/decisions/0021-what-is-declared-is-never-changed.md
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select, update

from portal.companies import declared, letters, purpose_queries, queries
from portal.companies.models import Client, Purpose, PurposeVersion
from portal.companies.purpose_queries import DRAFT, LIVE, OPEN, REPLACED, SENT_BACK, WAITING
from portal.errors import NotFoundError, RefusedError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy import ColumnElement
    from sqlalchemy.orm import Session

    from portal.companies.purpose_queries import VersionFacts

_IN_A_DAY = 50
_LIVE_APP = "live"


class NoDraftError(RefusedError):
    code = "no-draft"
    status = 409
    public = "Only a draft can be sent for review, and only what waits can be taken back."


class NoReviewNeededError(RefusedError):
    code = "no-review-needed"
    status = 409
    public = "This is a test app: it asks under its newest version at once, without review."


class NotWaitingError(RefusedError):
    code = "not-waiting"
    status = 409
    public = "This version does not wait for review any more."


class OwnPurposeError(RefusedError):
    code = "own-purpose"
    public = "You act for this organisation yourself: another operator decides."


class TooManyVersionsError(RefusedError):
    code = "too-many-versions"
    status = 429
    public = "This purpose was changed fifty times within a day. Go on tomorrow."
    headers: Mapping[str, str] = MappingProxyType({"Retry-After": "3600"})


def begin(session: Session, purpose: Purpose, said: Mapping[str, Any], *, now: datetime) -> PurposeVersion:
    """Add the first version of a new purpose; `said` is what `declared.columns` returned."""
    return _add(session, purpose, said, now=now)


def revise(session: Session, *, client_id: str, code: str, now: datetime, **said: Any) -> VersionFacts:  # noqa: ANN401
    """Draft another version of a purpose, in place of one that is drafted or waits; what is the same makes none.

    `said` are the arguments of `declared.columns`, which says what is refused; raises `TooManyVersionsError` and
    `NotFoundError` too.
    """
    purpose = held(session, client_id, code)
    columns, newest = declared.columns(**said), _newest(session, purpose)
    if newest.state in {SENT_BACK, REPLACED} or any(getattr(newest, name) != columns[name] for name in columns):
        _check_pace(session, purpose, now)
        newest = _add(session, purpose, columns, now=now)
    return purpose_queries.version_facts(purpose, newest)


def send(session: Session, *, client_id: str, code: str, now: datetime) -> VersionFacts:
    """Send the draft of a live app's purpose for review.

    Raises `NoReviewNeededError`, `NoDraftError`, `NotFoundError`, and `declared.OverAskingError` where the ceiling of
    its kind is lower than it was.
    """
    purpose = held(session, client_id, code)
    if session.get_one(Client, client_id).environment != _LIVE_APP:
        raise NoReviewNeededError
    row = _newest(session, purpose)
    if row.state != DRAFT:
        raise NoDraftError
    declared.check_ceiling(purpose_queries.content(row))
    row.state, row.sent_at = WAITING, now
    session.flush()
    return purpose_queries.version_facts(purpose, row)


def take_back(session: Session, *, client_id: str, code: str) -> VersionFacts:
    """Make a draft again of what waits for review; raise `NoDraftError` when nothing does, and `NotFoundError`."""
    purpose = held(session, client_id, code)
    row = _newest(session, purpose)
    if row.state != WAITING:
        raise NoDraftError
    row.state = DRAFT
    session.flush()
    return purpose_queries.version_facts(purpose, row)


def put_live(session: Session, *, purpose_id: UUID, version: int, by: UUID, words: str, now: datetime) -> None:
    """Let an app ask under a version that waits, from now on, and write to its company.

    `by` is the operator, `words` what they say to the company, if anything.  Raises `NotWaitingError`,
    `OwnPurposeError`, and `declared.OverAskingError` where the ceiling is lower than it was.
    """
    purpose, row = _waiting(session, purpose_id, version, by)
    declared.check_ceiling(purpose_queries.content(row))
    _put_to_use(session, purpose, row)
    _decide(session, purpose, row, LIVE, by=by, words=words, now=now)


def send_back(session: Session, *, purpose_id: UUID, version: int, by: UUID, words: str, now: datetime) -> None:
    """Send a version that waits back to its company, and write to it what there is to mend.

    Raises `NotWaitingError` and `OwnPurposeError`.
    """
    purpose, row = _waiting(session, purpose_id, version, by)
    _decide(session, purpose, row, SENT_BACK, by=by, words=words, now=now)


def held(session: Session, client_id: str, code: str) -> Purpose:
    """Return a purpose that is not withdrawn, held still until the transaction ends; raise `NotFoundError`.

    Its versions are numbered one after the other.
    """
    if queries.unnameable(code):
        raise NotFoundError
    return _held(session, Purpose.client_id == client_id, Purpose.code == code, Purpose.withdrawn_at.is_(None))


def of_any(session: Session, purpose_id: UUID, *, operator_id: UUID) -> Purpose:
    """Return a purpose of whichever company, held still as `held` does, for an operator to decide on.

    Raises `NotFoundError` and `OwnPurposeError`.
    """
    purpose = _held(session, Purpose.purpose_id == purpose_id)
    check_not_own(session, session.get_one(Client, purpose.client_id), operator_id)
    return purpose


def check_not_own(session: Session, client: Client, operator_id: UUID) -> None:
    """Raise `OwnPurposeError` when an operator acts for the company of a client themselves."""
    if queries.acts_for(session, operator_id, company_id=client.company_id):
        raise OwnPurposeError


def _add(session: Session, purpose: Purpose, said: Mapping[str, Any], *, now: datetime) -> PurposeVersion:
    last = session.scalar(select(func.max(PurposeVersion.version)).where(_of(purpose)))
    left = update(PurposeVersion).where(_of(purpose), PurposeVersion.state.in_(OPEN))
    session.execute(left.values(state=REPLACED))
    row = PurposeVersion(
        purpose_id=purpose.purpose_id, version=(last or 0) + 1, state=DRAFT, drafted_at=now, words="", **said
    )
    session.add(row)
    session.flush()
    if session.get_one(Client, purpose.client_id).environment != _LIVE_APP:
        _put_to_use(session, purpose, row)
    return row


def _put_to_use(session: Session, purpose: Purpose, row: PurposeVersion) -> None:
    # What somebody agreed to under an earlier version stays theirs to give: its details stay among those asked for.
    session.execute(update(PurposeVersion).where(_of(purpose), PurposeVersion.state == LIVE).values(state=REPLACED))
    purpose.version = row.version
    purpose.attributes = list(dict.fromkeys([*purpose.attributes, *purpose_queries.attributes(row)]))
    session.flush()


def _decide(
    session: Session, purpose: Purpose, row: PurposeVersion, state: str, *, by: UUID, words: str, now: datetime
) -> None:
    row.state, row.decided_at, row.decided_by, row.words = state, now, by, words
    session.flush()
    client = session.get_one(Client, purpose.client_id)
    about = {
        "app": client.name, "client_id": client.client_id, "code": purpose.code, "sentence": row.sentence,
        "version": str(row.version), "words": words,
    }  # fmt: skip
    kind = letters.PURPOSE_LIVE if state == LIVE else letters.PURPOSE_SENT_BACK
    letters.write(session, company_id=client.company_id, client_id=client.client_id, kind=kind, about=about, now=now)


def _waiting(session: Session, purpose_id: UUID, version: int, by: UUID) -> tuple[Purpose, PurposeVersion]:
    purpose = of_any(session, purpose_id, operator_id=by)
    row = session.get(PurposeVersion, (purpose_id, version), populate_existing=True)
    if row is None:
        raise NotFoundError
    if row.state != WAITING or purpose.withdrawn_at is not None:
        raise NotWaitingError
    return purpose, row


def _held(session: Session, *which: ColumnElement[bool]) -> Purpose:
    one = select(Purpose).where(*which).with_for_update()
    purpose = session.scalar(one.execution_options(populate_existing=True))
    if purpose is None:
        raise NotFoundError
    return purpose


def _newest(session: Session, purpose: Purpose) -> PurposeVersion:
    mine = select(PurposeVersion).where(_of(purpose)).order_by(PurposeVersion.version.desc()).limit(1)
    return session.scalars(mine.execution_options(populate_existing=True)).one()


def _check_pace(session: Session, purpose: Purpose, now: datetime) -> None:
    today = PurposeVersion.drafted_at > now - purpose_queries.DAY
    if (session.scalar(select(func.count()).where(_of(purpose), today)) or 0) >= _IN_A_DAY:
        raise TooManyVersionsError


def _of(purpose: Purpose) -> Any:  # noqa: ANN401 - a condition of SQLAlchemy's
    return PurposeVersion.purpose_id == purpose.purpose_id
