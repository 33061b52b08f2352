"""Userinfo (OpenID Connect Core section 5.3): the claims of the token's scopes that the consent covers, logged.

One statement reads and one logs.  Whoever stops sharing in between is waited for, and the question is decided anew.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from portal import db
from portal.companies.metadata import ClientMetadata
from portal.consent import rules
from portal.consent import services as consent
from portal.consumer import queries as consumer
from portal.consumer.catalogue import CATALOGUE, SENSITIVE, of_scopes
from portal.errors import RefusedError
from portal.ledger import queries as ledger_queries
from portal.ledger import services as ledger
from portal.oauth import ceilings, dpop, encrypted, signed_answer, statements
from portal.oauth.ceilings import TooOftenError
from portal.oauth.dpop import ProofReplayedError
from portal.oauth.errors import (
    InsufficientAuthenticationError,
    InsufficientScopeError,
    InvalidTokenError,
    KeyDiffersError,
    TokenExpiredError,
    TokenUnknownError,
)
from portal.vault import persons

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sqlalchemy import Row
    from sqlalchemy.orm import Session

    from portal.consent.rules import Refusal
    from portal.oauth.encrypted import Recipient
    from portal.oauth.protection import Credentials
    from portal.oauth.signed_answer import SignedAnswer
    from portal.vault.keyring import Keyring

SCOPE: Final = "openid"
MEDIA_TYPE: Final = "application/jwt"
_ONCE: Final = "once"


class NotSharedError(RefusedError):
    """The consent behind the token does not allow it now; `code` is the policy's reason."""

    public = "The person does not share this with you now."

    def __init__(self, refusal: Refusal) -> None:
        self.code = str(refusal)
        super().__init__()


class OwnTokenError(InvalidTokenError):
    """A client's own token stands for no person."""


class ClientNotActiveError(InvalidTokenError):
    pass


@dataclass(frozen=True, kw_only=True)
class Told:
    """What a client is told, `sub` among the claims; `metadata` says how the client wants to read them.

    Who wants it sealed reads it with the key `to`.
    """

    client_id: str
    metadata: ClientMetadata
    to: Recipient | None
    claims: dict[str, Any] = field(repr=False)

    @property
    def plain(self) -> bool:
        """Say whether the client reads plain JSON; what is sealed is always signed first."""
        chosen = self.metadata
        return chosen.userinfo_signed_response_alg is None and chosen.userinfo_encrypted_response_alg is None


@dataclass(frozen=True, kw_only=True)
class _Question:
    """Who asks, proven by what, and when; `most` looks a day are allowed where the consent says no less.

    The answer is sealed `to` a key where its client wants that.
    """

    credentials: Credentials
    most: int
    now: datetime
    to: Recipient | None = None


@dataclass(frozen=True, kw_only=True)
class _Answer:
    """What the policy makes of a row: the details asked for, those shared of them, or why none is."""

    row: Row[Any]
    asked: Sequence[str]
    shared: Sequence[str]
    refusal: Refusal | None
    too_often: bool = False

    @property
    def disclosure(self) -> bool:
        # Who asks for no details and is told none has seen nothing of the person.
        return self.row.grant_id is not None and (bool(self.shared) or self.refusal is not None)

    @property
    def given(self) -> dict[str, int]:
        sealed = self.row.entries or {}
        return {name: sealed[name]["version"] for name in self.shared if name in sealed}


def tell(url: str, *, keyring: Keyring, credentials: Credentials, most: int, now: datetime) -> Told:
    """Return what the token's client is told; in the database at `url`, each disclosed detail is logged by then.

    Raises an `OAuthError` for a bad token or proof, `NotSharedError` with the policy's reason and `TooOftenError`
    (which are in the log as well; `most` is the portal's own ceiling a day), and `EncryptionKeyMissingError` for a
    client that wants to be told in secret and has no key.
    """
    question = _Question(credentials=credentials, most=most, now=now)
    row = _admitted(statements.USERINFO.one(url, {"token_hash": credentials.token_hash}), question)
    metadata = ClientMetadata.of(row.metadata)
    # Before the log says that something left.
    question = replace(question, to=_recipient(url, row, metadata))
    answer = _once(url, row, question) if row.mode == _ONCE else _answered(url, row, question)
    if answer.refusal is rules.Refusal.NOT_PROVED:
        raise InsufficientAuthenticationError
    if answer.refusal is not None:
        raise NotSharedError(answer.refusal)
    claims = {"sub": _sub(url, answer.row), **_claims(keyring, answer)}
    return Told(client_id=row.token_client, metadata=metadata, to=question.to, claims=claims)


def signed(session: Session, told: Told, *, keyring: Keyring, issuer: str) -> SignedAnswer:
    """Return the claims signed, and sealed as well if the client's metadata ask for that (section 5.3.2)."""
    return signed_answer.make(
        session,
        keyring=keyring,
        claims={"iss": issuer, "aud": told.client_id, **told.claims},
        typ="JWT",
        media_type=MEDIA_TYPE,
        to=told.to,
    )


def _admitted(row: Row[Any] | None, question: _Question) -> Row[Any]:
    if row is None:
        raise TokenUnknownError
    if row.token_expires_at <= question.now:
        raise TokenExpiredError
    if row.jkt != question.credentials.proof.jkt:
        raise KeyDiffersError(private="the proof is by another key than the token's")
    if SCOPE not in row.scope.split():
        raise InsufficientScopeError
    if not row.client_active:
        raise ClientNotActiveError
    if row.token_person is None:
        raise OwnTokenError
    return row


def _recipient(url: str, row: Row[Any], metadata: ClientMetadata) -> Recipient | None:
    if metadata.userinfo_encrypted_response_alg is None:
        return None
    with db.transaction(url) as session:
        return encrypted.recipient(session, row.token_client)


def _decided(row: Row[Any], now: datetime, *, used: bool = False) -> _Answer:
    asked = of_scopes(row.scope)
    decision = rules.decide(
        statements.standing(row, used=used),
        client_id=row.token_client,
        channel=rules.Channel.USERINFO,
        requested=None,
        now=now,
        # A token whose scopes name no sensitive detail is told none, however much is shared.
        proved=None if SENSITIVE.isdisjoint(asked) else rules.Proved(row.level, row.authenticated_at),
    )
    shared = [name for name in asked if name in decision.attributes and CATALOGUE[name].claim]
    return _Answer(row=row, asked=asked, shared=shared, refusal=decision.refusal)


def _answered(url: str, row: Row[Any], question: _Question) -> _Answer:
    answer = _decided(row, question.now)
    proof = question.credentials.proof
    spent = {"proof_hash": proof.proof_hash, "proof_expires_at": proof.expires_at}
    if not answer.disclosure:
        _check_fresh(statements.USE_PROOF.one(url, spent))
        return answer
    if answer.refusal is not None:
        with db.transaction(url) as session:
            dpop.use(session, proof)
            ledger.record(session, _row(answer, question))
        return answer
    counted = ceilings.of(row.pulls_a_day, question.most).parameters(question.now)
    done = statements.USERINFO_LOG.one(url, spent | counted | _logged(answer, question))
    _check_fresh(done)
    if not done.unchanged:
        return _anew(url, row, question)
    if done.used is None:
        answer = replace(answer, too_often=True)
        with db.transaction(url) as session:
            ledger.record(session, _row(answer, question))
    return _in_time(answer, question)


def _check_fresh(done: Row[Any]) -> None:
    if not done.fresh:
        raise ProofReplayedError


def _once(url: str, row: Row[Any], question: _Question) -> _Answer:
    # Of two at the same moment the second waits for the grant, and then finds the first one's row in the log.
    with db.transaction(url) as session:
        _hold(session, row)
        dpop.use(session, question.credentials.proof)
        answer = _recorded(session, question)
    return _in_time(answer, question)


def _anew(url: str, row: Row[Any], question: _Question) -> _Answer:
    # The consent changed between reading and logging: what holds now decides.
    with db.transaction(url) as session:
        _hold(session, row)
        answer = _recorded(session, question)
    return _in_time(answer, question)


def _in_time(answer: _Answer, question: _Question) -> _Answer:
    if answer.too_often:
        raise TooOftenError(ceilings.of(answer.row.pulls_a_day, question.most), question.now)
    return answer


def _hold(session: Session, row: Row[Any]) -> None:
    session.execute(statements.HOLD_GRANT, {"person_id": row.person_id, "grant_id": row.grant_id})


def _recorded(session: Session, question: _Question) -> _Answer:
    again = session.execute(statements.USERINFO_HELD, {"token_hash": question.credentials.token_hash})
    row = _admitted(again.one_or_none(), question)
    used = row.mode == _ONCE and ledger_queries.was_used(session, person_id=row.person_id, grant_id=row.grant_id)
    answer = _decided(row, question.now, used=used)
    if answer.disclosure and answer.refusal is None:
        counted = ceilings.count(session, [row], most=question.most, now=question.now)
        answer = replace(answer, too_often=row.grant_id not in counted)
    if answer.disclosure:
        ledger.record(session, _row(answer, question))
    return answer


def _row(answer: _Answer, question: _Question) -> ledger.NewDisclosure:
    row, given = answer.row, {} if answer.too_often else answer.given
    return ledger.NewDisclosure(
        person_id=row.person_id,
        at=question.now,
        context_id=row.context_id,
        channel="userinfo",
        outcome="denied" if answer.refusal or answer.too_often else "completed",
        reason=ceilings.REASON if answer.too_often else answer.refusal,
        asked=answer.asked,
        given=given,
        sealed_to=[question.to.kid] if given and question.to else [],
        grant_id=row.grant_id,
        grant_version=row.grant_version,
    )


def _logged(answer: _Answer, question: _Question) -> dict[str, Any]:
    row = _row(answer, question)
    plain = {name: getattr(row, name) for name in row.__dataclass_fields__}
    return plain | {name: json.dumps(plain[name]) for name in ("asked", "given", "sealed_to")}


def _claims(keyring: Keyring, answer: _Answer) -> dict[str, Any]:
    if not answer.given:
        return {}
    row = answer.row
    vault = persons.unlock_row(keyring, row.person_id, row.keyring_version, row.wrapped_root, row.commitment)
    opened = consumer.open_entries(vault, row.entries, answer.given)
    values = {str(CATALOGUE[name].claim): json.loads(entry.json_text) for name, entry in opened.items()}
    return {claim: value for claim, value in values.items() if value is not None}


def _sub(url: str, row: Row[Any]) -> str:
    if row.sub is not None:
        return str(row.sub)
    with db.transaction(url) as session:
        return consent.subject(session, person_id=row.token_person, company_id=row.company_id)
