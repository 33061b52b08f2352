"""Nested JWTs: whatever the portal signs for a client can be sealed to its newest key."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from joserfc import jwe
from joserfc.jwk import ECKey, OKPKey
from sqlalchemy import update

from portal import db
from portal.companies.models import ClientKey
from portal.oauth import encrypted

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from tests.oauth.rp import RelyingParty

JWS = "e30.e30.c2ln"
LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)


def give_key(session: Session, client_id: str, key: ECKey | OKPKey, *, minutes: int, kid: str, group: str = "") -> None:
    """Give the client a key that came into use so many minutes ago; one in the future is held."""
    jwk: dict[str, Any] = {**key.as_dict(private=False), "use": "enc", "kid": kid}
    proved_at = None if kid == "unproved" else db.now()
    session.add(
        ClientKey(
            client_id=client_id, kid=kid, use="enc", jwk=jwk, thumbprint=key.thumbprint(),
            added_at=db.now(), proved_at=proved_at, active_from=db.now() - timedelta(minutes=minutes), key_group=group,
        )
    )  # fmt: skip
    session.flush()


def seal(session: Session, rp: RelyingParty) -> str:
    return encrypted.seal(JWS, encrypted.recipient(session, rp.client_id))


@pytest.mark.parametrize("key", [ECKey.generate_key("P-256"), OKPKey.generate_key("X25519")], ids=["P-256", "X25519"])
def test_the_newest_key_opens_it(session: Session, rp: RelyingParty, key: ECKey | OKPKey) -> None:
    session.execute(update(ClientKey).where(ClientKey.client_id == rp.client_id).values(active_from=LONG_AGO))
    give_key(session, rp.client_id, ECKey.generate_key("P-256"), minutes=2, kid="older")
    give_key(session, rp.client_id, key, minutes=1, kid="newest")
    give_key(session, rp.client_id, ECKey.generate_key("P-256"), minutes=-1, kid="held")
    give_key(session, rp.client_id, ECKey.generate_key("P-256"), minutes=0, kid="unproved")
    give_key(session, rp.client_id, ECKey.generate_key("P-256"), minutes=0, kid="departmental", group="hr")
    opened = jwe.decrypt_compact(seal(session, rp), key, algorithms=["ECDH-ES+A256KW", "A256GCM"])
    assert opened.plaintext == JWS.encode()
    said = dict(opened.headers())
    assert said.pop("epk").keys() <= {"kty", "crv", "x", "y"}
    assert said == {"alg": "ECDH-ES+A256KW", "enc": "A256GCM", "kid": "newest", "cty": "JWT"}


def test_a_client_without_a_live_key_is_told_so(session: Session, rp: RelyingParty) -> None:
    mine = ClientKey.client_id == rp.client_id, ClientKey.use == "enc"
    session.execute(update(ClientKey).where(*mine).values(retired_at=db.now()))
    with pytest.raises(encrypted.EncryptionKeyMissingError) as refused:
        seal(session, rp)
    assert refused.value.code == "invalid_request"
