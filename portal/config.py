"""Settings, read once from the environment.

Nothing else asks it for a setting: what runs beside the demo, and the demo itself, put settings into it before.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from portal.errors import MisconfiguredError

if TYPE_CHECKING:
    from collections.abc import Mapping

PACKAGE = Path(__file__).parent
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}


def asset_folder(name: str) -> Path:
    """Return the folder `templates`, `static` or `docs`: inside the package in a wheel, beside it in a checkout."""
    inside = PACKAGE / name
    return inside if inside.is_dir() else PACKAGE.parent / name


@dataclass(frozen=True, kw_only=True)
class LogFiles:
    """The key that the log is signed with, and what was signed last.

    The latter belongs on another volume than the database, and is never restored with it.
    """

    key: Path
    head: Path


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything an operator can set.

    `url` is where people's browsers find the portal: links in pages, letters and receipts.  Where the same text is the
    name that machines know it by, in what is signed, compared or sent to them, it is called `issuer`.

    `egress_allow` holds `host:port` pairs that the guarded client may reach although they are private or
    without TLS: the demo's loopback company. It is empty in production.

    `trusted_proxies` is how many proxies of one's own stand in front, each of which adds to X-Forwarded-For.
    From one address, `machine_failures` a minute may fail and people may try `people_tries` times in a quarter of
    an hour; one client may push `client_requests` a minute and call the API `api_requests` times.  It may look at the
    details of one consent `grant_pulls` times a day, or as often as its purpose says if that is less.

    A new encryption key of a test app waits `test_key_hold` seconds before it is used (a live app's waits a day).
    `log_files` are the sequencer's; no other process has a use for them.  `log_witnesses` names who signs the
    log beside it (`ledger.witnessing`).
    `operator_name`, `operator_address` and `operator_contact` say in the records of consents who runs the portal.
    `crash_at` is for tests (`portal.faults`).
    """

    url: str
    database_url: str = field(repr=False)
    database_owner_url: str = field(repr=False)
    redis_url: str = field(repr=False)
    keyring_file: Path
    smtp_url: str = field(default="", repr=False)
    mail_from: str = "no-reply@localhost"
    service_name: str = "Ultimate Customer Master"
    egress_allow: frozenset[str] = frozenset()
    demo: bool = False
    trusted_proxies: int = 0
    machine_failures: int = 60
    people_tries: int = 30
    client_requests: int = 6000
    api_requests: int = 12_000
    grant_pulls: int = 1000
    test_key_hold: int = 60
    log_files: LogFiles | None = None
    log_witnesses: Path | None = None
    operator_name: str = ""
    operator_address: str = ""
    operator_contact: str = ""
    crash_at: str = ""

    @property
    def issuer(self) -> str:
        """The issuer identifier (RFC 8414 section 2): the public address without a trailing slash."""
        return self.url

    @property
    def log_name(self) -> str:
        """The name that a log has unless it is given another one: where it is found, without a scheme."""
        return f"{urlsplit(self.url).netloc}/log"

    @property
    def secure(self) -> bool:
        """True when people reach the portal by TLS: cookies are then `Secure` and carry `__Host-`."""
        return self.url.startswith("https://")


def load(environ: Mapping[str, str] | None = None) -> Settings:
    """Read the settings from `environ`; raise `MisconfiguredError` naming the first one that is wrong."""
    env = os.environ if environ is None else environ
    database_url = sqlalchemy_url(_required(env, "DATABASE_URL"))
    return Settings(
        url=_public_url(env.get("PORTAL_URL", "http://localhost:8000")),
        database_url=database_url,
        database_owner_url=sqlalchemy_url(env.get("DATABASE_OWNER_URL", "") or database_url),
        redis_url=_required(env, "REDIS_URL"),
        keyring_file=Path(_required(env, "KEYRING_FILE")),
        smtp_url=env.get("SMTP_URL", ""),
        mail_from=env.get("MAIL_FROM", Settings.mail_from),
        service_name=env.get("SERVICE_NAME", Settings.service_name),
        egress_allow=frozenset(filter(None, env.get("EGRESS_ALLOW", "").split(","))),
        demo=env.get("PORTAL_DEMO", "") == "1",
        trusted_proxies=_count(env, "TRUSTED_PROXIES", Settings.trusted_proxies, least=0),
        machine_failures=_count(env, "LIMIT_MACHINE_FAILURES", Settings.machine_failures),
        people_tries=_count(env, "LIMIT_PEOPLE_TRIES", Settings.people_tries),
        client_requests=_count(env, "LIMIT_CLIENT_REQUESTS", Settings.client_requests),
        api_requests=_count(env, "LIMIT_API_REQUESTS", Settings.api_requests),
        grant_pulls=_count(env, "LIMIT_GRANT_PULLS", Settings.grant_pulls),
        test_key_hold=_count(env, "TEST_KEY_HOLD_SECONDS", Settings.test_key_hold),
        log_files=_log_files(env),
        log_witnesses=Path(witnesses) if (witnesses := env.get("LOG_WITNESSES", "")) else None,
        operator_name=env.get("OPERATOR_NAME", ""),
        operator_address=env.get("OPERATOR_ADDRESS", ""),
        operator_contact=env.get("OPERATOR_CONTACT", ""),
        crash_at=env.get("CRASH_AT", ""),
    )


def sqlalchemy_url(url: str) -> str:
    """Turn `postgres://` and `postgresql://` into the dialect this program uses."""
    for prefix in ("postgresql://", "postgres://"):
        if url.startswith(prefix):
            return "postgresql+psycopg://" + url.removeprefix(prefix)
    return url


def _required(env: Mapping[str, str], name: str) -> str:
    if value := env.get(name, ""):
        return value
    raise MisconfiguredError(f"{name} is not set.")


def _log_files(env: Mapping[str, str]) -> LogFiles | None:
    key = env.get("LOG_KEY_FILE", "")
    return LogFiles(key=Path(key), head=Path(env.get("LOG_HEAD_FILE", "") or f"{key}.head")) if key else None


def _count(env: Mapping[str, str], name: str, default: int, *, least: int = 1) -> int:
    text = env.get(name, "") or str(default)
    if not (text.isascii() and text.isdigit() and int(text) >= least):
        raise MisconfiguredError(f"{name} must be a whole number, {least} or more.")
    return int(text)


def _public_url(url: str) -> str:
    parts = urlsplit(url.rstrip("/"))
    plain_loopback = parts.scheme == "http" and parts.hostname in _LOOPBACK
    if not (plain_loopback or (parts.scheme == "https" and parts.hostname)):
        raise MisconfiguredError("PORTAL_URL must be an https address, or http on localhost.")
    if parts.path or parts.query:
        raise MisconfiguredError("PORTAL_URL must have neither path nor query.")
    return url.rstrip("/")


@cache
def current() -> Settings:
    """Return the process's settings; edges call it, services are handed what they need."""
    return load()
