"""Userinfo (OpenID Connect Core section 5.3): the claims of the token's scopes that the consent covers, logged."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from portal.consent import queries as consents
from portal.consent import rules
from portal.consent import services as consent
from portal.consumer import queries as consumer
from portal.consumer.catalogue import CATALOGUE, of_scopes
from portal.errors import RefusedError
from portal.ledger import services as ledger
from portal.oauth.errors import InvalidTokenError
from portal.vault import persons

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sqlalchemy.orm import Session

    from portal.consent.models import Grant
    from portal.oauth.protection import TokenInfo
    from portal.vault.keyring import Keyring


class NotSharedError(RefusedError):
    """The consent behind the token does not allow it now; `code` is the policy's reason."""

    public = "The person does not share this with you now."

    def __init__(self, refusal: rules.Refusal) -> None:
        self.code = str(refusal)
        super().__init__()


class OwnTokenError(InvalidTokenError):
    """A client's own token stands for no person."""


def claims(session: Session, *, keyring: Keyring, token: TokenInfo, now: datetime) -> dict[str, Any]:
    """Return `sub` and the claims; each disclosed attribute is in the log before this returns.

    Raises `NotSharedError`; the refusal is in the log as well, so the caller commits all the same.
    """
    if token.person_id is None or token.grant_id is None:
        raise OwnTokenError
    grant = consents.hold(session, person_id=token.person_id, grant_id=token.grant_id)
    asked = of_scopes(token.scope)
    allowed = _allowed(session, grant, token, asked=asked, now=now)
    sub = consent.subject(session, person_id=token.person_id, company_id=token.company_id)
    shared = [name for name in asked if name in allowed and CATALOGUE[name].claim]
    if grant is None or not shared:
        return {"sub": sub}
    return {"sub": sub, **_disclosed(session, keyring, grant, asked=asked, shared=shared, now=now)}


def _allowed(
    session: Session, grant: Grant | None, token: TokenInfo, *, asked: Sequence[str], now: datetime
) -> tuple[str, ...]:
    standing = None if grant is None else consents.standing_of(session, grant)
    decision = rules.decide(
        standing, client_id=token.client_id, channel=rules.Channel.USERINFO, requested=None, now=now
    )
    if decision.refusal is None:
        return decision.attributes
    if grant is not None:
        _log(session, grant, asked, {}, now, refusal=decision.refusal)
    raise NotSharedError(decision.refusal)


def _disclosed(
    session: Session, keyring: Keyring, grant: Grant, *, asked: Sequence[str], shared: Sequence[str], now: datetime
) -> dict[str, Any]:
    vault = persons.unlock(session, keyring=keyring, person_id=grant.person_id)
    sealed = consumer.entries(session, person_id=grant.person_id)
    opened = consumer.open_entries(vault, sealed, shared)
    _log(session, grant, asked, {name: entry.version for name, entry in opened.items()}, now)
    values = {str(CATALOGUE[name].claim): json.loads(entry.json_text) for name, entry in opened.items()}
    return {claim: value for claim, value in values.items() if value is not None}


def _log(
    session: Session,
    grant: Grant,
    asked: Sequence[str],
    given: dict[str, int],
    now: datetime,
    *,
    refusal: rules.Refusal | None = None,
) -> None:
    row = ledger.NewDisclosure(
        person_id=grant.person_id,
        at=now,
        context_id=grant.context_id,
        channel="userinfo",
        outcome="denied" if refusal else "completed",
        reason=refusal,
        asked=asked,
        given=given,
        grant_id=grant.grant_id,
        grant_version=grant.version,
    )
    ledger.record(session, row)
