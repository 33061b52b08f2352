"""Rich authorization requests (RFC 9396) of the one type `ucm_profile`: a purpose, and details it may ask for."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from portal.companies import queries as companies
from portal.consumer.catalogue import CATALOGUE, of_scopes
from portal.oauth import compact
from portal.oauth.compact import MalformedError
from portal.oauth.errors import InvalidAuthorizationDetailsError, InvalidScopeError

if TYPE_CHECKING:
    from collections.abc import Collection

    from sqlalchemy.orm import Session

    from portal.companies.queries import PurposeFacts
    from portal.consent.models import Grant

TYPE: Final = "ucm_profile"
_FIELDS = frozenset({"type", "purpose", "attributes"})
_CODE = re.compile(r"[A-Za-z0-9._-]{1,128}", re.ASCII)


class DetailsMissingError(InvalidAuthorizationDetailsError):
    public = "authorization_details must be a JSON array with one object of type ucm_profile."


class DetailsTypeError(InvalidAuthorizationDetailsError):
    public = "The only type of authorization_details is ucm_profile."


class DetailsFieldError(InvalidAuthorizationDetailsError):
    public = "A ucm_profile has the fields type, purpose and attributes."


class PurposeUnknownError(InvalidAuthorizationDetailsError):
    public = "The client has no such purpose, or it is withdrawn."


class AttributesError(InvalidAuthorizationDetailsError):
    public = "attributes must be a list of details that the purpose may ask for, each once."


class ScopeBeyondPurposeError(InvalidScopeError):
    public = "A requested scope asks for nothing that the purpose may ask for."


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What a client asks for: `attributes` is what the purpose requires and, of the rest, what was named."""

    purpose: PurposeFacts
    attributes: tuple[str, ...]


def read(session: Session, *, client_id: str, text: str | None, scope: str) -> Asked:
    """Return what `authorization_details` and `scope` ask for, in catalogue order."""
    entry = _only_entry(text)
    _check_type(entry)
    _check_fields(entry)
    purpose = _purpose(session, client_id, entry["purpose"])
    named = _named(entry, purpose.attributes)
    scoped = _scoped(scope, purpose.attributes)
    return Asked(purpose=purpose, attributes=_together(purpose, named, scoped))


def granted(purpose_code: str, grant: Grant) -> list[dict[str, Any]]:
    """Return the details as granted, for the token answer and for introspection (RFC 9396 sections 7 and 9.2)."""
    return [{"type": TYPE, "purpose": purpose_code, "attributes": list(grant.attributes)}]


def _only_entry(text: str | None) -> dict[str, Any]:
    try:
        entries = compact.read_json(text or "")
    except MalformedError as error:
        raise DetailsMissingError from error
    if not isinstance(entries, list) or len(entries) != 1 or not isinstance(entries[0], dict):
        raise DetailsMissingError
    return entries[0]


def _check_type(entry: dict[str, Any]) -> None:
    if entry.get("type") != TYPE:
        raise DetailsTypeError


def _check_fields(entry: dict[str, Any]) -> None:
    if not {"type", "purpose"} <= entry.keys() <= _FIELDS:
        raise DetailsFieldError


def _purpose(session: Session, client_id: str, code: object) -> PurposeFacts:
    if not isinstance(code, str) or not _CODE.fullmatch(code):
        raise PurposeUnknownError
    purpose = companies.purpose_by_code(session, client_id, code)
    if purpose is None or purpose.withdrawn:
        raise PurposeUnknownError
    return purpose


def _named(entry: dict[str, Any], allowed: Collection[str]) -> set[str] | None:
    if "attributes" not in entry:
        return None
    names = entry["attributes"]
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise AttributesError
    if len(set(names)) != len(names) or not set(names) <= set(allowed):
        raise AttributesError
    return set(names)


def _scoped(scope: str, allowed: Collection[str]) -> set[str]:
    # A scope is a short way to name details; one that names none of the purpose's own is a mistake.
    found: set[str] = set()
    for name in scope.split():
        wanted = set(of_scopes(name))
        if wanted and not wanted & set(allowed):
            raise ScopeBeyondPurposeError
        found |= wanted & set(allowed)
    return found


def _together(purpose: PurposeFacts, named: set[str] | None, scoped: set[str]) -> tuple[str, ...]:
    wanted = (named or set()) | scoped if named is not None or scoped else set(purpose.attributes)
    wanted |= {attribute for attribute, _reason in purpose.required}
    return tuple(name for name in CATALOGUE if name in wanted)
