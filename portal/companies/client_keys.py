"""The keys a client has: adding, replacing, retiring and stopping them.

A key that goes from a client's set while its successor may not be used yet stays in use until then, so that no
delivery is lost or sealed to a key too early; whoever knows a key to be in other hands stops it, and waits.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from sqlalchemy import select

from portal import events
from portal.companies import key_states, letters
from portal.companies import keys as keysets
from portal.companies.keys import ENCRYPTION, SIGNING
from portal.companies.models import Client, ClientKey, Purpose
from portal.errors import InvalidError, NotFoundError, RefusedError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence
    from datetime import datetime

    from sqlalchemy.orm import Session

    from portal.companies.keys import PublicKey

_DAY = timedelta(days=1)


class KeyTakenError(InvalidError):
    code = "key-taken"
    public = "This app has, or had, a key with this kid. Give the new key another one."


class SameKeyError(KeyTakenError):
    """The kid is new and the numbers are not."""

    public = "This app has, or had, this very key under another kid. Make a new key."


class OtherGroupError(KeyTakenError):
    """A key stays with the department it came for, or a hold could be walked round."""

    public = "A key stays with the department it was added for. Make a new key for the other one."


class TooManyKeysError(InvalidError):
    code = "too-many-keys"
    public = f"An app has at most {keysets.KEYS} keys, and as many new ones a day. Retire those you need no more."


class LastKeyError(RefusedError):
    code = "last-key"
    status = 409
    public = "This is the last key of its kind. Add the new key first, then retire this one."


class SuccessorNotReadyError(RefusedError):
    code = "successor-not-ready"
    status = 409
    public = "No other key can take its place yet. Wait until the new one is in use, or stop this one if it is stolen."


class KeysElsewhereError(RefusedError):
    code = "keys-elsewhere"
    status = 409
    public = "The keys of this app are read from its jwks_uri. Change them there."


def lock_client(session: Session, client_id: str) -> Client:
    """Return a client, held until the transaction ends; raise `NotFoundError`.

    Two keys retired at once could leave none: whoever changes a client waits for the other.
    """
    mine = select(Client).where(Client.client_id == client_id)
    locked = session.scalars(mine.with_for_update().execution_options(populate_existing=True)).one_or_none()
    if locked is None:
        raise NotFoundError
    return locked


def keep(session: Session, client_id: str) -> None:
    """Keep a client's keys as they are until the transaction ends: whoever stops one waits until then."""
    session.execute(select(Client.client_id).where(Client.client_id == client_id).with_for_update(read=True))


def held(session: Session, client_id: str) -> list[ClientKey]:
    """Return every key a client has or had, as the database has them at this moment."""
    theirs = select(ClientKey).where(ClientKey.client_id == client_id)
    return list(session.scalars(theirs.execution_options(populate_existing=True)))


def begin(session: Session, *, client_id: str, keys: Iterable[PublicKey], now: datetime) -> None:
    """Give a client that has none its first keys; nothing is sealed to them before they are proved."""
    session.add_all(_row(key, client_id=client_id, now=now) for key in keys)
    session.flush()


def add(session: Session, *, client_id: str, jwks: object, now: datetime, group: str = "") -> list[str]:
    """Add public keys beside those the client has, and return the kids that are new.

    Encryption keys that name no department are of `group`.  A key that is there already is passed over.  Afterwards
    there must be one to sign and one to encrypt.  Raises `keys.KeySetError`, `KeyTakenError`, `TooManyKeysError` and
    `KeysElsewhereError`.
    """
    client = _lock_own_keys(session, client_id)
    department = keysets.group_name(group, pointer="/group")
    found = [key.of_group(department) for key in keysets.check(jwks)]
    rows = held(session, client_id)
    live = {(row.kid, row.thumbprint) for row in rows if row.retired_at is None}
    _refuse_other_group(found, rows)
    fresh = [key for key in found if (key.kid, key.thumbprint) not in live]
    _refuse_known(fresh, rows)
    keysets.complete({_kind(row) for row in rows if row.retired_at is None} | {(key.use, key.group) for key in fresh})
    _keep(session, client, rows, fresh, now=now)
    return [key.kid for key in fresh]


def replace(session: Session, *, client_id: str, keys: Collection[PublicKey], now: datetime) -> None:
    """Make `keys` those of a client: new ones are added, those that are gone retired.

    A key that was there before comes back, for of an address that is read again and again two copies may differ
    for a while; one that staff stopped does not.  Raises `keys.KeySetError` when one to sign or one to encrypt is
    missing, `KeyTakenError` and `TooManyKeysError`.
    """
    client = lock_client(session, client_id)
    rows = held(session, client_id)
    stopped = {(row.kid, row.thumbprint) for row in rows if row.stopped_at is not None}
    wanted = {(key.kid, key.thumbprint): key for key in keys if (key.kid, key.thumbprint) not in stopped}
    keysets.complete({(key.use, key.group) for key in wanted.values()})
    _refuse_other_group(wanted.values(), rows)
    known = {(row.kid, row.thumbprint): row for row in rows}
    fresh = [key for name, key in wanted.items() if name not in known]
    _refuse_known(fresh, rows)
    anew = [known[name].kid for name in wanted if name in known and _bring_back(known[name], now)]
    gone = [row for name, row in known.items() if name not in wanted and row.retired_at is None]
    _take_out(gone, [row for name, row in known.items() if name in wanted], fresh, now)
    _keep(session, client, rows, fresh, now=now, anew=anew)


def retire(session: Session, *, client_id: str, kid: str, now: datetime) -> None:
    """Stop using a key whose place another has taken.

    Raises `LastKeyError`, `SuccessorNotReadyError`, `KeysElsewhereError` and `NotFoundError`.
    """
    _lock_own_keys(session, client_id)
    live = [row for row in held(session, client_id) if row.retired_at is None]
    found = _named(live, kid)
    alike = [row for row in live if _kind(row) == _kind(found) and row is not found]
    if not alike and (not found.key_group or _is_named(session, client_id, found.key_group)):
        raise LastKeyError
    if alike and key_states.may_be_sealed_to(found, now) and not any(
        key_states.may_be_sealed_to(row, now) for row in alike
    ):  # fmt: skip
        raise SuccessorNotReadyError
    found.retired_at, found.leaving_at = now, None
    session.flush()


def stop(session: Session, *, client_id: str, kid: str, now: datetime) -> None:
    """Stop using a key at once and for good, whatever is left without it: it is in other hands, or nobody's of ours.

    What is owed waits until another key may be used.  Raises `NotFoundError`.
    """
    client = lock_client(session, client_id)
    found = _named(held(session, client_id), kid)
    found.retired_at, found.stopped_at, found.leaving_at = found.retired_at or now, found.stopped_at or now, None
    if found.use == ENCRYPTION:
        client.keys_stopped_at = now
    session.flush()
    if found.use == ENCRYPTION:
        events.announce(session, events.EncryptionKeyStopped(client_id=client_id, kid=kid, at=now))


def was_usable(rows: Iterable[ClientKey]) -> bool:
    """Say whether anything may have been sealed to one of these keys."""
    return any(row.use == ENCRYPTION and (row.announced_at or row.proved_at) for row in rows)


def _keep(
    session: Session,
    client: Client,
    rows: Sequence[ClientKey],
    fresh: Sequence[PublicKey],
    *,
    now: datetime,
    anew: Sequence[str] = (),
) -> None:
    _refuse_too_many(rows, fresh, now)
    session.add_all(_row(key, client_id=client.client_id, now=now) for key in fresh)
    session.flush()
    signing = [key.kid for key in fresh if key.use == SIGNING]
    if signing and any(row.use == SIGNING for row in rows):
        letters.of_keys(session, client, letters.SIGNING_ADDED, kids=signing, at=now, now=now)
    sealed_to = [*(key.kid for key in fresh if key.use == ENCRYPTION), *anew]
    if sealed_to and was_usable(rows):
        letters.of_keys(session, client, letters.ADDED, kids=sealed_to, at=now, now=now)


def _row(key: PublicKey, *, client_id: str, now: datetime) -> ClientKey:
    return ClientKey(
        client_id=client_id, kid=key.kid, use=key.use, jwk=key.jwk, thumbprint=key.thumbprint, key_group=key.group,
        added_at=now,
    )  # fmt: skip


def _bring_back(row: ClientKey, now: datetime) -> bool:
    """Put a key back that stands in the set again; say whether it has to be proved anew.

    While it was away a hold stood still: it is over when the key has been there for all of it.
    """
    row.leaving_at = None
    if row.retired_at is None:
        return False
    left, row.retired_at = row.retired_at, None
    if row.use != ENCRYPTION:
        return False
    if now - left >= key_states.AWAY:
        row.proved_at = row.active_from = row.challenge_hash = None
        return True
    if row.active_from is not None and row.active_from > left:
        row.active_from += now - left
    return False


def _take_out(
    gone: Iterable[ClientKey], staying: Collection[ClientKey], fresh: Collection[PublicKey], now: datetime
) -> None:
    """Retire keys that are in the set no more, but for one that is in use while what replaces it may not be."""
    gone = list(gone)
    current = key_states.in_use([*gone, *staying], now)
    successors = {key.group for key in fresh if key.use == ENCRYPTION}
    successors |= {row.key_group for row in staying if row.use == ENCRYPTION}
    for row in gone:
        group = row.key_group
        ready = any(row.key_group == group and key_states.may_be_sealed_to(row, now) for row in staying)
        if row is current.get(group) and group in successors and not ready:
            row.leaving_at = row.leaving_at or now
        else:
            row.retired_at, row.leaving_at = now, None


def _lock_own_keys(session: Session, client_id: str) -> Client:
    client = lock_client(session, client_id)
    if "jwks_uri" in client.settings:
        raise KeysElsewhereError
    return client


def _kind(row: ClientKey) -> tuple[str, str]:
    return row.use, row.key_group


def _named(rows: Iterable[ClientKey], kid: str) -> ClientKey:
    found = next((row for row in rows if row.kid == kid), None)
    if found is None:
        raise NotFoundError
    return found


def _is_named(session: Session, client_id: str, group: str) -> bool:
    theirs = select(Purpose.key_groups).where(Purpose.client_id == client_id, Purpose.withdrawn_at.is_(None))
    return any(group in groups.values() for groups in session.scalars(theirs))


def _refuse_known(fresh: Iterable[PublicKey], rows: Iterable[ClientKey]) -> None:
    rows = list(rows)
    kids, thumbprints = {row.kid for row in rows}, {row.thumbprint for row in rows}
    for key in fresh:
        if key.kid in kids:
            raise KeyTakenError(pointer="/jwks/keys")
        if key.thumbprint in thumbprints:
            raise SameKeyError(pointer="/jwks/keys")


def _refuse_other_group(keys: Iterable[PublicKey], rows: Iterable[ClientKey]) -> None:
    groups = {(row.kid, row.thumbprint): row.key_group for row in rows}
    if any(groups.get((key.kid, key.thumbprint), key.group) != key.group for key in keys):
        raise OtherGroupError(pointer="/jwks/keys")


def _refuse_too_many(rows: Iterable[ClientKey], fresh: Sequence[PublicKey], now: datetime) -> None:
    if not fresh:
        return
    rows = list(rows)
    live = sum(row.retired_at is None for row in rows) + len(fresh)
    today = sum(row.use == ENCRYPTION and row.added_at > now - _DAY for row in rows)
    if live > keysets.KEYS or today + sum(key.use == ENCRYPTION for key in fresh) > keysets.KEYS:
        raise TooManyKeysError(pointer="/jwks/keys")
