"""What follows for a stream when its client's encryption keys take turns."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import text

from portal.sync import messages, services, statements, stream_events

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from portal.events import EncryptionKeyInUse, EncryptionKeyStopped

# In the order in which an edit and a drain lock them.  Whoever polls has put them aside without a lease.
_RELEASE = text("""
    WITH waiting AS (
        SELECT person_id, grant_id FROM delivery
         WHERE client_id = :client_id AND generation > acked_generation AND last_problem = :no_key
         ORDER BY person_id, grant_id FOR UPDATE)
    UPDATE delivery d
       SET due_at = LEAST(d.due_at, clock_timestamp()), attempts = 0,
           leased_until = CASE WHEN d.lease_id IS NOT NULL THEN d.leased_until END
      FROM waiting w WHERE d.person_id = w.person_id AND d.grant_id = w.grant_id
""")
# Who has a message in hand asks once more before its first byte, and finds that it is no longer theirs to send.
_TAKE_BACK = text(f"""
    WITH away AS (
        SELECT person_id, grant_id FROM delivery WHERE client_id = :client_id AND lease_id IS NOT NULL
         ORDER BY person_id, grant_id FOR UPDATE)
    UPDATE delivery d SET {statements.LET_GO}, due_at = LEAST(d.due_at, clock_timestamp())
      FROM away a WHERE d.person_id = a.person_id AND d.grant_id = a.grant_id
""")  # noqa: S608 - put together from constants
# Answers are sealed when they are made and fetched later.
_KEEP_NO_RESULTS = text("""
    UPDATE batch_pull SET expires_at = LEAST(expires_at, clock_timestamp())
     WHERE client_id = :client_id AND state <> 'expired'
""")


def on_key_in_use(session: Session, fact: EncryptionKeyInUse) -> None:
    """Send what waited for a key, and say which key opens what comes from now on and which may go."""
    session.flush()
    session.execute(_RELEASE, {"client_id": fact.client_id, "no_key": messages.NoKeyError.public})
    told = {"kid": fact.kid, "group": fact.group, "replaced": list(fact.replaced), "in_use_from": fact.at.isoformat()}
    stream_events.announce(
        session, client_id=fact.client_id, kind=messages.ENCRYPTION_KEY_IN_USE, payload=told, now=fact.at
    )
    services.ring(session)


def on_key_stopped(session: Session, fact: EncryptionKeyStopped) -> None:
    """Let nothing leave that is sealed already; it is made anew for a key that may be used."""
    session.flush()
    for statement in (_TAKE_BACK, _KEEP_NO_RESULTS):
        session.execute(statement, {"client_id": fact.client_id})
    services.ring(session)
