"""Hashing consents again, from their rows: what the policy reads is what was agreed to last, in the order it was.

A consent's own row has no signature, and neither has the order in which somebody reads its versions.  Each version's
hash covers it and the one before, and stands in the log: so whoever changes any of the three has to change them all,
and the log's tree shows that.
"""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from sqlalchemy import select, text, tuple_

from portal.consent import chain, versions
from portal.consent.models import Grant, GrantVersion
from portal.ledger.rehash import Part, Wrong

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from sqlalchemy.orm import Session

# What may be found, beside the id of the grant that it is about.
DIFFERS: Final = "consent-differs"
CHANGED: Final = "step-changed"
UNLOGGED: Final = "step-not-logged"
_NOBODY: Final = UUID(int=0)
_AT_ONCE: Final = 1000
_KEY: Final = tuple_(Grant.person_id, Grant.grant_id)
# Steps from before steps were signed are in the log without their hashes; none of them follows a signed one.
_UNLOGGED: Final = text("""
    SELECT DISTINCT v.grant_id FROM grant_version v
      JOIN unnest(CAST(:person_ids AS uuid[]), CAST(:grant_ids AS uuid[])) AS g(person_id, grant_id)
        ON g.person_id = v.person_id AND g.grant_id = v.grant_id
     WHERE (v.step, v.state) <> ('requested', 'requested')
       AND (v.signature IS NOT NULL OR v.at >= (SELECT min(created_at) FROM record_key)
            OR EXISTS (SELECT FROM grant_version b
                        WHERE b.person_id = v.person_id AND b.grant_id = v.grant_id AND b.version < v.version
                          AND b.signature IS NOT NULL))
       AND NOT EXISTS (SELECT FROM disclosure d
                        WHERE d.person_id = v.person_id AND d.at = v.at AND d.channel = 'consent'
                          AND d.message_id = encode(v.hash, 'hex'))
""")


def some_consents(session: Session, *, after: str = "") -> Part:
    """Check some consents, person by person, behind one that was checked before (`person/grant`)."""
    behind = tuple(map(UUID, after.split("/"))) if after else (_NOBODY, _NOBODY)
    query = select(Grant).where(behind < _KEY).order_by(Grant.person_id, Grant.grant_id).limit(_AT_ONCE)
    grants = session.scalars(query).all()
    if not grants:
        return Part(0, (), None)
    kept = _versions(session, grants)
    wrong = [Wrong(what, str(each.grant_id)) for each in grants if (what := _wrong(each, kept.get(each.grant_id, ())))]
    wrong += [Wrong(UNLOGGED, str(grant_id)) for grant_id in _unlogged(session, grants)]
    last = grants[-1]
    return Part(len(grants), wrong, f"{last.person_id}/{last.grant_id}" if len(grants) == _AT_ONCE else None)


def _versions(session: Session, grants: Sequence[Grant]) -> dict[UUID, list[GrantVersion]]:
    people, ids = {each.person_id for each in grants}, {each.grant_id for each in grants}
    theirs = select(GrantVersion).where(GrantVersion.person_id.in_(people), GrantVersion.grant_id.in_(ids))
    rows = session.scalars(theirs.order_by(GrantVersion.person_id, GrantVersion.grant_id, GrantVersion.version))
    return {grant_id: list(found) for grant_id, found in groupby(rows, key=lambda each: each.grant_id)}


def _wrong(grant: Grant, kept: Sequence[GrantVersion]) -> str | None:
    if not chain.intact(kept):
        return CHANGED
    return None if kept and versions.agree(grant, kept[-1]) else DIFFERS


def _unlogged(session: Session, grants: Collection[Grant]) -> list[UUID]:
    values: dict[str, Any] = {
        "person_ids": [each.person_id for each in grants], "grant_ids": [each.grant_id for each in grants],
    }  # fmt: skip
    return list(session.scalars(_UNLOGGED, values))
