"""A company's side of a proof: it opens the portal's challenge with its private key and sends back what is inside."""

from __future__ import annotations

from typing import TYPE_CHECKING

from joserfc import jwe

from portal import db
from portal.companies import proofs, queries
from portal.companies.key_states import State

if TYPE_CHECKING:
    from joserfc.jwk import ECKey, OKPKey
    from sqlalchemy.orm import Session

_ALGORITHMS = ["ECDH-ES+A256KW", "A256GCM"]


def opened(challenge: str, key: ECKey | OKPKey) -> str:
    """Return the text in a challenge."""
    return (jwe.decrypt_compact(challenge, key, algorithms=_ALGORITHMS).plaintext or b"").decode()


def prove(session: Session, client_id: str, *keys: ECKey | OKPKey) -> None:
    """Prove every encryption key of the client that waits for it and is among `keys`."""
    private = {key.thumbprint(): key for key in keys}
    for fact in queries.key_list(session, client_id, now=db.now()):
        if fact.state is State.UNPROVED and fact.thumbprint in private:
            asked = proofs.challenge(session, client_id=client_id, kid=fact.kid, now=db.now())
            answer = opened(asked.text, private[fact.thumbprint])
            assert proofs.prove(session, client_id=client_id, kid=fact.kid, answer=answer, now=db.now())
