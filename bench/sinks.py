"""Receivers by TLS at as many loopback addresses as there are companies, and the companies that own them."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from itertools import islice, product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from joserfc.jwk import ECKey

from bench.certificates import Authority
from bench.ground import Arrivals, free_port
from portal import db
from portal.sync import services
from tests.sync import cast
from tests.sync.receiver import new_key

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from subprocess import Popen

    from bench.ground import Ground
    from tests.sync.cast import Firm, World

_HOSTS, _NETWORKS = range(1, 101), range(1, 201)


@dataclass
class Place:
    """Stands where a test has a receiver: an address of a sink, and a key whose private part nobody needs."""

    name: str
    key: ECKey

    @property
    def port(self) -> int:
        return int(self.name.rpartition(":")[2])

    @property
    def url(self) -> str:
        return f"https://{self.name}/events"


class Sinks:
    """Processes that listen at `count` addresses between them; `places` are `host:port`."""

    def __init__(self, here: Ground, count: int, *, processes: int = 1, deaf: Collection[int] = ()) -> None:
        addresses = [f"127.0.{net}.{host}" for net, host in islice(product(_NETWORKS, _HOSTS), count)]
        self.port = free_port()
        self.places = [f"{address}:{self.port}" for address in addresses]
        certificates = authority(here).certify(addresses)
        self.names = [f"sink {self.port}/{number}" for number in range(processes)]
        sinks = []
        for number, name in enumerate(self.names):
            asked = {
                "places": [(address, self.port) for address in addresses[number::processes]],
                "tls": certificates,
                "deaf": [each // processes for each in deaf if each % processes == number],
            }
            sinks.append(_start(here, name, asked))
        self.arrivals = Arrivals(*sinks)

    def stop(self, here: Ground) -> None:
        for name in self.names:
            here.stop(name)


def authority(here: Ground) -> Authority:
    """Return the authority that this process and the ones it starts trust from now on."""
    made = Authority(here.folder)
    os.environ["SSL_CERT_FILE"] = str(made.certificate)
    return made


def firm_at(world: World, place: str, **stream: Any) -> Firm:  # noqa: ANN401 - columns of the stream
    """Register a company whose endpoint is `place`, proved."""

    def make(session: Any) -> Firm:  # noqa: ANN401 - a session
        signs = ECKey.generate_key("P-256", {"kid": "sig-1", "use": "sig"})
        firm = cast.register(session, signs, Place(place, new_key()), "kept-up-to-date")
        made = services.enable_endpoint(session, client_id=firm.client_id, url=firm.receiver.url, now=db.now())
        for name, value in stream.items():
            setattr(made, name, value)
        return firm

    cast.allow(place)
    firm: Firm = world.transact(make)
    return firm


def firms_at(world: World, places: Sequence[str], **stream: Any) -> list[Firm]:  # noqa: ANN401 - as above
    return [firm_at(world, place, **stream) for place in places]


def _start(here: Ground, name: str, asked: dict[str, Any]) -> Popen[str]:
    file = Path(here.folder) / f"{name.replace('/', '-')}.json"
    file.write_text(json.dumps(asked))
    sink = here.start(name, "-m", "bench.sink", str(file), pipe=True)
    json.loads((sink.stdout or sys.stdin).readline())
    return sink
