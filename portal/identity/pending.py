"""A sign-in under way, kept in the visitor's own browser: whom it is for and which codes it may use.

It is sealed, not only signed, because it knows whether the address has an account; the visitor must not.
An address nobody has therefore gets an id and codes of the same length that lead nowhere.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from uuid import UUID

import flask

from portal.db import new_id
from portal.vault import base64url
from portal.vault.keyring import SESSION, SealBrokenError
from portal.web import context

SIGN_IN = "sign-in"
SECOND_PROOF = "second-proof"
_BOUND_TO = b"ucm-pending-v2:"
_LIFE = timedelta(hours=1)
_CODES = 5


@dataclass(frozen=True)
class Pending:
    """`known` is 0 for an address nobody has; `joining` says the visitor came to create an account."""

    email: str = field(repr=False)
    known: int
    person_id: str
    joining: bool
    began: str
    code_ids: list[str] = field(default_factory=list)

    def person(self) -> UUID | None:
        """Return whose sign-in it is; None for an address nobody has."""
        return UUID(self.person_id) if self.known else None

    def codes(self) -> list[UUID]:
        return [UUID(code_id) for code_id in self.code_ids]


def begin(*, email: str, person_id: UUID | None, joining: bool) -> Pending:
    """Return a new sign-in under way; `keep` puts it into the browser."""
    began = context.now().isoformat(timespec="microseconds")
    return Pending(email, int(person_id is not None), str(person_id or new_id()), joining, began)


def with_code(pending: Pending, code_id: UUID) -> Pending:
    """Return `pending` with one more code that it may use; the last five count."""
    return replace(pending, code_ids=[*pending.code_ids, str(code_id)][-_CODES:])


def keep(pending: Pending, name: str = SIGN_IN) -> None:
    """Put it, sealed, into Flask's cookie; what is kept by one name cannot be read by another."""
    sealed_as = _BOUND_TO + name.encode()
    version, sealed = context.keyring().wrap(SESSION, json.dumps(asdict(pending)).encode(), context=sealed_as)
    flask.session[name] = f"{version}.{base64url.encode(sealed)}"


def current(name: str = SIGN_IN) -> Pending | None:
    """Return what this browser has under way by this name; None when there is nothing, or it began an hour ago."""
    version, _, sealed = str(flask.session.get(name, "")).partition(".")
    sealed_as = _BOUND_TO + name.encode()
    try:
        opened = context.keyring().unwrap(SESSION, int(version), base64url.decode(sealed), context=sealed_as)
        pending = Pending(**json.loads(opened))
        fresh = context.now() - datetime.fromisoformat(pending.began) < _LIFE
    except (SealBrokenError, ValueError, TypeError):
        return None
    return pending if fresh else None
