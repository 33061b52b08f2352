"""What workers do for companies: a job that is lost or repeated changes nothing."""

from __future__ import annotations

from portal import db
from portal.companies import key_source, letters


def fetch_keys(client_id: str) -> None:
    """Read the keys at a client's `jwks_uri` anew, if they are stale still: the bell rings until somebody comes."""
    key_source.refresh(client_id=client_id, now=db.now(), within=key_source.STALE)


def send_letters() -> None:
    """Send the letters to companies that are due; one that is not taken is tried again after a few minutes."""
    letters.TRAY.run()
