"""Who a client is, without reading it anew for every request.

One statement asks for a fingerprint of everything that is written about the client: its row, its company's and its
signing keys.  While that is the same, what was read before still holds; so a suspension or a retired key is felt by
the next request, in every process, without anybody being told.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from sqlalchemy import text

from portal import db
from portal.companies import queries as companies
from portal.db import Prepared

if TYPE_CHECKING:
    from collections.abc import Mapping

    from portal.companies.queries import ClientFacts

_SQL = """
    SELECT sha256(convert_to(concat_ws(chr(31), c::text, co::text, keys.written), 'UTF8')) AS fingerprint
      FROM client c
      JOIN company co ON co.company_id = c.company_id
      LEFT JOIN LATERAL (
          SELECT string_agg(k::text, chr(31) ORDER BY k.kid) AS written FROM client_key k
           WHERE k.client_id = c.client_id AND k.use = 'sig' AND k.retired_at IS NULL) keys ON true
     WHERE c.client_id = :client_id
"""
_FINGERPRINT = Prepared("client_fingerprint", _SQL)


class ChangedMeanwhileError(Exception):
    """What is written about the client is no longer what the fingerprint was taken of."""


@dataclass(frozen=True, kw_only=True)
class Known:
    """A client with its live public keys for signatures, newest first; those named in `unused` have made none yet."""

    facts: ClientFacts
    keys: tuple[Mapping[str, Any], ...]
    unused: frozenset[str] = frozenset()


def find(url: str, client_id: str) -> Known | None:
    """Return the client as the database at `url` has it at this moment; None when there is none."""
    while (row := _FINGERPRINT.one(url, {"client_id": client_id})) is not None:
        with suppress(ChangedMeanwhileError):
            return read(url, client_id, row.fingerprint)
    return None


@lru_cache(maxsize=1024)
def read(url: str, client_id: str, fingerprint: bytes) -> Known | None:
    """Return what the fingerprint was taken of; raise `ChangedMeanwhileError`, which is not remembered."""
    with db.transaction(url) as session:
        # One snapshot for both: else what held for a moment in between could be kept under another state's name.
        session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
        if session.scalar(text(_SQL), {"client_id": client_id}) != fingerprint:
            raise ChangedMeanwhileError
        facts = companies.client(session, client_id)
        keys = tuple(companies.keys(session, client_id, "sig"))
        unused = companies.unused_keys(session, client_id)
    return None if facts is None else Known(facts=facts, keys=keys, unused=unused)
