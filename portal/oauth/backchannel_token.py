"""Fetching the answer (CIBA Core 1.0 sections 10.1 and 11): pending until the person has answered, then once."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import func, or_, select, text, update

from portal.companies.metadata import CIBA
from portal.consent import approvals, terms, unwanted
from portal.consent import queries as consents
from portal.errors import NotFoundError
from portal.oauth import answers, tokens
from portal.oauth.errors import InvalidGrantError, InvalidRequestError, OAuthError
from portal.oauth.models import BackchannelRequest
from portal.oauth.token_endpoint import TokenGrant

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy.orm import Session

    from portal.consent.models import ApprovalRequest

SLOWER: Final = 5
# A poll that is on its way for a shorter time than the one before comes a little early.
_TOLERANCE = timedelta(milliseconds=500)


class AuthReqIdMissingError(InvalidRequestError):
    public = "auth_req_id is missing."


class AuthReqIdUnknownError(InvalidGrantError):
    pass


class AuthReqIdUsedError(InvalidGrantError):
    """What came of it stays: a poll that is sent again, because its answer was lost, is no theft."""


class AuthorizationPendingError(OAuthError):
    """CIBA section 11."""

    code = "authorization_pending"
    public = "The person has not answered yet."


class SlowDownError(OAuthError):
    """CIBA section 11: from now on five seconds more between two polls."""

    code = "slow_down"
    public = "The person has not answered yet. Wait five seconds longer between two requests from now on."


class ExpiredTokenError(OAuthError):
    """CIBA section 11."""

    code = "expired_token"
    public = "The time to answer is over. Make a new request."


class AccessDeniedError(OAuthError):
    """CIBA section 11; the sentence says which answer it was, as it does behind a consent screen."""

    code = "access_denied"
    public = "What you asked for can no longer be agreed to: you have withdrawn or changed the purpose."


class DeclinedError(AccessDeniedError):
    public = answers.DECLINED


class PutOffError(AccessDeniedError):
    public = answers.PUT_OFF


class OfferedError(AccessDeniedError):
    """The person offers less; `offer` names the grant that waits."""

    public = answers.OFFERED

    def __init__(self, grant_id: UUID | None) -> None:
        super().__init__()
        self.members = {"offer": str(grant_id)}


class NotWantedError(AccessDeniedError):
    public = unwanted.NotWantedError.public


@dataclass(frozen=True, kw_only=True)
class Approved:
    """Where the tokens of an approval come from (`tokens.Origin`)."""

    person_id: UUID
    grant_id: UUID
    scope: str
    code_hash: bytes
    authenticated_at: datetime
    level: int


class BackchannelGrant(TokenGrant):
    """`grant_type=urn:openid:params:grant-type:ciba`."""

    GRANT_TYPE = CIBA

    def check(self) -> None:
        session, now = self.request.session, self.request.now
        row = _find(session, self.request.parameters.get("auth_req_id"), self.caller.client_id)
        _check_unused(row)
        _check_age(row, now)
        self.approved = _answer(session, row, now)
        self.consent = self.living_grant(self.approved)
        _use(session, row, now)

    def create_token_response(self) -> tuple[int, dict[str, Any]]:
        session, now, of = self.request.session, self.request.now, self.approved
        answer = self.of_person(of, self.consent, of.scope)
        if "refresh_token" in self.caller.metadata.grant_types:
            ends = self.consent.expires_at
            answer["refresh_token"] = tokens.issue_refresh(session, client=self.caller, of=of, ends=ends, now=now)
        answer["id_token"] = self.id_token(of, answer["sub"], nonce=None)
        return 200, answer


def _find(session: Session, auth_req_id: str | None, client_id: str) -> BackchannelRequest:
    if auth_req_id is None:
        raise AuthReqIdMissingError
    request_hash = tokens.hash_of(auth_req_id)
    row = session.scalar(select(BackchannelRequest).where(BackchannelRequest.request_hash == request_hash))
    if row is None or row.client_id != client_id:
        raise AuthReqIdUnknownError(private="no such request of this client")
    return row


def _check_unused(row: BackchannelRequest) -> None:
    if row.used_at is not None:
        raise AuthReqIdUsedError(private="its tokens were fetched before")


def _check_age(row: BackchannelRequest, now: datetime) -> None:
    if row.expires_at <= now:
        raise ExpiredTokenError


def _answer(session: Session, row: BackchannelRequest, now: datetime) -> Approved:
    asked = approvals.find(session, person_id=row.person_id, request_id=row.request_id)
    if asked is None or asked.state == approvals.EXPIRED:
        raise ExpiredTokenError
    if asked.state == approvals.WAITING:
        _check_still_asked(session, asked, now)
        raise _pending(session, row, now)
    if asked.state != approvals.APPROVED:
        raise _denied(session, asked)
    return _approved(row, asked)


def _denied(session: Session, asked: ApprovalRequest) -> AccessDeniedError:
    if asked.state == approvals.COUNTERED:
        return OfferedError(asked.grant_id)
    if asked.state == approvals.DENIED:
        try:
            unwanted.check(session, person_id=asked.person_id, purpose_id=asked.purpose_id)
        except unwanted.NotWantedError:
            return NotWantedError()
    plain = {approvals.DENIED: DeclinedError, approvals.DEFERRED: PutOffError}
    return plain.get(asked.state, AccessDeniedError)()


def _approved(row: BackchannelRequest, asked: ApprovalRequest) -> Approved:
    if asked.grant_id is None or asked.authenticated_at is None or asked.level is None:
        raise AuthReqIdUnknownError(private="approved without a consent")
    return Approved(
        person_id=row.person_id,
        grant_id=asked.grant_id,
        scope=row.scope,
        code_hash=row.request_hash,
        authenticated_at=asked.authenticated_at,
        level=asked.level,
    )


def _check_still_asked(session: Session, asked: ApprovalRequest, now: datetime) -> None:
    # Nobody can agree any more to what its company has taken back: whoever polls need not wait for the end.
    try:
        consents.offer(session, asked.client_id, asked.purpose_id)
    except (NotFoundError, terms.ClientSuspendedError, terms.PurposeWithdrawnError) as error:
        approvals.cancel(session, person_id=asked.person_id, request_id=asked.request_id, now=now)
        raise AccessDeniedError from error


def _pending(session: Session, row: BackchannelRequest, now: datetime) -> OAuthError:
    """Note the poll and return what to say; the database settles which of several polls came in time."""
    mine = BackchannelRequest.request_hash == row.request_hash
    waited = now + _TOLERANCE - BackchannelRequest.interval * text("interval '1 second'")
    in_time = update(BackchannelRequest).where(
        mine, or_(BackchannelRequest.polled_at.is_(None), BackchannelRequest.polled_at <= waited)
    )
    in_time = in_time.values(polled_at=now).execution_options(synchronize_session=False)
    if session.scalar(in_time.returning(BackchannelRequest.request_hash)) is not None:
        return AuthorizationPendingError()
    slower = update(BackchannelRequest).where(mine).values(
        interval=BackchannelRequest.interval + SLOWER,
        polled_at=func.greatest(BackchannelRequest.polled_at, now),
    )  # fmt: skip
    session.execute(slower.execution_options(synchronize_session=False))
    return SlowDownError()


def _use(session: Session, row: BackchannelRequest, now: datetime) -> None:
    unused = (BackchannelRequest.request_hash == row.request_hash, BackchannelRequest.used_at.is_(None))
    statement = update(BackchannelRequest).where(*unused).values(used_at=now)
    statement = statement.execution_options(synchronize_session=False)
    # RETURNING says whether it is ours: of polls that come together one is answered.
    if session.scalar(statement.returning(BackchannelRequest.request_hash)) is None:
        raise AuthReqIdUsedError(private="fetched by a poll at the same moment")
