"""Who listens to what: the web processes and the ones behind them are wired alike."""

from __future__ import annotations

from typing import TYPE_CHECKING

from portal import config, events
from portal.companies import letters
from portal.consent import deletion_letters, deletions, later, reminders, withdrawn
from portal.consumer import services as consumer
from portal.disputes import letters as dispute_letters
from portal.oauth import grant_management, ping
from portal.sync import endpoint_letters, key_turns, stream_events
from portal.sync import services as sync
from portal.vault import keyring as keyrings

if TYPE_CHECKING:
    from sqlalchemy.orm import Session


def wire() -> None:
    """Say who listens to what, and who words which letters; calling it twice changes nothing.

    Each process calls it that changes consents, records, clients or signing keys, or sends letters: those that serve
    pages, the workers, the reconciler, the demo, and those commands that announce a fact.
    """
    events.listen(events.PersonConfirmed, _begin_record)
    events.listen(events.RecordChanged, sync.on_record_changed)
    events.listen(events.RecordConfirmed, sync.on_record_changed)
    events.listen(events.GrantChanged, grant_management.on_grant_changed)
    events.listen(events.GrantChanged, deletions.on_grant_changed)
    events.listen(events.GrantChanged, later.on_grant_changed)
    events.listen(events.GrantChanged, reminders.on_grant_changed)
    events.listen(events.GrantChanged, sync.on_grant_changed)
    events.listen(events.GrantsChanged, sync.on_grants_changed)
    events.listen(events.ClientEnded, sync.on_client_ended)
    events.listen(events.ClientLifted, sync.on_client_lifted)
    events.listen(events.PurposeWithdrawn, withdrawn.on_purpose_withdrawn)
    events.listen(events.ToldInFull, sync.on_told_in_full)
    events.listen(events.ApprovalAnswered, ping.on_approval_answered)
    events.listen(events.SigningKeysChanged, stream_events.on_signing_keys_changed)
    events.listen(events.StreamStatusChanged, stream_events.on_status_changed)
    events.listen(events.EncryptionKeyInUse, key_turns.on_key_in_use)
    events.listen(events.EncryptionKeyStopped, key_turns.on_key_stopped)
    letters.word(endpoint_letters.KINDS, endpoint_letters.words)
    letters.word(deletion_letters.KINDS, deletion_letters.words)
    letters.word(dispute_letters.KINDS, dispute_letters.words)


def _begin_record(session: Session, fact: events.PersonConfirmed) -> None:
    # Whoever signs up has typed one detail already and is not asked for it again.
    keyring = keyrings.load(config.current().keyring_file)
    changes = {"email.main": fact.email}
    consumer.save(session, keyring=keyring, person_id=fact.person_id, changes=changes, now=fact.at)
