"""Keeping a step of a grant for ever: linked to the one before, bound to whom it is between, and signed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import insert, select, tuple_

from portal import config
from portal.consent import chain
from portal.consent.models import GrantVersion, Subject
from portal.vault import keyring as keyrings
from portal.vault import record_keys

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy.orm import Session

    from portal.consent.models import Grant
    from portal.vault.signing import Signer


def keep(session: Session, grants: Sequence[Grant], *, at: datetime, said: dict[str, Any]) -> dict[UUID, bytes]:
    """Keep grants of one person as they stand now as versions of themselves; return the hash of each.

    `said` has `step`, `actor`, `shown`, and whatever else the versions say instead of the grants.
    """
    before, subs = _before(session, grants), _subs(session, grants)
    signer = record_keys.current(session, keyring=keyrings.load(config.current().keyring_file), now=at)
    rows = [
        _row(grant, before.get(grant.grant_id, chain.START), said | {"at": at}, subs.get(grant.company_id), signer)
        for grant in grants
    ]
    session.execute(insert(GrantVersion), rows)
    return {row["grant_id"]: row["hash"] for row in rows}


def agree(grant: Grant, version: GrantVersion) -> bool:
    """Say whether a grant stands as `version` says that it does, and binds whom it binds."""
    said = {name: getattr(version, name) for name in _as_it_stands(grant)}
    about = version.about
    return said == _as_it_stands(grant) and (about is None or about == _about(grant, about.get("sub")))


def _before(session: Session, grants: Sequence[Grant]) -> dict[UUID, bytes]:
    named = [(grant.grant_id, grant.version - 1) for grant in grants]
    earlier = select(GrantVersion.grant_id, GrantVersion.hash).where(
        GrantVersion.person_id == grants[0].person_id,
        tuple_(GrantVersion.grant_id, GrantVersion.version).in_(named),
    )
    return {row.grant_id: row.hash for row in session.execute(earlier)}


def _subs(session: Session, grants: Sequence[Grant]) -> dict[UUID, str]:
    known = select(Subject.company_id, Subject.sub).where(
        Subject.person_id == grants[0].person_id, Subject.company_id.in_({grant.company_id for grant in grants})
    )
    return {row.company_id: row.sub for row in session.execute(known)}


def _row(grant: Grant, previous: bytes, said: dict[str, Any], sub: str | None, signer: Signer) -> dict[str, Any]:
    members: dict[str, Any] = _as_it_stands(grant) | {"about": _about(grant, sub)} | said
    text = chain.text(members, previous=previous)
    return members | {
        "person_id": grant.person_id,
        "previous_hash": previous,
        "hash": chain.hash_of(text),
        "signature": record_keys.detached(signer.sign_text(text, typ=chain.TYP)),
    }


def _as_it_stands(grant: Grant) -> dict[str, Any]:
    return {
        "grant_id": grant.grant_id,
        "version": grant.version,
        "state": grant.state,
        "mode": grant.mode,
        "attributes": list(grant.attributes),
        "expires_at": grant.expires_at,
        "retention_days": grant.retention_days,
        "level": grant.level,
        "pulls_a_day": grant.pulls_a_day,
    }


def _about(grant: Grant, sub: str | None) -> dict[str, Any]:
    return {
        "sub": sub,
        "company_id": str(grant.company_id),
        "client_id": grant.client_id,
        "purpose_id": str(grant.purpose_id),
        "purpose_version": grant.purpose_version,
    }
