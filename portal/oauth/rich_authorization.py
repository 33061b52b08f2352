"""Rich authorization requests (RFC 9396) of the one type `ucm_profile`: a purpose, and how far into it to go.

Every member but `type` and `purpose` narrows what the purpose may ask; left out, it means the purpose's own.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from portal.companies import queries as companies
from portal.consent import terms
from portal.consent.terms import Wanted
from portal.consumer.catalogue import CATALOGUE, of_scopes
from portal.oauth import compact, resource_indicators
from portal.oauth.compact import MalformedError
from portal.oauth.errors import InvalidAuthorizationDetailsError, InvalidScopeError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from sqlalchemy.orm import Session

    from portal.companies.queries import PurposeFacts
    from portal.consent.models import Grant

TYPE: Final = "ucm_profile"
READ: Final = "read"
SUBSCRIBE: Final = "subscribe"
_NEEDED = frozenset({"type", "purpose"})
_MEMBERS = _NEEDED | {"attributes", "actions", "mode", "retention", "duration", "locations"}
_CODE = re.compile(r"[A-Za-z0-9._-]{1,128}", re.ASCII)
_DURATION = re.compile(r"P(0|[1-9][0-9]{0,3})([DWMY])", re.ASCII)
_DAYS = {"D": 1, "W": 7, "M": 30, "Y": 365}
_LONGEST_TEXT = 4096


class DetailsMissingError(InvalidAuthorizationDetailsError):
    public = "authorization_details must be a JSON array with one object of type ucm_profile."


class DetailsTooLongError(InvalidAuthorizationDetailsError):
    public = "authorization_details must be at most 4096 characters long."


class DetailsTypeError(InvalidAuthorizationDetailsError):
    public = "The only type of authorization_details is ucm_profile."


class DetailsMemberError(InvalidAuthorizationDetailsError):
    public = (
        "A ucm_profile has the members type and purpose, and of attributes, actions, mode, retention, duration and "
        "locations those that narrow it."
    )


class PurposeUnknownError(InvalidAuthorizationDetailsError):
    public = "The client has no such purpose, or it is withdrawn."


class PurposeNotLiveError(InvalidAuthorizationDetailsError):
    public = "No version of this purpose is live: a live client asks once an operator has looked at one."


class PurposeNotNamedError(InvalidAuthorizationDetailsError):
    public = "Name the purpose in authorization_details: scope alone is enough for a client with one purpose."


class AttributesError(InvalidAuthorizationDetailsError):
    public = "attributes must be a list of details that the purpose may ask for, each once."


class AttributesMissingError(InvalidAuthorizationDetailsError):
    public = "attributes must hold every detail that the purpose requires."


class ActionsError(InvalidAuthorizationDetailsError):
    public = "actions must be a list of read, or of read and subscribe."


class ModeError(InvalidAuthorizationDetailsError):
    public = "mode must be kept-up-to-date, asked or once, and not more than the purpose offers."


class ActionsContradictModeError(InvalidAuthorizationDetailsError):
    public = "The action subscribe goes with the mode kept-up-to-date and with no other; name both or leave one out."


class RetentionError(InvalidAuthorizationDetailsError):
    public = "retention must be like P30D, in one unit of days, weeks, months or years, and not above the purpose's."


class DurationError(InvalidAuthorizationDetailsError):
    public = "duration must be like P90D, in one unit, at least a day, and not longer than the purpose's."


class LocationsError(InvalidAuthorizationDetailsError):
    """RFC 9396 section 2.2: where the details are used; there is one place."""

    public = "locations can name nothing but this server's API, once."


class DetailsNotTakenError(InvalidAuthorizationDetailsError):
    """RFC 9396 section 6: what cannot be narrowed here is refused rather than passed over."""

    public = "A token follows its grant: leave authorization_details out here, and push a request that asks for less."


class ScopeBeyondPurposeError(InvalidScopeError):
    public = "A requested scope asks for nothing that the purpose may ask for."


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What a client asks for: a purpose of its own, and how far into it to go."""

    purpose: PurposeFacts
    wanted: Wanted

    def kept(self) -> dict[str, Any]:
        """Return it as JSON, for a pushed request or an approval to keep; `terms.wanted` reads it again."""
        of_wanted = asdict(self.wanted) | {"attributes": list(self.wanted.attributes)}
        return {"purpose_id": str(self.purpose.purpose_id), **of_wanted}


def read(
    session: Session, *, client_id: str, text: str | None, scope: str, issuer: str, scope_alone: bool = False
) -> Asked:
    """Return what `authorization_details` and `scope` ask for; raise the first check that fails (section 5).

    With `scope_alone`, a request without `authorization_details` is about the client's only purpose, as clients
    that know no more than OpenID Connect ask.
    """
    if text is None and scope_alone:
        return _by_scope(session, client_id, scope)
    entry = _only_entry(text)
    _check_type(entry)
    _check_members(entry)
    purpose = _purpose(session, client_id, entry["purpose"])
    _check_locations(entry, issuer)
    wanted = Wanted(
        attributes=_attributes(entry, purpose, scope),
        mode=_mode(entry, purpose),
        retention_days=_retention(entry, purpose),
        longest_days=_duration(entry, purpose),
        # A request that names a duration does not ask for longer, and "until I stop it" would be longer.
        open_ended="duration" not in entry and terms.whole(purpose).open_ended,
        pulls_a_day=purpose.pulls_a_day,
    )
    return Asked(purpose=purpose, wanted=wanted)


def check_absent(parameters: Mapping[str, str]) -> None:
    """Raise `DetailsNotTakenError` when a token request tries to narrow its token by `authorization_details`."""
    if "authorization_details" in parameters:
        raise DetailsNotTakenError


def granted(purpose_code: str, grant: Grant) -> list[dict[str, Any]]:
    """Return the details as granted (RFC 9396 section 7), for token answers, introspection and grant management.

    `pulls_a_day` is there where the purpose has a ceiling.  `duration` counts from the last change of the consent;
    `expires_at` is the moment itself.  Both are absent where the person shares until they stop it.
    """
    details: dict[str, Any] = {
        "type": TYPE,
        "purpose": purpose_code,
        "attributes": list(grant.attributes),
        "actions": _actions_of(grant.mode),
        "mode": grant.mode,
        "retention": _in_days(grant.retention_days),
    }
    if grant.pulls_a_day is not None:
        details["pulls_a_day"] = grant.pulls_a_day
    if grant.expires_at is not None:
        details["duration"] = _in_days((grant.expires_at - grant.changed_at).days)
        details["expires_at"] = grant.expires_at.isoformat(timespec="seconds")
    return [details]


def _by_scope(session: Session, client_id: str, scope: str) -> Asked:
    purposes = companies.purposes_of(session, client_id)
    if len(purposes) != 1:
        raise PurposeNotNamedError
    [purpose] = purposes
    named = _scoped(scope, purpose.attributes) | {name for name, _reason in purpose.required}
    attributes = tuple(name for name in CATALOGUE if name in named)
    return Asked(purpose=purpose, wanted=replace(terms.whole(purpose), attributes=attributes))


def _only_entry(text: str | None) -> dict[str, Any]:
    if text is not None and len(text) > _LONGEST_TEXT:
        raise DetailsTooLongError
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


def _check_members(entry: dict[str, Any]) -> None:
    if not _NEEDED <= entry.keys() <= _MEMBERS:
        raise DetailsMemberError


def _purpose(session: Session, client_id: str, code: object) -> PurposeFacts:
    if not isinstance(code, str) or not _CODE.fullmatch(code):
        raise PurposeUnknownError
    purpose = companies.purpose_by_code(session, client_id, code)
    if purpose is None and companies.is_declared(session, client_id, code):
        raise PurposeNotLiveError
    if purpose is None or purpose.withdrawn:
        raise PurposeUnknownError
    return purpose


def _check_locations(entry: dict[str, Any], issuer: str) -> None:
    if "locations" in entry and entry["locations"] != [resource_indicators.api_of(issuer)]:
        raise LocationsError


def _attributes(entry: dict[str, Any], purpose: PurposeFacts, scope: str) -> tuple[str, ...]:
    named = _named(entry, purpose.attributes)
    scoped = _scoped(scope, purpose.attributes)
    required = {name for name, _reason in purpose.required}
    if named is not None and not required <= named | scoped:
        raise AttributesMissingError
    asked = (named or set()) | scoped if named is not None or scoped else set(purpose.attributes)
    return tuple(name for name in CATALOGUE if name in asked | required)


def _named(entry: dict[str, Any], allowed: Collection[str]) -> set[str] | None:
    if "attributes" not in entry:
        return None
    names = _strings(entry["attributes"])
    if not names or not set(names) <= set(allowed):
        raise AttributesError
    return set(names)


def _scoped(scope: str, allowed: Collection[str]) -> set[str]:
    # A scope is a short way to name details; one that names none of the purpose's own is a mistake.
    found: set[str] = set()
    for name in scope.split():
        meant = set(of_scopes(name))
        if meant and not meant & set(allowed):
            raise ScopeBeyondPurposeError
        found |= meant & set(allowed)
    return found


def _mode(entry: dict[str, Any], purpose: PurposeFacts) -> str:
    subscribes = _subscribes(entry)
    mode = entry.get("mode")
    if mode is None and "mode" not in entry:
        mode = _mode_of_actions(purpose.mode, subscribes=subscribes)
    elif subscribes is not None and subscribes != (mode == terms.UPDATED):
        raise ActionsContradictModeError
    if not isinstance(mode, str) or not terms.covers(purpose.mode, mode):
        raise ModeError
    return mode


def _mode_of_actions(offered: str, *, subscribes: bool | None) -> str:
    if subscribes:
        return terms.UPDATED
    return terms.ASKED if subscribes is False and offered == terms.UPDATED else offered


def _subscribes(entry: dict[str, Any]) -> bool | None:
    """Return whether the company wants to be told of changes; None when `actions` leaves it open."""
    if "actions" not in entry:
        return None
    actions = _strings(entry["actions"])
    if not actions or READ not in actions or not set(actions) <= {READ, SUBSCRIBE}:
        raise ActionsError
    return SUBSCRIBE in actions


def _retention(entry: dict[str, Any], purpose: PurposeFacts) -> int:
    days = _days(entry["retention"]) if "retention" in entry else purpose.retention_days
    if days is None or days > purpose.retention_days:
        raise RetentionError
    return days


def _duration(entry: dict[str, Any], purpose: PurposeFacts) -> int:
    days = _days(entry["duration"]) if "duration" in entry else purpose.longest_days
    if not days or days > purpose.longest_days:
        raise DurationError
    return days


def _days(text: object) -> int | None:
    """Return the days of an ISO 8601 duration of one unit; a month is 30 of them and a year 365."""
    found = _DURATION.fullmatch(text) if isinstance(text, str) else None
    return int(found[1]) * _DAYS[found[2]] if found else None


def _in_days(days: int) -> str:
    return f"P{days}D"


def _strings(value: object) -> list[str] | None:
    """Return a list of strings, each once; None for anything else."""
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        return None
    return value if len(set(value)) == len(value) else None


def _actions_of(mode: str) -> list[str]:
    return [READ, SUBSCRIBE] if mode == terms.UPDATED else [READ]
