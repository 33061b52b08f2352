"""The command `portal`: one verb each, settings from the environment.

Beside a running demo the commands find its settings in the data folder, so that nothing has to be exported.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click
from redis import RedisError
from sqlalchemy.exc import OperationalError

from portal import commands, db, logs
from portal.commands import data_option, existing_file, settings_of
from portal.errors import InvalidError, MisconfiguredError, PortalError
from portal.queue import QUEUES

_METADATA_BYTES = 64 * 1024

port_number = click.IntRange(0, 65535)


class HalfATlsError(MisconfiguredError):
    code = "half-a-tls"
    public = "Give --certificate and --key together."


class PlainAddressError(MisconfiguredError):
    code = "plain-address"
    public = "With a certificate, PORTAL_URL must begin with https://."


class UnreadableMetadataError(InvalidError):
    code = "unreadable-metadata"
    public = "The metadata file is not a JSON object of at most 64 KiB."


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def portal() -> None:
    """Run and look after the Ultimate Customer Master."""


@portal.command()
@data_option
def migrate(data: Path) -> None:
    """Bring the database to the newest version, as its owner."""
    from portal import migrating  # noqa: PLC0415 - the other commands start faster without the migrations

    migrating.migrate(settings_of(data))
    click.echo("The database is at the newest version.")


@portal.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", type=port_number, default=8000, show_default=True)
@click.option("--workers", type=click.IntRange(1), default=2, show_default=True, help="Processes.")
@click.option("--blocking-threads", type=click.IntRange(1), default=4, show_default=True, help="Threads in each.")
@click.option(
    "--certificate", type=existing_file, help="TLS certificate with its chain; without one, TLS is a proxy's."
)
@click.option("--key", type=existing_file, help="The certificate's key.")
@data_option
def serve(
    *,
    host: str,
    port: int,
    workers: int,
    blocking_threads: int,
    certificate: Path | None,
    key: Path | None,
    data: Path,
) -> None:
    """Serve pages and API by granian."""
    from portal import server  # noqa: PLC0415 - the other commands start faster without the web server

    secure = settings_of(data).secure
    if (certificate is None) != (key is None):
        raise HalfATlsError
    tls = server.Tls(certificate=certificate, key=key) if certificate and key else None
    if tls is not None and not secure:
        raise PlainAddressError
    server.serve(host=host, port=port, workers=workers, blocking_threads=blocking_threads, tls=tls)


@portal.command()
@click.option("--queue", type=click.Choice(QUEUES), required=True, help="The one queue this worker answers.")
@data_option
def worker(queue: str, data: Path) -> None:
    """Answer one queue until stopped; exits with 1 when Valkey goes away, to be started again."""
    from portal import worker as workers  # noqa: PLC0415 - the other commands do not send

    logs.configure()
    sys.exit(workers.work(settings_of(data), queue))


@portal.command()
@data_option
def reconciler(data: Path) -> None:
    """Sweep each second for what is due and nobody was rung for."""
    from portal import worker as workers  # noqa: PLC0415 - the other commands do not send

    logs.configure()
    settings_of(data)
    workers.reconcile_for_ever()


@portal.command()
@data_option
def sequencer(data: Path) -> None:
    """Let the log grow each second by what was logged, and sign it with the key in LOG_KEY_FILE."""
    from portal import worker as workers  # noqa: PLC0415 - the other commands do not sign

    logs.configure()
    settings_of(data)
    workers.sequence_for_ever()


@portal.command("log-key")
@click.option("--name", help="The log's name, that of no other: by default the portal's host, with /log behind it.")
@data_option
def log_key(name: str | None, data: Path) -> None:
    """Make the key of a new log in LOG_KEY_FILE, and print the key to check it with."""
    from portal.ledger import jobs  # noqa: PLC0415 - the other commands do not need it
    from portal.vault import log_key as keys_of_logs  # noqa: PLC0415 - the other commands do not need it

    settings = settings_of(data)
    if settings.log_files is None:
        raise jobs.LogKeyUnsetError
    made = keys_of_logs.create(settings.log_files.key, name=name or settings.log_name)
    click.echo(str(made.verifier()))


@portal.command()
@click.option("--port", type=port_number, default=8000, show_default=True, help="The portal's port; 0 for any.")
@click.option("--company-port", type=port_number, default=8001, show_default=True, help="The first company's port.")
@data_option
@click.option(
    "--ready-file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Gets a JSON object with addresses and sign-ins once everything answers.",
)
def demo(port: int, company_port: int, data: Path, ready_file: Path | None) -> None:
    """Start everything on loopback: servers, portal, workers, two demo companies. Ctrl-C stops it."""
    from portal.demo import launcher  # noqa: PLC0415 - it loads the whole application

    logs.configure()
    launcher.run(port=port, company_port=company_port, data=data, ready_file=ready_file)


@portal.command()
@data_option
def reset(data: Path) -> None:
    """Delete what the demo keeps."""
    from portal.demo.places import Places  # noqa: PLC0415 - the other commands do not need the demo

    Places(data.absolute()).empty()
    click.echo("The demo's data are gone.")


@portal.command("client-register")
@click.option("--company", required=True, help="The company's short name, as in its page's address.")
@click.option(
    "--metadata",
    type=existing_file,
    required=True,
    help="RFC 7591 client metadata with its jwks, as JSON.",
)
@data_option
def client_register(company: str, metadata: Path, data: Path) -> None:
    """Register an OAuth client and print its client_id; what is left to do is said beside it."""
    from portal.companies import queries, services  # noqa: PLC0415 - the other commands do not need it

    document, settings = _read_metadata(metadata), settings_of(data)
    with db.transaction(settings.database_url) as session:
        client_id = services.register_client(session, company_slug=company, metadata=document, now=db.now())
        keys = queries.key_list(session, client_id, now=db.now())
    click.echo(client_id)
    for key in keys:
        if key.use == "enc":
            click.echo(f"{key.kid}: nothing is sent before its holder has proved that they can open it.", err=True)
    click.echo(f"Prove it at {settings.url}/org/apps/{client_id}/keys or by GET {settings.url}/api/v1/keys.", err=True)


@portal.command("company-verify")
@click.option("--company", required=True, help="The company's short name, as in its page's address.")
@data_option
def company_verify(company: str, data: Path) -> None:
    """Note that someone has checked who a company is: it appears in the register and may have live apps."""
    from portal.companies import services  # noqa: PLC0415 - the other commands do not need it

    with db.transaction(settings_of(data).database_url) as session:
        services.verify_company(session, slug=company, now=db.now())
    click.echo(f"{company} is verified.")


@portal.command()
@data_option
def doctor(data: Path) -> None:
    """Check keys, database, Valkey, clock and mail, and say what to mend."""
    from portal import doctor as surgery  # noqa: PLC0415 - the other commands do not need it

    findings = surgery.examine(settings_of(data))
    for finding in findings:
        click.echo(f"{'ok  ' if finding.well else 'MEND'}  {finding.name}: {finding.text}")
    sys.exit(0 if all(finding.well for finding in findings) else 1)


@portal.command()
@data_option
def figures(data: Path) -> None:
    """Say how many companies' copies equal the master."""
    from portal.sync import copies  # noqa: PLC0415 - the other commands do not need it

    with db.transaction(settings_of(data).database_url) as session:
        click.echo(copies.share(session, now=db.now()).words)


@portal.command("operator-add")
@click.argument("email")
@data_option
def operator_add(email: str, data: Path) -> None:
    """Let the account with this address look after the portal, under /ops.

    There it reviews purposes, decides questions, declares consents void, and reads what the nights found in the log.
    """
    from portal.identity import operators  # noqa: PLC0415 - the other commands do not need it
    from portal.vault import keyring  # noqa: PLC0415 - the other commands do not need it

    settings = settings_of(data)
    with db.transaction(settings.database_url) as session:
        operators.add(session, keyring=keyring.load(settings.keyring_file), email=email, now=db.now())
    click.echo(f"{email} is an operator.")


@portal.command("operator-remove")
@click.argument("email")
@data_option
def operator_remove(email: str, data: Path) -> None:
    """Take that away again, from the next page on."""
    from portal.identity import operators  # noqa: PLC0415 - the other commands do not need it
    from portal.vault import keyring  # noqa: PLC0415 - the other commands do not need it

    settings = settings_of(data)
    with db.transaction(settings.database_url) as session:
        operators.remove(session, keyring=keyring.load(settings.keyring_file), email=email)
    click.echo(f"{email} is no operator.")


@portal.command()
@click.argument("file", type=existing_file)
@click.option("--verifier", help="The log's key, from elsewhere than the file: it must have signed what is in it.")
@click.option(
    "--older", type=existing_file, help="A file of the same log that you fetched before: all of it must be in this."
)
def verify(file: Path, verifier: str | None, older: Path | None) -> None:
    """Check a person's log as they downloaded it; needs neither settings nor the portal, exits with 1 if it is wrong.

    That the newest entries were left out can be known by --older alone.
    """
    from portal.ledger import verifying  # noqa: PLC0415 - the other commands do not need it
    from portal.vault.notes import Verifier  # noqa: PLC0415 - the other commands do not need it

    known = Verifier.read(verifier) if verifier else None
    before = verifying.read(older) if older else None
    found = verifying.verify(verifying.read(file), known=known, older=before)
    for line in verifying.words(found, given=known is not None):
        click.echo(line)
    sys.exit(1 if found.wrong else 0)


@portal.command("reconcile-log")
@data_option
def reconcile_log(data: Path) -> None:
    """Hold the log against everything that was sent, asked and said, now; exits with 1 if they differ."""
    from portal.sync import reconciliation  # noqa: PLC0415 - the other commands do not need it

    night = reconciliation.run(settings_of(data).database_url)
    for name, count in night.counts.items():
        click.echo(f"{count:>12,}  {name}")
    wrong = reconciliation.said(night)
    for sentence in wrong or ["Everything agrees."]:
        click.echo(sentence)
    sys.exit(1 if wrong else 0)


portal.add_command(commands.keys)
portal.add_command(commands.verify_receipt)
portal.add_command(commands.consent_void)


def main() -> None:
    """Run the command line; a refusal is one sentence on standard error and exit status 1."""
    try:
        portal()
    except PortalError as error:
        _give_up(error.public)
    except OperationalError:
        _give_up("The database does not answer: portal doctor says what to mend.")
    except RedisError:
        _give_up("Valkey does not answer: portal doctor says what to mend.")


def _give_up(sentence: str) -> None:
    click.echo(sentence, err=True)
    sys.exit(1)


def _read_metadata(file: Path) -> dict[str, Any]:
    try:
        if file.stat().st_size > _METADATA_BYTES:
            raise UnreadableMetadataError
        document = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise UnreadableMetadataError from error
    if not isinstance(document, dict):
        raise UnreadableMetadataError
    return document
