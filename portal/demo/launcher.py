"""`portal demo`: brings everything up in order, says where to look, and takes everything down again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import urlsplit

import click

from portal import config, db, schema, wiring
from portal.demo import seed
from portal.demo.cast import BILLS, BRIGHTWELL, CAST, COMPANIES, DANA, TEST_CLIENT_COMPANY
from portal.demo.mailbox import Mailbox
from portal.demo.places import LOOPBACK, Places, demo_company, free_port, port_or_any
from portal.demo.processes import Child, Supervisor, portal_command, portal_environment, stranger_environment
from portal.demo.steps import answers, step, until
from portal.embedded.postgres import APP, OWNER, Postgres
from portal.embedded.valkey import Valkey
from portal.errors import MisconfiguredError
from portal.queue import QUEUES, connection
from portal.sync import queries as sync_queries
from portal.sync import services as sync
from portal.vault import keyring, signing

if TYPE_CHECKING:
    from pathlib import Path

    from redis import Redis

    from portal.config import Settings

_SETTINGS = (
    "DATABASE_URL", "DATABASE_OWNER_URL", "REDIS_URL", "KEYRING_FILE", "PORTAL_URL", "SMTP_URL", "MAIL_FROM",
    "EGRESS_ALLOW", "PORTAL_DEMO",
)  # fmt: skip
_READY_SECONDS = 60.0
_METADATA = "metadata.json"


class OtherKeyringError(MisconfiguredError):
    code = "other-keyring"
    public = "The database was filled with another keyring than this data folder's: name the folder, or empty it."


@dataclass(frozen=True)
class Addresses:
    """Where the demo answers; `localhost`, so that browsers and cookies treat it as a trustworthy origin."""

    portal_port: int
    company_port: int

    @property
    def portal(self) -> str:
        return f"http://localhost:{self.portal_port}"

    @property
    def company(self) -> str:
        return f"http://localhost:{self.company_port}"

    @property
    def redirect_uri(self) -> str:
        return f"{self.company}/callback"

    @property
    def events(self) -> str:
        return f"{self.company}/events"


def run(*, port: int, company_port: int, data: Path, ready_file: Path | None) -> None:
    """Run the demo until Ctrl-C or SIGTERM; `ready_file` is written once everything answers."""
    places = Places(data.absolute())
    program = demo_company()
    # Both by name: a shell's background jobs are started with SIGINT ignored.
    signal.signal(signal.SIGINT, _interrupt)
    signal.signal(signal.SIGTERM, _interrupt)
    if ready_file is not None:
        ready_file.unlink(missing_ok=True)
    with places.alone(), Supervisor() as supervisor:
        addresses = _addresses(places, port, company_port)
        try:
            _bring_up(supervisor, places, addresses, program, ready_file)
            supervisor.watch()
        except KeyboardInterrupt:
            click.echo("\nStopping.")
        finally:
            if ready_file is not None:
                ready_file.unlink(missing_ok=True)


def _addresses(places: Places, port: int, company_port: int) -> Addresses:
    """Choose the ports; the company's stays what it was, since people's consents name its address."""
    known = _registered_port(places)
    if known and company_port not in {0, known}:
        sentence = f"This data folder knows the demo company at port {known}: use it, or empty the folder by reset."
        raise MisconfiguredError(sentence)
    return Addresses(
        free_port(port, purpose="the portal"), free_port(known or company_port, purpose="the demo company")
    )


def _registered_port(places: Places) -> int:
    metadata = places.company / _METADATA
    if not metadata.exists():
        return 0
    return urlsplit(json.loads(metadata.read_text())["redirect_uris"][0]).port or 0


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


def _bring_up(
    supervisor: Supervisor, places: Places, addresses: Addresses, program: Path, ready_file: Path | None
) -> None:
    click.echo("Starting the demo.")
    mailbox = Mailbox(page_port=port_or_any(addresses.company_port + 1, purpose="the mailbox"))
    _start_servers(supervisor, places, mailbox)
    settings = _settle(places, addresses, mailbox)
    with step("database at the newest version"):
        _migrate(settings)
    with step("companies' keys"):
        _make_keys(places, addresses, program)
    with step("people, companies and consents"):
        seeded = _seed(settings, places)
    with step("portal, workers and reconciler"):
        _start_portal(supervisor, settings, places, addresses)
    with step("demo company"):
        _start_company(supervisor, settings, places, addresses, program=program, client_id=seeded.clients[BRIGHTWELL])
    report = _report(places, addresses, mailbox, seeded)
    _say(report)
    if ready_file is not None:
        places.write_json(ready_file.absolute(), report)


def _start_servers(supervisor: Supervisor, places: Places, mailbox: Mailbox) -> None:
    if "DATABASE_URL" not in os.environ:
        with step("PostgreSQL"):
            postgres = Postgres(places.data)
            supervisor.serve("PostgreSQL", postgres)
            os.environ |= {"DATABASE_URL": postgres.url(APP), "DATABASE_OWNER_URL": postgres.url(OWNER)}
    if "REDIS_URL" not in os.environ:
        with step("Valkey"):
            valkey = Valkey(places.data)
            supervisor.serve("Valkey", valkey)
            os.environ["REDIS_URL"] = valkey.url
    with step("mailbox"):
        supervisor.serve("The mailbox", mailbox)


def _settle(places: Places, addresses: Addresses, mailbox: Mailbox) -> Settings:
    """Put the demo's settings into the environment of every process to come, and beside the data."""
    if not places.keyring.exists():
        keyring.create(places.keyring)
    allowed = [f"localhost:{addresses.company_port}", f"{LOOPBACK}:{addresses.company_port}"]
    os.environ |= {
        "KEYRING_FILE": str(places.keyring),
        "PORTAL_URL": addresses.portal,
        "SMTP_URL": mailbox.smtp_url,
        "MAIL_FROM": "portal@localhost",
        "EGRESS_ALLOW": ",".join(filter(None, [*allowed, os.environ.get("EGRESS_ALLOW", "")])),
        "PORTAL_DEMO": "1",
    }
    lines = (f"{name}={os.environ[name]}\n" for name in _SETTINGS if name in os.environ)
    places.write_secret(places.settings, "".join(lines))
    return config.current()


def _migrate(settings: Settings) -> None:
    schema.migrate(settings.database_owner_url, app_url=settings.database_url)
    with db.transaction(settings.database_url) as session:
        keys = keyring.load(settings.keyring_file)
        signing.ensure(session, keyring=keys, now=db.now())
        session.flush()
        try:
            signing.current(session, keyring=keys)
        except keyring.SealBrokenError as error:
            raise OtherKeyringError from error


def _make_keys(places: Places, addresses: Addresses, program: Path) -> None:
    """Have each company's keys made by the company's own program; the portal sees the public halves only."""
    folders = {
        company.slug: places.company if company.slug == BRIGHTWELL else places.client(company.slug)
        for company in COMPANIES
    }
    makers = [
        subprocess.Popen(  # noqa: S603 - our own program and arguments
            [
                *(sys.executable, str(program / "make_keys.py"), "--folder", str(folder)),
                *("--redirect-uri", addresses.redirect_uri if slug == BRIGHTWELL else _callback(slug)),
            ],
            env=stranger_environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for slug, folder in folders.items()
        if slug == BRIGHTWELL or not (folder / _METADATA).exists()
    ]
    statuses = [maker.wait() for maker in makers]
    if any(statuses):
        raise MisconfiguredError(f"The keys of a demo company could not be made: try {program / 'make_keys.py'}.")


def _callback(slug: str) -> str:
    # Nobody listens there: these companies are registered, not running.
    return f"https://{slug}.example/callback"


def _seed(settings: Settings, places: Places) -> seed.Seeded:
    wiring.wire()
    metadata = {
        company.slug: (places.company if company.slug == BRIGHTWELL else places.client(company.slug)) / _METADATA
        for company in COMPANIES
    }
    return seed.ensure(settings, metadata=metadata, now=db.now())


def _start_portal(supervisor: Supervisor, settings: Settings, places: Places, addresses: Addresses) -> None:
    commands = {
        "portal": ("serve", "--port", str(addresses.portal_port)),
        **{f"worker-{name}": ("worker", "--queue", name) for name in QUEUES},
        "reconciler": ("reconciler",),
    }
    children = {
        name: Child(name, portal_command(*arguments), portal_environment(), places.log(name))
        for name, arguments in commands.items()
    }
    for child in children.values():
        supervisor.run(child)
    discovery = f"{addresses.portal}/.well-known/oauth-authorization-server"
    until(children["portal"], lambda: answers(discovery), seconds=_READY_SECONDS)
    valkey = connection(settings.redis_url)
    for name in QUEUES:
        until(children[f"worker-{name}"], partial(_answered, valkey, name), seconds=_READY_SECONDS)


def _answered(valkey: Redis, name: str) -> bool:
    return bool(valkey.exists(f"rq:workers:{name}"))


def _start_company(
    supervisor: Supervisor,
    settings: Settings,
    places: Places,
    addresses: Addresses,
    *,
    program: Path,
    client_id: str,
) -> None:
    command = [
        *(sys.executable, str(program / "run.py"), "--folder", str(places.company), "--portal", addresses.portal),
        *("--client-id", client_id, "--port", str(addresses.company_port)),
        *("--purpose", BILLS),
    ]
    child = Child("demo-company", command, stranger_environment(), places.log("demo-company"))
    supervisor.run(child)
    until(child, lambda: answers(addresses.company + "/"), seconds=_READY_SECONDS)
    _prove_endpoint(settings, client_id, addresses.events)


def _prove_endpoint(settings: Settings, client_id: str, url: str) -> None:
    with db.transaction(settings.database_url) as session:
        known = sync_queries.endpoint_of(session, client_id=client_id)
        if known is not None and known.url == url and known.state == "enabled":
            return
        sync.register_endpoint(session, client_id=client_id, url=url, now=db.now())
    with db.transaction(settings.database_url) as session:
        sync.prove_endpoint(session, keyring=keyring.load(settings.keyring_file), client_id=client_id, now=db.now())


def _report(places: Places, addresses: Addresses, mailbox: Mailbox, seeded: seed.Seeded) -> dict[str, Any]:
    keys = places.client(TEST_CLIENT_COMPANY)
    return {
        "portal": addresses.portal,
        "company": addresses.company,
        "mailbox": mailbox.url,
        "people": [
            {"name": person.name, "email": person.email, "password": person.password, "story": person.story}
            for person in CAST
        ],
        "staff": {"name": DANA.name, "email": DANA.email, "password": DANA.password, "company": BRIGHTWELL},
        "demo_company": {"slug": BRIGHTWELL, "client_id": seeded.clients[BRIGHTWELL], "purpose": BILLS},
        "test_client": {
            "company": TEST_CLIENT_COMPANY,
            "client_id": seeded.clients[TEST_CLIENT_COMPANY],
            "redirect_uri": _callback(TEST_CLIENT_COMPANY),
            "private_key_file": str(keys / "signing.private.json"),
            "encryption_key_file": str(keys / "encryption.private.json"),
            "dpop_key_file": str(keys / "dpop.private.json"),
            "metadata_file": str(keys / _METADATA),
            "purposes": list(seeded.test_client_purposes),
            "subjects": dict(seeded.test_client_subjects),
        },
        "settings_file": str(places.settings),
        "logs": str(places.data / "logs"),
    }


def _say(report: dict[str, Any]) -> None:
    click.echo(f"\nPortal        {report['portal']}")
    click.echo(f"Demo company  {report['company']}")
    click.echo(f"Mailbox       {report['mailbox']}\n\nSign in as")
    for person in report["people"]:
        click.echo(f"  {person['email']:<34} {person['password']:<30} {person['story']}")
    staff = report["staff"]
    click.echo(f"  {staff['email']:<34} {staff['password']:<30} works for Brightwell Energy")
    click.echo("\nEverything answers. Ctrl-C stops it.")
