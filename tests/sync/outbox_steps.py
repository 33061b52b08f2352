"""A drain in steps: claiming, sending what was claimed, noting it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from portal import config, db
from portal.ledger import queries as ledger
from portal.sync import consignments, courier, health, outbox
from portal.sync.outbox import Parcel
from portal.vault import signing

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from sqlalchemy.orm import Session

    from portal.ledger.queries import Entry
    from portal.sync.outbox import Sent
    from tests.sync.cast import World


def claim(world: World, limit: int = 100, lease_seconds: float = 20) -> list[Parcel]:
    """Lease what is due and commit it, as a worker does that then dies."""
    with db.transaction(world.settings.database_url) as session:
        return claim_in(session, world, limit, lease_seconds)


def claim_in(session: Session, world: World, limit: int = 100, lease_seconds: float = 20) -> list[Parcel]:
    """Lease what is due in a transaction that may stay open."""
    claimed = outbox.claim(session, keyring=world.keyring, now=db.now(), limit=limit, lease_seconds=lease_seconds)
    return claimed.parcels


def die_sending(world: World) -> None:
    """Send what is due as a worker does that dies before any answer comes: it has arrived, and nobody says so."""
    signer = world.transact(lambda session: signing.current(session, keyring=world.keyring))
    receivers = {firm.receiver.url: firm.receiver for firm in world.firms}
    for consignment in consignments.of_people(claim(world), time.monotonic()):
        consignments.seal(consignment, signer, issuer=config.current().issuer)
        receivers[consignment.place.url].answer(consignment.body)
    world.end_leases()


def carry(parcels: Sequence[Parcel]) -> None:
    """Send what was claimed before, and note what becomes of it; nothing else is claimed."""
    sender = courier.Courier(config.current())
    sender.warm()
    for consignment in consignments.of_people(parcels, time.monotonic()):
        sender._begin(consignment)  # noqa: SLF001 - a drain begins with what it claimed
    sender.drain(time.monotonic())
    sender.close()


def finish(world: World, sent: Sequence[Sent]) -> None:
    """Note what became of parcels, as a drain does."""

    def note(session: Session) -> None:
        outbox.finish(session, sent, now=db.now())
        of_people = [(each.parcel.place, each.result) for each in sent if isinstance(each.parcel, Parcel)]
        health.note(session, [health.Heard(place.stream_id, place.url, result) for place, result in of_people])

    world.transact(note)


def entries(world: World, person_id: UUID, channel: str = "push") -> list[Entry]:
    found = world.transact(lambda session: ledger.of_person(session, person_id=person_id))
    return [entry for entry in found if entry.channel == channel]
