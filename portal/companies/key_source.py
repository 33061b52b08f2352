"""Keys at a client's own address (`jwks_uri`, RFC 7591 section 2): read through the guarded client, kept as rows.

No transaction is open while a stranger's server takes its time.  What cannot be read changes nothing: the keys
that are there stay, so that a server that is down for an hour stops nobody.
"""

from __future__ import annotations

import logging
import threading
import time
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from sqlalchemy import func, or_, select, update

from portal import config, db
from portal.companies import client_keys, clients, keys
from portal.companies.models import Client
from portal.egress import client as outbound
from portal.egress import guard
from portal.errors import PortalError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy.orm import Session

    from portal.egress.client import Answer

log = logging.getLogger(__name__)

FETCH_KEYS: Final = "portal.companies.jobs.fetch_keys"
# A client that names an unknown key is believed once a minute; whoever does not know it can cause no more.
AGAIN: Final = timedelta(minutes=1)
STALE: Final = timedelta(minutes=20)
_SECONDS = 5.0
_ACCEPT = "application/jwk-set+json, application/json"
_OK = 200
_DUE_AT_ONCE = 100
# It may wait five seconds for a stranger's server; of a process's few threads one may do so at a time.
_FETCHING = threading.BoundedSemaphore(1)
# Nor may one company have that turn for ever: it takes a sixth of the time at most, and ten seconds of it at once.
_REST = 6.0
_DEBT_SECONDS = 30.0
_rests: dict[UUID, float] = {}
_ADDRESS = Client.settings["jwks_uri"].as_string()


class KeysUnreadableError(keys.KeySetError):
    """There is no key set at the address, or none that can be used."""


class BusyFetchingError(PortalError):
    """Nothing was read; it may be after `wait` seconds."""

    code = "busy"
    status = 503
    wait = 5
    public = "Other key sets are being read at this moment. Try again in a few seconds."


class TookLongError(BusyFetchingError):
    """Whoever names servers that hang, one after the other, would keep others from having theirs read."""

    wait = 30
    public = "Your key sets took long to read. Try again in half a minute."


def fetch(address: str, *, company_id: UUID) -> list[keys.PublicKey]:
    """Return the usable keys at a company's `address` within five seconds; no transaction may be open meanwhile.

    Raises `KeysUnreadableError`, `keys.KeySetError` or `BusyFetchingError`.
    """
    with _turn(company_id):
        return _fetched(address)


def refresh(*, client_id: str, now: datetime, within: timedelta = AGAIN) -> bool:
    """Read a client's keys anew, unless that was tried `within` the last minute; say whether there are any new ones.

    It opens transactions of its own, so the caller has none open.  What goes wrong is written to the log only.
    """
    url = config.current().database_url
    with db.transaction(url) as session:
        company_id = session.scalar(select(Client.company_id).where(Client.client_id == client_id))
    if company_id is None:
        return False
    try:
        with _turn(company_id):
            with db.transaction(url) as session:
                address = _claim(session, client_id, now, within)
            found = _fetched(address) if address else []
        with db.transaction(url) as session:
            return bool(address) and _take(session, client_id, address, found, now)
    except PortalError as error:
        log.info("keys of %s not read: %s (%s)", client_id, error.public, error.private)
        return False


def due(session: Session, *, now: datetime) -> list[str]:
    """Return the ids of clients whose keys were last read more than 20 minutes ago: by turns, the oldest first."""
    stale = or_(Client.keys_fetched_at.is_(None), Client.keys_fetched_at <= now - STALE)
    age = Client.keys_fetched_at.nulls_first()
    turn = func.row_number().over(partition_by=Client.company_id, order_by=age)
    waiting = select(Client.client_id).where(_ADDRESS.is_not(None), Client.state == clients.ACTIVE, stale)
    return list(session.scalars(waiting.order_by(turn, age).limit(_DUE_AT_ONCE)))


@contextmanager
def _turn(company_id: UUID) -> Iterator[None]:
    if not _FETCHING.acquire(blocking=False):
        raise BusyFetchingError
    began = time.monotonic()
    try:
        if _rests.get(company_id, 0.0) > began + _DEBT_SECONDS:
            raise TookLongError
        try:
            yield
        finally:
            _rest(company_id, began)
    finally:
        _FETCHING.release()


def _rest(company_id: UUID, began: float) -> None:
    now = time.monotonic()
    for over in [each for each, until in _rests.items() if until <= now]:
        del _rests[over]
    _rests[company_id] = max(_rests.get(company_id, began), began) + _REST * (now - began)


def _fetched(address: str) -> list[keys.PublicKey]:
    try:
        answer = outbound.shared(config.current().egress_allow).get(address, accept=_ACCEPT, seconds=_SECONDS)
    except (outbound.NoAnswerError, guard.UnsafeAddressError) as error:
        raise KeysUnreadableError(f"The jwks_uri could not be read. {error.public}", private=error.private,
                                  pointer="/jwks_uri") from error  # fmt: skip
    found = keys.usable(keys.read(_text(answer)))
    keys.complete({(key.use, key.group) for key in found})
    return found


def _text(answer: Answer) -> str:
    if answer.status != _OK:
        sentence = f"The jwks_uri could not be read. It answered {answer.status} where 200 was expected."
        raise KeysUnreadableError(sentence, pointer="/jwks_uri")
    try:
        return answer.body.decode()
    except UnicodeDecodeError:
        raise KeysUnreadableError("What is at the jwks_uri is not JSON in UTF-8.", pointer="/jwks_uri") from None


def _claim(session: Session, client_id: str, now: datetime, within: timedelta) -> str | None:
    mine = or_(Client.keys_fetched_at.is_(None), Client.keys_fetched_at <= now - within)
    which = (Client.client_id == client_id, Client.state == clients.ACTIVE, _ADDRESS.is_not(None), mine)
    claimed = update(Client).where(*which).values(keys_fetched_at=now).returning(_ADDRESS)
    address: str | None = session.scalar(claimed.execution_options(synchronize_session=False))
    return address


def _take(session: Session, client_id: str, address: str | None, found: list[keys.PublicKey], now: datetime) -> bool:
    # While they were read somebody may have named another address, or pasted keys.
    if client_keys.lock_client(session, client_id).settings.get("jwks_uri") != address:
        return False
    client_keys.replace(session, client_id=client_id, keys=found, now=now)
    return True
