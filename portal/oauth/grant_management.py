"""Grant Management for OAuth 2.0 (draft 03): a client says which consent it means, looks at it, and ends it.

A person has one live consent for a purpose, so `create` ends the earlier one; `merge` adds details to the one that
is named, and `replace` makes it exactly what is answered.  Ending a token is another verb (RFC 7009).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from sqlalchemy import update

from portal.companies import queries as companies
from portal.consent import queries as consents
from portal.consent import services as consent
from portal.consent.terms import Effect
from portal.consumer.catalogue import CATALOGUE
from portal.errors import NotFoundError
from portal.oauth import resource_indicators, rich_authorization
from portal.oauth.errors import InvalidGrantIdError, InvalidRequestError, PersonDiffersError
from portal.oauth.models import AccessToken, AuthorizationCode, RefreshToken

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from sqlalchemy.orm import Session

    from portal.consent.models import Grant
    from portal.events import GrantChanged

ACTIONS: Final = (Effect.CREATE, Effect.MERGE, Effect.REPLACE)
QUERY: Final = "grant_management_query"
REVOKE: Final = "grant_management_revoke"


class ActionUnknownError(InvalidRequestError):
    """Section 5.4: an action this server does not support."""

    public = "grant_management_action must be create, merge or replace."


class GrantIdNotNeededError(InvalidRequestError):
    public = "create makes a new grant_id: leave grant_id out."


class GrantIdMissingError(InvalidRequestError):
    public = "merge and replace need the grant_id they are about."


class ActionMissingError(InvalidRequestError):
    public = "grant_id needs a grant_management_action: merge or replace."


class GrantNotFoundError(NotFoundError):
    """Section 6.6: unknown, ended, or another client's; the three look the same."""

    code = "grant-not-found"
    public = "There is no such grant of this client."


def read(
    session: Session, parameters: Mapping[str, str], *, client_id: str, purpose_id: UUID, now: datetime
) -> dict[str, Any]:
    """Return what a pushed request keeps of its `grant_management_action` and `grant_id` (section 5.2).

    Raises the first check that fails (section 5.4); a request without either means what it meant before.
    """
    action, named = parameters.get("grant_management_action"), parameters.get("grant_id")
    _check_action(action)
    _check_grant_id_fits(action, named)
    if named is not None:
        _check_known(session, named, client_id=client_id, purpose_id=purpose_id, now=now)
    return {"grant_management_action": action or Effect.AMEND, "grant_id": named}


def effect(kept: Mapping[str, Any]) -> Effect:
    """Return what the answer to a kept request does to what the person shares already."""
    return Effect(kept.get("grant_management_action", Effect.AMEND))


def grant_id(kept: Mapping[str, Any]) -> UUID | None:
    """Return the consent that a kept request is about; None where it names none."""
    return UUID(kept["grant_id"]) if kept.get("grant_id") else None


def check_person(session: Session, kept: Mapping[str, Any], *, person_id: UUID, now: datetime) -> None:
    """Raise `PersonDiffersError` unless whoever signed in is the one whose live consent the request names.

    The client learns no more than from somebody who declines, neither who signed in nor that it was another.
    """
    named = grant_id(kept)
    if named is None:
        return
    held = consents.grant(session, person_id=person_id, grant_id=named)
    if held is None or not _lives(held, now):
        raise PersonDiffersError(private="the named consent is not a live one of the person who signed in")


def settle(session: Session, kept: Mapping[str, Any], *, grant: Grant, now: datetime) -> None:
    """End what was handed out before for a consent that has just been merged with or replaced (section 5.2).

    Call it before the new code is made.  An earlier consent that `create` ended took its tokens along.
    """
    if effect(kept) is Effect.MERGE:
        _end(session, RefreshToken, grant.grant_id, now)
    if effect(kept) is Effect.REPLACE:
        end_tokens(session, grant_id=grant.grant_id, now=now)


def end_tokens(session: Session, *, grant_id: UUID, now: datetime) -> None:
    """End every token and unused code of a consent."""
    # In this order: whoever redeems or refreshes at this moment is waited for, and what they got is then found.
    codes = update(AuthorizationCode).where(AuthorizationCode.grant_id == grant_id, AuthorizationCode.used_at.is_(None))
    session.execute(codes.values(used_at=now).execution_options(synchronize_session=False))
    _end(session, RefreshToken, grant_id, now)
    _end(session, AccessToken, grant_id, now)


def on_grant_changed(session: Session, fact: GrantChanged) -> None:
    """End the tokens of a consent that is over, whoever ended it; listens to `events.GrantChanged`."""
    held = consents.grant(session, person_id=fact.person_id, grant_id=fact.grant_id)
    if held is None or held.state not in consents.LIVE:
        end_tokens(session, grant_id=fact.grant_id, now=fact.at)


def look(session: Session, *, client_id: str, grant_id: UUID, issuer: str, now: datetime) -> dict[str, Any]:
    """Return a client's live consent as section 6.4 shows it, with its state and version; never a value."""
    held = _of_client(session, client_id=client_id, grant_id=grant_id, now=now)
    purpose = companies.purpose(session, held.purpose_id, version=held.purpose_version)
    if purpose is None:
        raise GrantNotFoundError
    return {
        "scopes": _scopes(held, issuer),
        "claims": [claim for name in held.attributes if (claim := _claim(name))],
        "authorization_details": rich_authorization.granted(purpose.code, held),
        "grant_id": str(held.grant_id),
        "status": held.state,
        "version": held.version,
        "created_at": _iso(held.given_at),
        "last_updated_at": _iso(held.changed_at),
        "expires_at": _iso(held.expires_at),
    }


def revoke(session: Session, *, client_id: str, grant_id: UUID, now: datetime) -> None:
    """End a consent as the company wishes, and with it every token at once (section 6.5)."""
    held = _of_client(session, client_id=client_id, grant_id=grant_id, now=now)
    consent.end(session, person_id=held.person_id, grant_id=grant_id, now=now)


def _check_action(action: str | None) -> None:
    if action is not None and action not in ACTIONS:
        raise ActionUnknownError


def _check_grant_id_fits(action: str | None, named: str | None) -> None:
    if named is None and action in {Effect.MERGE, Effect.REPLACE}:
        raise GrantIdMissingError
    if named is not None and action == Effect.CREATE:
        raise GrantIdNotNeededError
    if named is not None and action is None:
        raise ActionMissingError


def _check_known(session: Session, named: str, *, client_id: str, purpose_id: UUID, now: datetime) -> None:
    # Unknown, another client's, over and for another purpose are one answer, so that none can be told apart.
    parsed = _uuid(named)
    held = consents.of_client(session, client_id=client_id, grant_id=parsed) if parsed else None
    if held is None or held.purpose_id != purpose_id or not _lives(held, now):
        raise InvalidGrantIdError


def _of_client(session: Session, *, client_id: str, grant_id: UUID, now: datetime) -> Grant:
    held = consents.of_client(session, client_id=client_id, grant_id=grant_id)
    if held is None or not _lives(held, now):
        raise GrantNotFoundError
    return held


def _lives(held: Grant, now: datetime) -> bool:
    return held.state in consents.LIVE and (held.expires_at is None or held.expires_at > now)


def _uuid(text: str) -> UUID | None:
    try:
        parsed = UUID(text)
    except ValueError:
        return None
    # A grant_id is the very text we gave out, not every way to write its number.
    return parsed if str(parsed) == text else None


def _end(session: Session, table: type[AccessToken | RefreshToken], grant_id: UUID, now: datetime) -> None:
    living = update(table).where(table.grant_id == grant_id, table.revoked_at.is_(None))
    session.execute(living.values(revoked_at=now).execution_options(synchronize_session=False))


def _scopes(held: Grant, issuer: str) -> list[dict[str, Any]]:
    named = dict.fromkeys(CATALOGUE[name].scope for name in held.attributes if name in CATALOGUE)
    return [{"scope": scope, "resource": [resource_indicators.api_of(issuer)]} for scope in named if scope]


def _claim(name: str) -> str | None:
    return CATALOGUE[name].claim if name in CATALOGUE else None


def _iso(moment: datetime | None) -> str | None:
    return moment.isoformat(timespec="seconds") if moment else None
