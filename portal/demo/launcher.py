"""`portal demo`: brings everything up in order, says where to look, and takes everything down again."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

import click

from portal import config, db, migrating, wiring
from portal.demo import firms, seed
from portal.demo.cast import BRIGHTWELL, CAST, DANA, OLU, TEST_CLIENT_COMPANY
from portal.demo.firms import KeyMakers
from portal.demo.mailbox import Mailbox
from portal.demo.places import LOOPBACK, Places, demo_company, free_port, port_or_any
from portal.demo.processes import Child, Supervisor, portal_command, portal_environment
from portal.demo.steps import answers, step, until
from portal.embedded.postgres import APP, OWNER, Postgres
from portal.embedded.valkey import Valkey
from portal.errors import MisconfiguredError
from portal.queue import QUEUES, connection
from portal.vault import keyring, log_key, signing

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from redis import Redis

    from portal.config import Settings
    from portal.demo.firms import Firm

_SETTINGS = (
    "DATABASE_URL", "DATABASE_OWNER_URL", "REDIS_URL", "KEYRING_FILE", "LOG_KEY_FILE", "PORTAL_URL", "SMTP_URL",
    "MAIL_FROM", "EGRESS_ALLOW", "PORTAL_DEMO",
)  # fmt: skip
_SWEEPERS = ("reconciler", "sequencer")
_READY_SECONDS = 60.0


class OtherKeyringError(MisconfiguredError):
    code = "other-keyring"
    public = "The database was filled with another keyring than this data folder's: name the folder, or empty it."


@dataclass(frozen=True)
class Addresses:
    """Where the demo answers; `localhost`, so that browsers and cookies treat it as a trustworthy origin."""

    portal_port: int
    firms: tuple[Firm, Firm]

    @property
    def portal(self) -> str:
        return f"http://localhost:{self.portal_port}"


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
        addresses = Addresses(free_port(port, purpose="the portal"), firms.running(places, company_port))
        try:
            _bring_up(supervisor, places, addresses, program, ready_file)
            supervisor.watch()
        except KeyboardInterrupt:
            click.echo("\nStopping.")
        finally:
            if ready_file is not None:
                ready_file.unlink(missing_ok=True)


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


def _bring_up(
    supervisor: Supervisor, places: Places, addresses: Addresses, program: Path, ready_file: Path | None
) -> None:
    click.echo("Starting the demo.")
    makers = KeyMakers(places, addresses.firms, program)
    mailbox = Mailbox(page_port=port_or_any(addresses.firms[0].port + 1, purpose="the mailbox"))
    _start_servers(supervisor, places, mailbox)
    settings = _settle(places, addresses, mailbox)
    with step("database at the newest version"):
        _migrate(settings)
    # They load while the people are made; what they would find unfinished is committed at once.
    children = _start_portal(supervisor, places, addresses)
    with step("companies' keys"):
        makers.wait()
    with step("people, companies and consents"):
        seeded = _seed(settings, places, addresses)
    started = _start_companies(supervisor, places, addresses, program=program, clients=seeded.clients)
    with step("portal, workers and reconciler"):
        _wait_for_portal(children, settings, addresses)
        # They find what others lost, and what was logged: nothing waits for them.
        for name in _SWEEPERS:
            _run(supervisor, places, name, (name,))
    with step("demo companies"):
        newly_proved = _wait_for_companies(started, settings, seeded.clients)
    if newly_proved:
        with step("what people share with them already"):
            firms.wait_for_news(settings, newly_proved)
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
    allowed = [f"{host}:{firm.port}" for firm in addresses.firms for host in ("localhost", LOOPBACK)]
    os.environ |= {
        "KEYRING_FILE": str(places.keyring),
        "LOG_KEY_FILE": str(places.log_key),
        "PORTAL_URL": addresses.portal,
        "SMTP_URL": mailbox.smtp_url,
        "MAIL_FROM": "portal@localhost",
        "EGRESS_ALLOW": ",".join(filter(None, [*allowed, os.environ.get("EGRESS_ALLOW", "")])),
        "PORTAL_DEMO": "1",
    }
    lines = (f"{name}={os.environ[name]}\n" for name in _SETTINGS if name in os.environ)
    places.write_secret(places.settings, "".join(lines))
    settings = config.current()
    if not places.log_key.exists():
        log_key.create(places.log_key, name=settings.log_name)
    return settings


def _migrate(settings: Settings) -> None:
    migrating.migrate(settings)
    with db.transaction(settings.database_url) as session:
        try:
            signing.current(session, keyring=keyring.load(settings.keyring_file))
        except keyring.SealBrokenError as error:
            raise OtherKeyringError from error


def _seed(settings: Settings, places: Places, addresses: Addresses) -> seed.Seeded:
    wiring.wire()
    return seed.ensure(settings, metadata=firms.metadata(places, addresses.firms), now=db.now())


def _start_portal(supervisor: Supervisor, places: Places, addresses: Addresses) -> dict[str, Child]:
    commands = {
        "portal": ("serve", "--port", str(addresses.portal_port)),
        **{f"worker-{name}": ("worker", "--queue", name) for name in QUEUES},
    }
    return {name: _run(supervisor, places, name, arguments) for name, arguments in commands.items()}


def _run(supervisor: Supervisor, places: Places, name: str, arguments: Sequence[str]) -> Child:
    child = Child(name, portal_command(*arguments), portal_environment(), places.log(name))
    supervisor.run(child)
    return child


def _wait_for_portal(children: Mapping[str, Child], settings: Settings, addresses: Addresses) -> None:
    discovery = f"{addresses.portal}/.well-known/oauth-authorization-server"
    until(children["portal"], lambda: answers(discovery), seconds=_READY_SECONDS)
    valkey = connection(settings.redis_url)
    for name in QUEUES:
        until(children[f"worker-{name}"], partial(_answered, valkey, name), seconds=_READY_SECONDS)


def _answered(valkey: Redis, name: str) -> bool:
    return bool(valkey.exists(f"rq:workers:{name}"))


def _start_companies(
    supervisor: Supervisor, places: Places, addresses: Addresses, *, program: Path, clients: Mapping[str, str]
) -> list[tuple[Firm, Child]]:
    started = [
        (firm, firm.child(places, program, portal=addresses.portal, client_id=clients[firm.slug]))
        for firm in addresses.firms
    ]
    for _firm, child in started:
        supervisor.run(child)
    return started


def _wait_for_companies(
    started: Sequence[tuple[Firm, Child]], settings: Settings, clients: Mapping[str, str]
) -> list[str]:
    """Wait until they answer; return the clients whose endpoint has proved itself only now."""
    proved = []
    for firm, child in started:
        until(child, partial(answers, f"{firm.address}/"), seconds=_READY_SECONDS)
        if firms.prove(settings, firm, clients[firm.slug]):
            proved.append(clients[firm.slug])
    return proved


def _report(places: Places, addresses: Addresses, mailbox: Mailbox, seeded: seed.Seeded) -> dict[str, Any]:
    keys = places.client(TEST_CLIENT_COMPANY)
    return {
        "portal": addresses.portal,
        "company": addresses.firms[0].address,
        "mailbox": mailbox.url,
        "people": [
            {"name": person.name, "email": person.email, "password": person.password, "story": person.story}
            for person in CAST
        ],
        "staff": {"name": DANA.name, "email": DANA.email, "password": DANA.password, "company": BRIGHTWELL},
        "operator": {"name": OLU.name, "email": OLU.email, "password": OLU.password},
        "demo_company": firms.report(addresses.firms[0], seeded.clients),
        "second_company": firms.report(addresses.firms[1], seeded.clients),
        "test_client": {
            "company": TEST_CLIENT_COMPANY,
            "client_id": seeded.clients[TEST_CLIENT_COMPANY],
            "redirect_uri": firms.callback(TEST_CLIENT_COMPANY),
            "private_key_file": str(keys / "signing.private.json"),
            "encryption_key_file": str(keys / "encryption.private.json"),
            "dpop_key_file": str(keys / "dpop.private.json"),
            "metadata_file": str(keys / firms.METADATA),
            "purposes": list(seeded.test_client_purposes),
            "subjects": dict(seeded.test_client_subjects),
        },
        "settings_file": str(places.settings),
        "logs": str(places.data / "logs"),
    }


def _say(report: dict[str, Any]) -> None:
    lines = {"Portal": report["portal"]}
    lines |= {report[role]["name"]: report[role]["address"] for role in ("demo_company", "second_company")}
    lines |= {"Mailbox": report["mailbox"]}
    click.echo()
    for name, address in lines.items():
        click.echo(f"{name:<18} {address}")
    click.echo("\nSign in as")
    for person in report["people"]:
        click.echo(f"  {person['email']:<34} {person['password']:<30} {person['story']}")
    staff = report["staff"]
    click.echo(f"  {staff['email']:<34} {staff['password']:<30} works for Brightwell Energy")
    operator = report["operator"]
    click.echo(f"  {operator['email']:<34} {operator['password']:<30} looks after the portal, under /ops")
    click.echo("\nEverything answers. Ctrl-C stops it.")
