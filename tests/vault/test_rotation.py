"""Signing keys take turns: every token can be verified from the first to the last moment it is looked at."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor, wait
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, KeySet
from sqlalchemy import select

from portal import db
from portal.oauth import id_token, jwks
from portal.sync import rules
from portal.vault import signing
from portal.vault.models import SigningKey
from tests.signing_keys import put_back

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from sqlalchemy.orm import Session

    from portal.config import Settings
    from portal.vault.keyring import Keyring

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


class Verifier:
    """A client that keeps the published keys as long as it may (RFC 9111), and never asks in between."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._read_at: datetime | None = None
        self._keys = KeySet([])

    def verify(self, token: str, now: datetime) -> None:
        if self._read_at is None or now - self._read_at >= timedelta(seconds=jwks.MAX_AGE):
            self._read_at = now
            self._keys = KeySet([ECKey.import_key(key) for key in signing.public_jwks(self._session)["keys"]])
        jws.deserialize_compact(token, self._keys, algorithms=["ES256"])


@pytest.fixture
def own_keys(settings: Settings) -> Iterator[Settings]:
    with put_back(settings):
        yield settings


def sign(session: Session, keys: Keyring, now: datetime) -> str:
    return signing.current(session, keyring=keys, now=now).sign({"at": now.isoformat()}, typ="JWT")


def kid_of(token: str) -> Any:  # noqa: ANN401 - whatever a header holds
    return jws.extract_compact(token.encode()).headers()["kid"]


def test_a_verifier_that_keeps_keys_verifies_all_along(session: Session, keys: Keyring) -> None:
    begun = db.now()
    verifiers = [Verifier(session) for _ in range(2)]
    verifiers[0].verify(sign(session, keys, begun), begun)
    signing.rotate(session, keyring=keys, now=begun)
    session.flush()
    seen, lasting = set(), []
    for minutes in range(0, 150, 2):
        now = begun + minutes * MINUTE
        token = sign(session, keys, now)
        seen.add(kid_of(token))
        lasting.append((token, now))
        verifiers[0].verify(token, now)
        verifiers[1].verify(lasting[max(0, len(lasting) - 6)][0], now)
        signing.renew(session, keyring=keys, now=now)
    assert len(seen) == 2
    week = begun + 8 * DAY
    signing.renew(session, keyring=keys, now=week)
    for token, _ in lasting:
        Verifier(session).verify(token, week)


def test_the_old_key_signs_until_the_hour_is_over(session: Session, keys: Keyring) -> None:
    now = db.now()
    old = signing.current(session, keyring=keys, now=now).kid
    new = signing.rotate(session, keyring=keys, now=now)
    session.flush()
    assert signing.current(session, keyring=keys, now=now).kid == old
    assert signing.current(session, keyring=keys, now=now + HOUR - timedelta(microseconds=1)).kid == old
    assert signing.current(session, keyring=keys, now=now + HOUR).kid == new.kid
    # Who passes no time gets what signs by the database's own clock.
    assert signing.current(session, keyring=keys).kid == old


def test_both_are_published_from_the_start(session: Session, keys: Keyring) -> None:
    before = {key["kid"] for key in signing.public_jwks(session)["keys"]}
    new = signing.rotate(session, keyring=keys, now=db.now())
    session.flush()
    after = [key["kid"] for key in signing.public_jwks(session)["keys"]]
    assert set(after) == before | {new.kid}
    assert len(after) == len(set(after))


def test_one_rotation_at_a_time(session: Session, keys: Keyring) -> None:
    now = db.now()
    signing.rotate(session, keyring=keys, now=now)
    session.flush()
    with pytest.raises(signing.RotationUnderWayError):
        signing.rotate(session, keyring=keys, now=now + HOUR - MINUTE)
    signing.rotate(session, keyring=keys, now=now + HOUR)


def test_of_two_at_once_one_rotates(own_keys: Settings, keys: Keyring) -> None:
    def turn() -> None:
        with db.transaction(own_keys.database_url) as session:
            signing.rotate(session, keyring=keys, now=db.now())

    with ThreadPoolExecutor(1) as pool:
        with db.transaction(own_keys.database_url) as session:
            signing.rotate(session, keyring=keys, now=db.now())
            session.flush()
            second = pool.submit(turn)
            # It waits for the first one's end, whichever that is.
            assert not wait([second], timeout=0.5).done
        with pytest.raises(signing.RotationUnderWayError):
            second.result()


def test_the_private_part_goes_first_and_the_key_later(session: Session, keys: Keyring) -> None:
    now = db.now()
    old = signing.current(session, keyring=keys, now=now).kid
    signing.rotate(session, keyring=keys, now=now)
    stops = now + signing.LEAD
    for moment, private, published in (
        (stops + MINUTE, True, True),
        (stops + signing.LEAD, False, True),
        (stops + signing.KEPT - MINUTE, False, True),
        (stops + signing.KEPT, False, False),
    ):
        signing.renew(session, keyring=keys, now=moment)
        session.expire_all()
        row = session.get(SigningKey, old)
        assert (row is not None) is published
        assert bool(row and row.wrapped_private) is private


def test_it_turns_by_itself(session: Session, keys: Keyring) -> None:
    first = session.scalars(select(SigningKey)).one()
    due = first.signs_from + signing.TURN
    signing.renew(session, keyring=keys, now=due - MINUTE)
    assert len(signing.keys(session)) == 1
    for _ in range(2):
        signing.renew(session, keyring=keys, now=due)
        session.flush()
        assert len(signing.keys(session)) == 2
    assert signing.keys(session)[0].signs_from == due + signing.LEAD


def test_a_compromised_key_is_gone_at_once(session: Session, keys: Keyring) -> None:
    now = db.now()
    stale = sign(session, keys, now)
    signing.rotate(session, keyring=keys, now=now)
    session.flush()
    new = signing.replace(session, keyring=keys, now=now)
    session.flush()
    assert [key.kid for key in signing.keys(session)] == [new.kid]
    assert kid_of(sign(session, keys, now)) == new.kid
    with pytest.raises((JoseError, ValueError)):
        Verifier(session).verify(stale, now)


def test_the_figures_fit_each_other() -> None:
    # A verifier must have read the new key before it signs, and find the old one as long as anything it signed lives.
    assert timedelta(seconds=jwks.MAX_AGE) * 2 <= signing.LEAD
    assert max(7 * DAY, id_token.LIFE, rules.RESULT_KEPT) <= signing.KEPT
    assert signing.LEAD + signing.KEPT < signing.TURN
