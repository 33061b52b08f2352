"""Commands about keys and signatures, and what every command begins with."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from portal import config, db

if TYPE_CHECKING:
    from uuid import UUID

    from portal.config import Settings
    from portal.vault.signing import KeyFacts

_DATA = Path(".data")

existing_file = click.Path(exists=True, dir_okay=False, path_type=Path)
data_option = click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    default=_DATA,
    show_default=True,
    help="The demo's data folder.",
)


def settings_of(data: Path) -> Settings:
    """Return the settings of the environment, or else of the demo in `data`."""
    file = data / "settings.env"
    if "DATABASE_URL" not in os.environ and file.is_file():
        for line in file.read_text().splitlines():
            name, _, value = line.partition("=")
            os.environ.setdefault(name, value)
    return config.current()


@click.group()
def keys() -> None:
    """See and change the keys that the portal signs with."""


@keys.command("list")
@data_option
def keys_list(data: Path) -> None:
    """List the published keys, and say what each is for now."""
    from portal.vault import signing  # noqa: PLC0415 - the other commands do not need it

    now = db.now()
    with db.transaction(settings_of(data).database_url) as session:
        for key in signing.keys(session):
            click.echo(f"{key.kid}  {_standing(key, now)}")


@keys.command("renew-records")
@click.option("--now", "compromised", is_flag=True, help="The key is in other hands: say so beside it.")
@data_option
def keys_renew_records(data: Path, *, compromised: bool) -> None:
    """Sign consents with a new key from now on; what the one before has signed stays checkable."""
    from portal.vault import keyring, record_keys  # noqa: PLC0415 - the other commands do not need it

    settings = settings_of(data)
    with db.transaction(settings.database_url) as session:
        made = record_keys.turn(
            session, keyring=keyring.load(settings.keyring_file), now=db.now(), compromised=compromised
        )
    click.echo(f"{made} signs consents from now on.")


@keys.command("rotate")
@click.option("--now", "at_once", is_flag=True, help="A key is compromised: sign with a new one at once.")
@data_option
def keys_rotate(data: Path, *, at_once: bool) -> None:
    """Publish a new key that signs in an hour; with --now, withdraw every other key at once."""
    from portal import wiring  # noqa: PLC0415 - the other commands do not need it
    from portal.vault import keyring, signing  # noqa: PLC0415 - the other commands do not need it

    wiring.wire()
    settings, change = settings_of(data), signing.replace if at_once else signing.rotate
    with db.transaction(settings.database_url) as session:
        made = change(session, keyring=keyring.load(settings.keyring_file), now=db.now())
    if at_once:
        click.echo(f"{made.kid} signs now. Every other key is withdrawn: what they signed can no longer be verified.")
        click.echo("Companies that keep our keys for up to five minutes may refuse what they get until then.")
    else:
        click.echo(f"{made.kid} is published and signs from {_moment(made.signs_from)}.")


def _standing(key: KeyFacts, now: datetime) -> str:
    if key.signs_from > now:
        return f"signs from {_moment(key.signs_from)}"
    if key.signs_until is None or key.leaves_at is None:
        return f"signs since {_moment(key.signs_from)}"
    if key.signs_until > now:
        return f"signs until {_moment(key.signs_until)}"
    return f"signs no more, is published until {_moment(key.leaves_at)}"


def _moment(at: datetime) -> str:
    return f"{at.astimezone(UTC):%d %B %Y %H:%M} UTC"


@click.command("verify-receipt")
@click.argument("file", type=existing_file)
@click.option("--keys", type=existing_file, help="The set published at /.well-known/consent-keys, as you keep it.")
def verify_receipt(file: Path, keys: Path | None) -> None:
    """Check the signatures of a receipt and of each of its steps; nobody is asked."""
    from portal.consent import verifying  # noqa: PLC0415 - the other commands do not need it

    found = verifying.check(verifying.read(file), verifying.read(keys) if keys else None)
    click.echo(f"{found.number}: as it was signed, with {found.steps} steps, {found.signed} of them signed each.")
    for kid in found.revoked:
        click.echo(f"{kid} was withdrawn: it proves only what the log of disclosures confirms.", err=True)
    if keys is None:
        click.echo(f"It was checked with its own keys. Compare them with {found.keys_url}: {' '.join(found.kids)}")


@click.command("consent-void")
@click.argument("grant_id", type=click.UUID)
@click.option("--reason", required=True, help="One sentence that the person and the company read.")
@data_option
def consent_void(grant_id: UUID, reason: str, data: Path) -> None:
    """Declare void a consent that should not have begun: nothing more leaves, and what left is to be deleted."""
    from portal import wiring  # noqa: PLC0415 - the other commands do not need it
    from portal.consent import queries, renewing  # noqa: PLC0415 - the other commands do not need it

    wiring.wire()
    with db.transaction(settings_of(data).database_url) as session:
        held = queries.by_id(session, grant_id=grant_id)
        renewing.invalidate(session, person_id=held.person_id, grant_id=grant_id, reason=reason, now=db.now())
    click.echo(f"{grant_id} is void. The person and the company are told.")
