"""What sealing and signing alone costs: the part of a delivery that no better sender could leave out."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from portal import db
from portal.consumer.queries import OpenedEntry
from portal.sync import messages
from portal.sync.messages import Addressee, News, Profile
from portal.vault import signing
from portal.vault.envelope import Sealing
from tests.sync.receiver import new_key

if TYPE_CHECKING:
    from tests.sync.cast import World

_MESSAGES = 500


def cost(world: World, batch: int) -> float:
    """Return the CPU microseconds of a message about one detail, where `batch` of them leave in one request."""
    signer = world.transact(lambda session: signing.current(session, keyring=world.keyring))
    jwk = dict(new_key().as_dict(private=False))
    to = Addressee(client_id="bench", sub="bench", keys={"": {"kid": "enc-1", "jwk": jwk}}, groups={})
    now = db.now()
    told = OpenedEntry(
        version=2, sequence=2, json_text='"edit@example.org"', changed_at=now.isoformat(), confirmed_at=None
    )
    profile = Profile(grant_id=db.new_id(), purpose="bench", sequence=2, complete=False, entries={"email.main": told})
    news = News(sequence=2, state="active", profile=profile)
    used = time.process_time()
    for number in range(_MESSAGES):
        if number % batch == 0:
            sealing = Sealing()
        messages.build(signer, issuer=world.settings.issuer, to=to, jti="bench", now=now, news=news, sealing=sealing)
    return (time.process_time() - used) / _MESSAGES * 1e6
