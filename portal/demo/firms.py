"""The demo's companies as programs: their keys, their registration documents, and the two that run."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from portal import db
from portal.demo.cast import BILLS, BRIGHTWELL, COMPANIES, MEMBERSHIP, NORTHSIDE
from portal.demo.places import free_port
from portal.demo.processes import Child, stranger_environment
from portal.errors import MisconfiguredError
from portal.sync import queries as sync_queries
from portal.sync import services as sync
from portal.vault import keyring

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path

    from portal.config import Settings
    from portal.demo.places import Places

METADATA = "metadata.json"
_NEWS_SECONDS = 15.0
_LOOK_SECONDS = 0.1
_NAMES = {company.slug: company.trading_name for company in COMPANIES}


@dataclass(frozen=True)
class Firm:
    """A company that runs: where it keeps its own data, where it answers, what it asks for, how it looks."""

    slug: str
    purpose: str
    look: str
    folder: Path
    port: int

    @property
    def name(self) -> str:
        return _NAMES[self.slug]

    @property
    def address(self) -> str:
        """`localhost`, so that browsers and cookies treat it as a trustworthy origin."""
        return f"http://localhost:{self.port}"

    @property
    def redirect_uri(self) -> str:
        return f"{self.address}/callback"

    def child(self, places: Places, program: Path, *, portal: str, client_id: str) -> Child:
        """Return its process, which gets none of the portal's settings."""
        command = [
            *(sys.executable, str(program / "run.py"), "--folder", str(self.folder), "--portal", portal),
            *("--client-id", client_id, "--port", str(self.port), "--purpose", self.purpose),
            *("--name", self.name, "--look", self.look),
        ]
        name = f"company-{self.slug}"
        return Child(name, command, stranger_environment(), places.log(name))


def running(places: Places, company_port: int) -> tuple[Firm, Firm]:
    """Return both that run; a company's port stays what it was, since people's consents name its address."""
    first = _port(places.company, company_port, "the demo company")
    wanted = _known_port(places.second) or (company_port + 2 if company_port else 0)
    second = _port(places.second, wanted, "the second demo company")
    return (
        Firm(BRIGHTWELL, BILLS, "orange", places.company, first),
        Firm(NORTHSIDE, MEMBERSHIP, "green", places.second, second),
    )


def metadata(places: Places, firms: Sequence[Firm]) -> dict[str, Path]:
    """Return where each company's registration document lies, by slug."""
    own = {firm.slug: firm.folder for firm in firms}
    return {company.slug: own.get(company.slug, places.client(company.slug)) / METADATA for company in COMPANIES}


def callback(slug: str) -> str:
    """Return the redirect URI of a company that is registered and does not run: nobody listens there."""
    return f"https://{slug}.example/callback"


class KeyMakers:
    """Each company's keys, made by its own program side by side; the portal sees the public halves only."""

    def __init__(self, places: Places, firms: Sequence[Firm], program: Path) -> None:
        self._program = program / "make_keys.py"
        uris = {firm.slug: firm.redirect_uri for firm in firms}
        self._makers = [
            self._start(file.parent, uris.get(slug) or callback(slug), _NAMES[slug])
            for slug, file in metadata(places, firms).items()
            if not file.exists()
        ]

    def wait(self) -> None:
        """Raise `MisconfiguredError` unless every company has its keys."""
        statuses = [maker.wait() for maker in self._makers]
        if any(statuses):
            raise MisconfiguredError(f"The keys of a demo company could not be made: try {self._program}.")

    def _start(self, folder: Path, redirect_uri: str, name: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(  # noqa: S603 - our own program and arguments
            [
                *(sys.executable, str(self._program), "--folder", str(folder)),
                *("--redirect-uri", redirect_uri, "--name", name),
            ],
            env=stranger_environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )


def prove(settings: Settings, firm: Firm, client_id: str) -> bool:
    """Have the company prove where it is told of changes, and tell it there; False when it has before."""
    url = f"{firm.address}/events"
    with db.transaction(settings.database_url) as session:
        known = sync_queries.stream_of(session, client_id=client_id)
        if known is not None and known.url == url and known.state == "enabled":
            return False
        keys = keyring.load(settings.keyring_file)
        asked = sync.challenge(session, keyring=keys, client_id=client_id, url=url, now=db.now())
    sync.await_echo(asked)
    with db.transaction(settings.database_url) as session:
        sync.enable_endpoint(session, client_id=client_id, url=url, now=db.now())
    return True


def wait_for_news(settings: Settings, client_ids: Collection[str]) -> None:
    """Wait until the companies that run have what people shared before, but not longer than anyone would."""
    deadline = time.monotonic() + _NEWS_SECONDS
    while time.monotonic() < deadline:
        with db.transaction(settings.database_url) as session:
            if not sync_queries.waiting(session, client_ids=client_ids):
                return
        time.sleep(_LOOK_SECONDS)


def report(firm: Firm, clients: Mapping[str, str]) -> dict[str, str]:
    """Return what an outsider needs to know of a company that runs."""
    return {
        "name": firm.name,
        "address": firm.address,
        "slug": firm.slug,
        "client_id": clients[firm.slug],
        "purpose": firm.purpose,
    }


def _port(folder: Path, wanted: int, purpose: str) -> int:
    known = _known_port(folder)
    if known and wanted not in {0, known}:
        sentence = f"This data folder knows {purpose} at port {known}: use it, or empty the folder by reset."
        raise MisconfiguredError(sentence)
    return free_port(known or wanted, purpose=purpose)


def _known_port(folder: Path) -> int:
    file = folder / METADATA
    if not file.exists():
        return 0
    return urlsplit(json.loads(file.read_text())["redirect_uris"][0]).port or 0
