"""Answering a pull of one person: the policy decides, the ledger knows, then bytes leave."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn

from portal import db, faults
from portal.consent import rules as consent
from portal.consent.rules import Channel, Decision, Proved, Refusal
from portal.consumer import queries as consumer
from portal.db import new_id
from portal.errors import NotFoundError, PortalError, TooManyError
from portal.ledger import queries as ledger_queries
from portal.ledger import services as ledger
from portal.oauth import ceilings, dpop
from portal.oauth.ceilings import Ceiling, TooOftenError
from portal.oauth.dpop import ProofReplayedError
from portal.oauth.errors import (
    InsufficientAuthenticationError,
    InsufficientScopeError,
    KeyDiffersError,
    TokenExpiredError,
    TokenUnknownError,
)
from portal.oauth.statements import HOLD_GRANT, standing
from portal.sync import messages, pull_statements, validators
from portal.sync.messages import Addressee, News, Profile
from portal.vault import persons, signing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy import Row
    from sqlalchemy.orm import Session
    from werkzeug.datastructures import ETags

    from portal.config import Settings
    from portal.oauth.protection import Credentials
    from portal.vault.keyring import Keyring
    from portal.vault.signing import Signer

SCOPE = "people:read"
_ONCE = "once"
_UNCHANGED = "unchanged"
_WORDS = {
    Refusal.NO_CONSENT: "This person does not share details with you.",
    Refusal.REFUSED: "This person declined to share details with you.",
    Refusal.PAUSED: "This person has paused sharing with you.",
    Refusal.FROZEN: "This person has frozen all their sharing for now.",
    Refusal.WITHDRAWN: "This person has stopped sharing with you.",
    Refusal.ENDED: "You ended this sharing yourself.",
    Refusal.EXPIRED: "The time this person agreed to has run out.",
    Refusal.INVALIDATED: "This sharing was declared void: it should not have begun.",
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


class TooFastError(TooManyError):
    """One client calls the API more often than a minute allows (RFC 6585 section 4)."""

    public = "This client sends too many requests. Wait as many seconds as Retry-After says."


@dataclass(frozen=True, kw_only=True)
class Desk:
    """What every answer is made with: the keys that open and sign, the issuer's name, the moment."""

    keyring: Keyring
    signer: Signer
    issuer: str
    now: datetime


@dataclass(frozen=True, kw_only=True)
class Question:
    """Who asks about whom, for which attributes, and when; `held` is of the answers that the company has already."""

    credentials: Credentials
    sub: str
    requested: Sequence[str] | None
    held: ETags | None
    now: datetime


@dataclass(frozen=True, kw_only=True)
class Answer:
    """The signed message, None where the company's copy is current (RFC 9110 section 15.4.5), and its headers."""

    message: str | None = field(repr=False)
    headers: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class _Log:
    """The row that a question leaves, as parameters of `PULL_LOG`; `names` are of the details that may be told."""

    row: Row[Any]
    question: Question
    names: Sequence[str]
    refusal: Refusal | None
    validator: str
    ceiling: Ceiling
    sealed_to: Sequence[str]
    disclosure_id: UUID = field(default_factory=new_id)

    @property
    def unchanged(self) -> bool:
        return self.ceiling.kind == ceilings.CHECK

    @property
    def asked(self) -> list[str]:
        return asked(self.row, self.question.requested)

    def parameters(self) -> dict[str, Any]:
        row, now, proof = self.row, self.question.now, self.question.credentials.proof
        outcome, reason = ("suppressed", _UNCHANGED) if self.unchanged else ("completed", None)
        given = {} if self.unchanged else {name: row.entries[name]["version"] for name in self.names}
        return {
            "proof_hash": proof.proof_hash, "proof_expires_at": proof.expires_at,
            "person_id": row.person_id, "grant_id": row.grant_id, "context_id": row.context_id,
            "grant_version": row.grant_version, "at": now, "disclosure_id": self.disclosure_id,
            "outcome": outcome, "reason": reason,
            "asked": json.dumps(self.asked), "given": json.dumps(given),
            "message_id": self.disclosure_id.hex, "sealed_to": json.dumps([] if self.unchanged else self.sealed_to),
            **self.ceiling.parameters(now),
        }  # fmt: skip


def pull(settings: Settings, question: Question, *, keyring: Keyring, pace: Callable[[str], int]) -> Answer:
    """Answer a question: one statement reads, one counts, logs and commits, and then the message is made.

    A refusal, which gives nothing, is logged in a transaction of its own.

    `pace` counts a call of a client and returns the seconds it must wait.  Raises an `OAuthError` for a bad token or
    proof, or a person's token that does not reach a sensitive detail, `NotFoundError` for a subject that is not this
    company's, `NotSharedError` with the policy's reason, `TooFastError`, and `TooOftenError` after one look too many.
    """
    credentials = question.credentials
    key = dpop.one_time_key(credentials.proof)
    found = pull_statements.PULL.one(settings.database_url, {"token_hash": credentials.token_hash, "sub": question.sub})
    row = _admitted(found, credentials, question.now)
    if wait := pace(row.token_client):
        raise TooFastError(wait)
    if row.grant_id is None:
        _turn_away(settings.database_url, row, question)
    case = _Case(row=row, question=question, settings=settings, keyring=keyring, to=addressee(row, question.sub, key))
    log, used = _logged(case)
    faults.reach("pull.logged")
    return _answer(case, log, used)


@dataclass(frozen=True, kw_only=True)
class _Case:
    """A question, what was found about it, and what it is answered with."""

    row: Row[Any]
    question: Question
    settings: Settings
    keyring: Keyring
    to: Addressee


def addressee(row: Row[Any], sub: str, key: Mapping[str, Any] | None) -> Addressee:
    """Return whom the answer for a row of `PULL` or `BATCH` is for; `key` is the one-time key, where there is one."""
    return Addressee(client_id=row.client_id, sub=sub, keys=row.keys or {}, groups=row.key_groups, one_time=key)


def sealable(to: Addressee, names: Iterable[str]) -> bool:
    """Say whether there is a key for each of these details."""
    return {to.groups.get(name, "") for name in names} <= to.keys.keys()


def _answer(case: _Case, log: _Log, used: int | None) -> Answer:
    now = case.question.now
    if log.refusal is Refusal.NOT_PROVED:
        raise InsufficientAuthenticationError
    if log.refusal:
        raise NotSharedError(log.refusal)
    if used is None:
        raise TooOftenError(log.ceiling, now)
    headers = {"ETag": validators.header(log.validator), **log.ceiling.headers(used, now)}
    if log.unchanged:
        return Answer(message=None, headers=headers)
    row = case.row
    signer = signing.of_row(case.keyring, row.signing_kid, row.signing_version, row.wrapped_private)
    desk = Desk(keyring=case.keyring, signer=signer, issuer=case.settings.issuer, now=now)
    return Answer(message=message(row, log.names, desk, to=case.to, jti=log.disclosure_id.hex), headers=headers)


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


def _logged(case: _Case) -> tuple[_Log, int | None]:
    """Log the question as the policy decides it; return how many looks that makes, None where it is refused."""
    log, done = _counted_once(case) if case.row.mode == _ONCE else _counted(case)
    used = None if done is None else _used(done)
    if used is None:
        with db.transaction(case.settings.database_url) as session:
            _deny(session, log)
    return log, used


def _counted(case: _Case) -> tuple[_Log, Row[Any] | None]:
    row, question = case.row, case.question
    decision = _decision(
        row, requested=question.requested, channel=Channel.PULL, now=question.now, used=False, proved=_proved(row)
    )
    log = _log(case, decision)
    return log, None if log.refusal else pull_statements.PULL_LOG.one(case.settings.database_url, log.parameters())


def _counted_once(case: _Case) -> tuple[_Log, Row[Any] | None]:
    # Of two at the same moment the second waits for the grant, and then finds the first one's row.
    row, question = case.row, case.question
    with db.transaction(case.settings.database_url) as session:
        session.execute(HOLD_GRANT, {"person_id": row.person_id, "grant_id": row.grant_id})
        decision = decide(
            session, row, requested=question.requested, channel=Channel.PULL, now=question.now, proved=_proved(row)
        )
        log = _log(case, decision)
        return log, None if log.refusal else session.execute(pull_statements.PULL_LOG_HELD, log.parameters()).one()


def _deny(session: Session, log: _Log) -> None:
    row, question = log.row, log.question
    if log.refusal:
        # A look that was one too many has used its proof up already.
        dpop.use(session, question.credentials.proof)
    ledger.record(
        session,
        ledger.NewDisclosure(
            person_id=row.person_id, at=question.now, context_id=row.context_id, channel="pull", outcome="denied",
            reason=log.refusal or ceilings.REASON, asked=log.asked, given={}, grant_id=row.grant_id,
            grant_version=row.grant_version, disclosure_id=log.disclosure_id,
        ),
    )  # fmt: skip


def _log(case: _Case, decision: Decision) -> _Log:
    row, names, to = case.row, held(case.row, decision), case.to
    if decision.allowed and not (to.keys and sealable(to, names)):
        raise messages.NoKeyError
    # A one-time key does not count: what the company has of an earlier answer is as good as this would be.
    validator = validators.opaque(case.keyring, row, names, [key["kid"] for key in to.keys.values()])
    current = decision.allowed and validators.unchanged(validator, case.question.held)
    kind = ceilings.CHECK if current else ceilings.PULL
    ceiling = ceilings.of(row.pulls_a_day, case.settings.grant_pulls, kind)
    return _Log(
        row=row,
        question=case.question,
        names=names,
        refusal=decision.refusal,
        validator=validator,
        ceiling=ceiling,
        sealed_to=messages.sealed_to(to, names),
    )


def _used(done: Row[Any]) -> int | None:
    if not done.fresh:
        raise ProofReplayedError
    if not done.unchanged:
        raise ChangedMeanwhileError
    used: int | None = done.used
    return used


def _turn_away(url: str, row: Row[Any], question: Question) -> NoReturn:
    with db.transaction(url) as session:
        dpop.use(session, question.credentials.proof)
        if row.subject_person is not None:
            _log_stranger(session, row, question)
    raise NotFoundError if row.subject_person is None else NotSharedError(Refusal.NO_CONSENT)


def _log_stranger(session: Session, row: Row[Any], question: Question) -> None:
    # The company knows this person by another of its apps, so the person gets to see that it asked.
    context_id = ledger.context(
        session, company_id=row.company_id, client_id=row.token_client, company_name=row.trading_name, purpose=""
    )
    ledger.record(
        session,
        ledger.NewDisclosure(
            person_id=row.subject_person, at=question.now, context_id=context_id, channel="pull", outcome="denied",
            reason=Refusal.NO_CONSENT, asked=sorted(question.requested or ()), given={},
        ),
    )  # fmt: skip


def message(row: Row[Any], names: Iterable[str], desk: Desk, *, to: Addressee, jti: str) -> str:
    """Return the signed message for a row of `PULL` or `BATCH`, with the attributes `names` only."""
    vault = persons.unlock_row(desk.keyring, row.subject_person, row.keyring_version, row.wrapped_root, row.commitment)
    profile = Profile(
        grant_id=row.grant_id, purpose=row.purpose, sequence=row.sequence or 0, complete=True,
        entries=consumer.open_entries(vault, row.entries or {}, names),
    )  # fmt: skip
    news = News(sequence=row.sequence, profile=profile)
    return messages.build(desk.signer, issuer=desk.issuer, to=to, jti=jti, now=desk.now, news=news).token
