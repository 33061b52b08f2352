"""Showing that one holds a key, and what follows: the hold of a new one, and its coming into use.

An encryption key is proved by opening a challenge: a random text sealed to it alone.  The very first key is used at
once, for nothing has been sealed to another; every later one only after a day, which its company is told of at once.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from sqlalchemy import func, or_, select, update

from portal import config, events
from portal.companies import key_states, letters
from portal.companies.client_keys import held, lock_client, was_usable
from portal.companies.clients import ACTIVE
from portal.companies.keys import ENCRYPTION, SIGNING
from portal.companies.models import Client, ClientKey
from portal.companies.services import LIVE
from portal.errors import InvalidError, NotFoundError, RefusedError
from portal.vault import envelope

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sqlalchemy.orm import Session

CHALLENGE_LIFE: Final = timedelta(hours=1)
TRIES: Final = 5


class ChallengeGoneError(RefusedError):
    code = "challenge-gone"
    status = 409
    public = "The challenge is older than an hour, was answered too often, or was never asked for. Ask for a new one."


class ProofWrongError(InvalidError):
    code = "proof-wrong"
    public = "This is not what the newest challenge holds. Open it with this key, and send the text that is in it."


@dataclass(frozen=True, kw_only=True)
class Challenge:
    """A compact JWE to one key; its holder proves the key by the text inside."""

    kid: str
    text: str = field(repr=False)
    expires_at: datetime


def hold_of(environment: str) -> timedelta:
    """Return how long a new key of a live or a test app waits before it is used."""
    return key_states.HOLD if environment == LIVE else timedelta(seconds=config.current().test_key_hold)


def challenge(session: Session, *, client_id: str, kid: str, now: datetime) -> Challenge:
    """Return a new challenge to an encryption key that is not proved yet; the one before is worth nothing any more.

    Only the hash of its answer is kept.  Raises `NotFoundError`.
    """
    made = challenges(session, client_id=client_id, now=now, kid=kid)
    if not made:
        raise NotFoundError
    return made[kid]


def challenges(session: Session, *, client_id: str, now: datetime, kid: str | None = None) -> dict[str, Challenge]:
    """Return such a challenge for each key of a client that is not proved yet, by its kid; of `kid` alone if given."""
    lock_client(session, client_id)
    rows = [row for row in held(session, client_id) if _is_unproved(row) and kid in {None, row.kid}]
    made = {row.kid: _challenge(row, now) for row in rows}
    session.flush()
    return made


def prove(session: Session, *, client_id: str, kid: str, answer: str, now: datetime) -> bool:
    """Say whether `answer` is the text of the newest challenge, and with it that the key is proved.

    False is to be kept: a challenge may be answered five times.  A key that is proved already stays so.
    Raises `ChallengeGoneError` or `NotFoundError`.
    """
    client = lock_client(session, client_id)
    rows = held(session, client_id)
    row = _encryption_key(rows, kid)
    if row.proved_at is not None:
        return True
    wanted, expires_at = row.challenge_hash, row.challenge_expires_at
    if wanted is None or expires_at is None or expires_at <= now or row.challenge_tries >= TRIES:
        raise ChallengeGoneError
    row.challenge_tries += 1
    same = hmac.compare_digest(_hash(answer), wanted)
    if same:
        first = _is_first(row, rows)
        row.challenge_hash, row.proved_at = None, now
        _begin(session, client, row, rows, first=first, now=now)
    session.flush()
    return same


def signed(session: Session, *, client_id: str, kid: str, now: datetime) -> None:
    """Note that a key of a client made a signature that was taken, if it is the first."""
    mine = update(ClientKey).where(
        ClientKey.client_id == client_id, ClientKey.kid == kid, ClientKey.use == SIGNING, ClientKey.proved_at.is_(None)
    )
    session.execute(mine.values(proved_at=now).execution_options(synchronize_session=False))


def announce_due(session: Session, *, now: datetime) -> int:
    """Tell whoever has to know of keys whose hold is over, each once; return how many there were."""
    over = (
        select(ClientKey.client_id)
        .join(Client, Client.client_id == ClientKey.client_id)
        .where(
            Client.state == ACTIVE,
            ClientKey.use == ENCRYPTION,
            ClientKey.retired_at.is_(None),
            ClientKey.proved_at.is_not(None),
            ClientKey.active_from <= func.clock_timestamp(),
            or_(ClientKey.announced_at.is_(None), ClientKey.announced_at < ClientKey.active_from),
        )
    )
    return sum(_announce(session, client_id, now) for client_id in sorted(set(session.scalars(over))))


def _announce(session: Session, client_id: str, now: datetime) -> int:
    client = lock_client(session, client_id)
    rows = held(session, client_id)
    ready = [row for row in rows if key_states.may_be_sealed_to(row, now) and _is_news(row)]
    for row in sorted(ready, key=lambda row: (row.active_from, row.kid)):
        _come_into_use(session, client, row, rows, now)
        letters.of_keys(session, client, letters.IN_USE, kids=[row.kid], at=now, now=now)
    return len(ready)


def _is_news(row: ClientKey) -> bool:
    return row.announced_at is None or (row.active_from is not None and row.announced_at < row.active_from)


def _begin(
    session: Session, client: Client, row: ClientKey, rows: Sequence[ClientKey], *, first: bool, now: datetime
) -> None:
    if first:
        row.active_from = now
        _come_into_use(session, client, row, rows, now)
        return
    row.active_from = now + hold_of(client.environment)
    session.flush()
    letters.of_keys(session, client, letters.HELD, kids=[row.kid], at=row.active_from, now=now)


def _is_first(row: ClientKey, rows: Sequence[ClientKey]) -> bool:
    """Say whether nothing that is sealed to this key would have been sealed to another's before.

    Departments whose keys came with the client's first, in one set, need not wait for each other.
    """
    if not was_usable(rows):
        return True
    together = {each.added_at for each in rows if each.use == ENCRYPTION and each.announced_at is not None}
    own = [each for each in rows if each.key_group == row.key_group]
    return together == {row.added_at} and not was_usable(own)


def _come_into_use(session: Session, client: Client, row: ClientKey, rows: Sequence[ClientKey], now: datetime) -> None:
    others = [each for each in rows if each is not row and each.key_group == row.key_group]
    replaced = [each.kid for each in others if key_states.may_be_sealed_to(each, now)]
    row.announced_at = now
    for each in others:
        if each.leaving_at is not None:
            each.retired_at, each.leaving_at = now, None
    session.flush()
    events.announce(
        session,
        events.EncryptionKeyInUse(
            client_id=client.client_id, kid=row.kid, group=row.key_group, replaced=tuple(sorted(replaced)), at=now
        ),
    )


def _is_unproved(row: ClientKey) -> bool:
    return row.use == ENCRYPTION and row.retired_at is None and row.proved_at is None


def _challenge(row: ClientKey, now: datetime) -> Challenge:
    answer, expires_at = secrets.token_urlsafe(32), now + CHALLENGE_LIFE
    row.challenge_hash, row.challenge_expires_at, row.challenge_tries = _hash(answer), expires_at, 0
    sealed = envelope.seal_whole(answer.encode(), cty="text/plain", kid=row.kid, jwk=row.jwk)
    return Challenge(kid=row.kid, text=sealed, expires_at=expires_at)


def _encryption_key(rows: Sequence[ClientKey], kid: str) -> ClientKey:
    for row in rows:
        if row.kid == kid and row.use == ENCRYPTION and row.retired_at is None:
            return row
    raise NotFoundError


def _hash(answer: str) -> bytes:
    return hashlib.sha256(answer.encode("utf-8", "replace")).digest()
