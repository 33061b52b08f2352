"""What a company would be told of a person if it asked now: decided, made, sealed and signed as the answer to a pull.

It is sealed to a key that is made for it and forgotten, and opened again here, so that its person reads the very
message and not a description of it.  Nothing leaves, so nothing is logged or counted.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sqlalchemy import text

from portal.consent.rules import Channel, Refusal
from portal.db import new_id
from portal.oauth.statements import GRANT
from portal.sync import messages, pulls
from portal.sync.statements import CLIENT, KEYS
from portal.vault import base64url
from portal.vault.opening import Reader

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from uuid import UUID

    from sqlalchemy import Row
    from sqlalchemy.orm import Session

    from portal.sync.pulls import Desk

_ROW = text(f"""
    SELECT s.sub, g.person_id AS subject_person, {GRANT}, g.pulls_a_day, r.sequence, r.entries,
           k.keyring_version, k.wrapped_root, k.commitment, e.keys, p.key_groups
      FROM "grant" g {CLIENT}
      LEFT JOIN subject s ON s.person_id = g.person_id AND s.company_id = c.company_id
      LEFT JOIN current_record r ON r.person_id = g.person_id
      LEFT JOIN person_key k ON k.person_id = g.person_id {KEYS}
     WHERE g.person_id = :person_id AND g.grant_id = :grant_id
""")  # noqa: S608 - put together from constants


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What a company sees today: the details by name, each with `version`, `changed_at` and its `value`, opened.

    `refusal` says why it would get nothing, `keyless` that there is no key to seal its answer to.  `claims` is the
    whole message with the values in clear; `missing` are details that are shared and that the person has not given.
    """

    refusal: Refusal | None = None
    keyless: bool = False
    details: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, repr=False)
    missing: tuple[str, ...] = ()
    claims: Mapping[str, Any] = field(default_factory=dict, repr=False)


def seen(session: Session, *, person_id: UUID, grant_id: UUID, desk: Desk) -> Seen | None:
    """Return what a company would get by a grant if it asked at this moment; None without such a grant."""
    row = session.execute(_ROW, {"person_id": person_id, "grant_id": grant_id}).one_or_none()
    if row is None or row.sub is None:
        return None
    decision = pulls.decide(session, row, requested=None, channel=Channel.PULL, now=desk.now)
    if decision.refusal is not None:
        return Seen(refusal=decision.refusal)
    names = pulls.held(row, decision)
    to = pulls.addressee(row, row.sub, None)
    if not (to.keys and pulls.sealable(to, names)):
        return Seen(keyless=True)
    claims = _read(row, names, desk)
    details = claims["events"][messages.PROFILE]["attributes"]
    return Seen(
        details=details, missing=tuple(name for name in decision.attributes if name not in names), claims=claims
    )


def _read(row: Row[Any], names: Iterable[str], desk: Desk) -> dict[str, Any]:
    """Return the claims of the answer to a pull, sealed to a key of this moment and opened again."""
    reader, to = Reader(), pulls.addressee(row, row.sub, None)
    to = to._replace(keys=dict.fromkeys(to.keys, reader.public))
    token = pulls.message(row, names, desk, to=to, jti=new_id().hex)
    claims: dict[str, Any] = json.loads(base64url.decode(token.split(".")[1]))
    profile = claims["events"][messages.PROFILE]
    keys = [*profile.pop("group_keys", {}).values(), *filter(None, [profile.pop("keys", None)])]
    details = profile["attributes"]
    opened = reader.open({f"{name}#{each['version']}": each["value"] for name, each in details.items()}, keys)
    for name, each in details.items():
        each["value"] = opened[f"{name}#{each['version']}"]
    return claims
