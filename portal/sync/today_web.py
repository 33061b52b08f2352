"""What an organisation sees today, for its person alone."""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING

from flask import render_template

from portal.consumer import formats
from portal.consumer.catalogue import CATALOGUE
from portal.sync import today
from portal.sync.pulls import Desk
from portal.vault import signing
from portal.web.context import keyring, now, session, settings

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from portal.consent.models import Grant


def today_slot(held: Grant) -> str:
    """Return what the organisation of this sharing would get if it asked now."""
    desk = Desk(
        keyring=keyring(),
        signer=signing.current(session(), keyring=keyring()),
        issuer=settings().issuer,
        now=now(),
    )
    seen = today.seen(session(), person_id=held.person_id, grant_id=held.grant_id, desk=desk)
    return render_template(
        "sync/_today.html",
        seen=seen,
        lines=[_line(name, seen.details[name]) for name in CATALOGUE if name in seen.details] if seen else [],
        message=json.dumps(seen.claims, ensure_ascii=False, indent=2) if seen else "",
    )


def _line(name: str, entry: Mapping[str, Any]) -> tuple[str, str, datetime]:
    return name, formats.display(CATALOGUE[name], entry["value"]), datetime.fromisoformat(entry["changed_at"])
