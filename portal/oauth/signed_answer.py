"""Answers that prove who said them: a signed JWT in place of a JSON document, sealed when the client asked so."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from portal.oauth import encrypted
from portal.vault import signing

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from portal.oauth.encrypted import Recipient
    from portal.vault.keyring import Keyring


@dataclass(frozen=True)
class SignedAnswer:
    """A compact JWS or nested JWE on its way out, and the media type it leaves with."""

    media_type: str
    text: str = field(repr=False)


def make(
    session: Session,
    *,
    keyring: Keyring,
    claims: dict[str, Any],
    typ: str,
    media_type: str,
    to: Recipient | None,
) -> SignedAnswer:
    """Return `claims` signed with ES256 and, if there is such a key, encrypted `to` it."""
    jws = signing.current(session, keyring=keyring).sign(claims, typ=typ)
    return SignedAnswer(media_type, encrypted.seal(jws, to) if to else jws)
