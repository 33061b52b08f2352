"""Answering a pull of one person: the policy decides, the ledger knows, then bytes leave."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn

from portal import db
from portal.consent import rules as consent
from portal.consent.rules import Channel, Decision, Proved, Refusal
from portal.consumer import queries as consumer
from portal.db import new_id
from portal.errors import NotFoundError, PortalError
from portal.ledger import queries as ledger_queries
from portal.ledger import services as ledger
from portal.oauth import dpop
from portal.oauth.dpop import ProofReplayedError
from portal.oauth.errors import (
    InsufficientAuthenticationError,
    InsufficientScopeError,
    KeyDiffersError,
    TokenExpiredError,
    TokenUnknownError,
)
from portal.oauth.statements import HOLD_GRANT, standing
from portal.sync import messages, pull_statements
from portal.sync.messages import Addressee, News, Profile
from portal.vault import persons, signing

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy import Row
    from sqlalchemy.orm import Session

    from portal.oauth.protection import Credentials
    from portal.vault.keyring import Keyring
    from portal.vault.signing import Signer

SCOPE = "people:read"
_ONCE = "once"
_WORDS = {
    Refusal.NO_CONSENT: "This person does not share details with you.",
    Refusal.REFUSED: "This person declined to share details with you.",
    Refusal.PAUSED: "This person has paused sharing with you.",
    Refusal.WITHDRAWN: "This person has stopped sharing with you.",
    Refusal.ENDED: "You ended this sharing yourself.",
    Refusal.EXPIRED: "The time this person agreed to has run out.",
    Refusal.NOT_FOR_PUSH: "This person agreed to single requests only.",
    Refusal.ALREADY_USED: "This person agreed to one request, and it has been answered.",
    Refusal.CLIENT_SUSPENDED: "Your app is suspended.",
    Refusal.PURPOSE_WITHDRAWN: "The purpose of this sharing has been withdrawn.",
    Refusal.NOTHING_SHARED: "None of the details you asked for is shared with you.",
}


class NotSharedError(PortalError):
    """The policy refused; `code` is the refusal's own."""

    status = 403

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(_WORDS[refusal])
        self.code = str(refusal)


class ChangedMeanwhileError(PortalError):
    """The consent changed between reading and logging; asking again decides on what holds now."""

    code = "consent-changed"
    status = 409
    public = "What this person shares changed at this moment. Ask again."


@dataclass(frozen=True, kw_only=True)
class Desk:
    """What every answer is made with: the keys that open and sign, the issuer's name, the moment."""

    keyring: Keyring
    signer: Signer
    issuer: str
    now: datetime


@dataclass(frozen=True, kw_only=True)
class _Asking:
    """Who asks, for which attributes, and when."""

    credentials: Credentials
    requested: Sequence[str] | None
    now: datetime


@dataclass(frozen=True, kw_only=True)
class _Log:
    """The row a pull leaves, as parameters of `PULL_LOG`."""

    row: Row[Any]
    asking: _Asking
    given: Mapping[str, int]
    refusal: Refusal | None
    disclosure_id: UUID = field(default_factory=new_id)

    @property
    def message_id(self) -> str:
        return self.disclosure_id.hex

    def parameters(self) -> dict[str, Any]:
        proof = self.asking.credentials.proof
        return {
            "proof_hash": proof.proof_hash, "proof_expires_at": proof.expires_at,
            "person_id": self.row.person_id, "grant_id": self.row.grant_id, "context_id": self.row.context_id,
            "grant_version": self.row.grant_version, "at": self.asking.now, "disclosure_id": self.disclosure_id,
            "outcome": "denied" if self.refusal else "completed", "reason": self.refusal,
            "asked": json.dumps(asked(self.row, self.asking.requested)), "given": json.dumps(self.given),
            "message_id": self.message_id,
        }  # fmt: skip


def pull(
    url: str,
    *,
    keyring: Keyring,
    issuer: str,
    credentials: Credentials,
    sub: str,
    requested: Sequence[str] | None,
    now: datetime,
) -> str:
    """Return the signed message about `sub`; in the database at `url` one statement reads, one logs and commits.

    Raises an `OAuthError` for a bad token or proof, or a person's token that does not reach a sensitive detail,
    `NotFoundError` for a subject that is not this company's, `NotSharedError` with the policy's reason.
    """
    found = pull_statements.PULL.one(url, {"token_hash": credentials.token_hash, "sub": sub})
    row = _admitted(found, credentials, now)
    asking = _Asking(credentials=credentials, requested=requested, now=now)
    if row.grant_id is None:
        _turn_away(url, row, asking)
    log = _logged_once(url, row, asking) if row.mode == _ONCE else _logged(url, row, asking)
    if log.refusal is Refusal.NOT_PROVED:
        raise InsufficientAuthenticationError
    if log.refusal:
        raise NotSharedError(log.refusal)
    signer = signing.of_row(keyring, row.signing_kid, row.signing_version, row.wrapped_private)
    desk = Desk(keyring=keyring, signer=signer, issuer=issuer, now=now)
    return message(row, log.given, desk, sub=sub, jti=log.message_id)


def _admitted(row: Row[Any] | None, credentials: Credentials, now: datetime) -> Row[Any]:
    if row is None:
        raise TokenUnknownError
    if row.token_expires_at <= now:
        raise TokenExpiredError
    if row.jkt != credentials.proof.jkt:
        raise KeyDiffersError(private="the proof is by another key than the token's")
    if row.token_person is None and SCOPE not in row.scope.split():
        raise InsufficientScopeError
    if row.token_person is not None and row.token_person != row.subject_person:
        raise InsufficientScopeError(private="the token is another person's")
    return row


def decide(
    session: Session,
    row: Row[Any],
    *,
    requested: Sequence[str] | None,
    channel: Channel,
    now: datetime,
    proved: Proved | None = None,
) -> Decision:
    """Decide on a row of `PULL` or `BATCH`; a grant for one request costs a look into the ledger.

    For such a grant the caller holds the grant's row: whoever else asks at this moment is then seen.
    """
    used = row.mode == _ONCE and ledger_queries.was_used(session, person_id=row.person_id, grant_id=row.grant_id)
    return _decision(row, requested=requested, channel=channel, now=now, used=used, proved=proved)


def held(row: Row[Any], decision: Decision) -> list[str]:
    """Return those of the allowed attributes that the person has."""
    return [name for name in decision.attributes if name in (row.entries or {})]


def asked(row: Row[Any], requested: Sequence[str] | None) -> list[str]:
    """Return what the ledger says was asked for: the names, or everything that is shared."""
    return sorted(row.attributes if requested is None else requested)


def _decision(
    row: Row[Any],
    *,
    requested: Sequence[str] | None,
    channel: Channel,
    now: datetime,
    used: bool,
    proved: Proved | None,
) -> Decision:
    found = standing(row, used=used)
    return consent.decide(found, client_id=row.client_id, channel=channel, requested=requested, now=now, proved=proved)


def _proved(row: Row[Any]) -> Proved | None:
    # A client's own token acts on the consent; one that speaks for a person reaches as far as that person has proved.
    return None if row.token_person is None else Proved(row.level, row.authenticated_at)


def _logged(url: str, row: Row[Any], asking: _Asking) -> _Log:
    decision = _decision(
        row, requested=asking.requested, channel=Channel.PULL, now=asking.now, used=False, proved=_proved(row)
    )
    log = _log(row, asking, decision)
    _check(pull_statements.PULL_LOG.one(url, log.parameters()))
    return log


def _logged_once(url: str, row: Row[Any], asking: _Asking) -> _Log:
    # Of two at the same moment the second waits for the grant, and then finds the first one's row.
    with db.transaction(url) as session:
        session.execute(HOLD_GRANT, {"person_id": row.person_id, "grant_id": row.grant_id})
        decision = decide(
            session, row, requested=asking.requested, channel=Channel.PULL, now=asking.now, proved=_proved(row)
        )
        log = _log(row, asking, decision)
        done = session.execute(pull_statements.PULL_LOG_HELD, log.parameters()).one()
    _check(done)
    return log


def _log(row: Row[Any], asking: _Asking, decision: Decision) -> _Log:
    if decision.allowed and not row.keys:
        raise messages.NoKeyError
    given = {name: row.entries[name]["version"] for name in held(row, decision)}
    return _Log(row=row, asking=asking, given=given, refusal=decision.refusal)


def _check(done: Row[Any]) -> None:
    if not done.fresh:
        raise ProofReplayedError
    if not done.logged:
        raise ChangedMeanwhileError


def _turn_away(url: str, row: Row[Any], asking: _Asking) -> NoReturn:
    with db.transaction(url) as session:
        dpop.use(session, asking.credentials.proof)
        if row.subject_person is not None:
            _log_stranger(session, row, asking)
    raise NotFoundError if row.subject_person is None else NotSharedError(Refusal.NO_CONSENT)


def _log_stranger(session: Session, row: Row[Any], asking: _Asking) -> None:
    # The company knows this person by another of its apps, so the person gets to see that it asked.
    context_id = ledger.context(
        session, company_id=row.company_id, client_id=row.token_client, company_name=row.trading_name, purpose=""
    )
    ledger.record(
        session,
        ledger.NewDisclosure(
            person_id=row.subject_person, at=asking.now, context_id=context_id, channel="pull", outcome="denied",
            reason=Refusal.NO_CONSENT, asked=sorted(asking.requested or ()), given={},
        ),
    )  # fmt: skip


def message(row: Row[Any], names: Iterable[str], desk: Desk, *, sub: str, jti: str) -> str:
    """Return the signed message for a row of `PULL` or `BATCH`, with the attributes `names` only."""
    vault = persons.unlock_row(desk.keyring, row.subject_person, row.keyring_version, row.wrapped_root, row.commitment)
    profile = Profile(
        grant_id=row.grant_id, purpose=row.purpose, sequence=row.sequence or 0, complete=True,
        entries=consumer.open_entries(vault, row.entries or {}, names),
    )  # fmt: skip
    news = News(sequence=row.sequence, profile=profile)
    to = Addressee(client_id=row.client_id, sub=sub, keys=row.keys or {}, groups=row.key_groups)
    return messages.build(desk.signer, issuer=desk.issuer, to=to, jti=jti, now=desk.now, news=news)
