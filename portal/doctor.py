"""What is wrong with this installation, and how to mend it."""

from __future__ import annotations

import smtplib
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from redis import Redis, RedisError
from sqlalchemy import text
from sqlalchemy.exc import OperationalError, SQLAlchemyError

from portal import db, mail, schema
from portal.errors import PortalError
from portal.ledger import published, witnessing
from portal.sync import reconciliation
from portal.vault import keyring, signing

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.orm import Session

    from portal.config import Settings

_OLDEST_DATABASE = 15_00_00
_CLOCK_SECONDS = 2.0
_MAIL_SECONDS = 5.0
# What is logged is in the signed log within ten seconds: six times that is no hiccup.
_LOG_LATE = timedelta(seconds=60)
# The first that fits tells what is wrong; what the server itself said may quote the login.
_NO_MAIL: Final[tuple[tuple[type[Exception], str], ...]] = (
    (smtplib.SMTPAuthenticationError, "refuses the login of SMTP_URL: correct the user name or the password."),
    (smtplib.SMTPNotSupportedError, "lacks the TLS or the login that SMTP_URL asks for: correct its scheme."),
    (ssl.SSLError, "is not reached by TLS as SMTP_URL asks: mend its certificate, or correct the address."),
)
_LEDGER = ("disclosure", "disclosure_outcome", "grant_version")


@dataclass(frozen=True)
class Finding:
    """One thing looked at; `text` says how it is, or what to mend."""

    name: str
    well: bool
    text: str


def examine(settings: Settings) -> list[Finding]:
    """Look at everything the portal stands on; one finding each, whatever the others say."""
    checks: tuple[tuple[str, Callable[[Settings], Finding]], ...] = (
        ("keys", _keys),
        ("database", _database),
        ("ledger", _ledger),
        ("log", _log),
        ("night", _night),
        ("witnesses", _witnesses),
        ("signing key", _signing_key),
        ("Valkey", _valkey),
        ("clock", _clock),
        ("callers", _callers),
        ("mail", _mail),
    )
    return [_careful(name, check, settings) for name, check in checks]


def _careful(name: str, check: Callable[[Settings], Finding], settings: Settings) -> Finding:
    try:
        return check(settings)
    except PortalError as error:
        return Finding(name, well=False, text=error.public)
    except OperationalError:
        return Finding(name, well=False, text="PostgreSQL does not answer at DATABASE_URL: start it, or correct it.")
    except SQLAlchemyError as error:
        text_ = f"the database refused ({type(error).__name__}): run portal migrate."
        return Finding(name, well=False, text=text_)


def _keys(settings: Settings) -> Finding:
    keyring.load(settings.keyring_file)
    return Finding("keys", well=True, text="the keyring is complete and only its owner can read it.")


def _database(settings: Settings) -> Finding:
    with db.transaction(settings.database_url) as session:
        version = int(session.scalar(text("SHOW server_version_num")) or 0)
    if version < _OLDEST_DATABASE:
        return Finding("database", well=False, text="PostgreSQL is older than 15: renew it.")
    if not schema.is_current(settings.database_url):
        return Finding("database", well=False, text="it is not at the newest version: run portal migrate.")
    return Finding("database", well=True, text=f"PostgreSQL {version // 10000} answers, at the newest version.")


def _ledger(settings: Settings) -> Finding:
    with db.transaction(settings.database_url) as session:
        if any(_may_change(session, table) for table in _LEDGER):
            advice = "the portal's role may change the log: connect it by a role that is neither owner nor superuser."
            return Finding("ledger", well=False, text=advice)
        if not session.scalar(text("SELECT count(*) FROM pg_trigger WHERE tgname = 'disclosure_append_only'")):
            return Finding("ledger", well=False, text="its guard is missing: restore it from a backup's schema.")
        if not session.scalar(text("SELECT to_regclass('disclosure_' || to_char(now(), 'YYYY_MM'))")):
            return Finding("ledger", well=False, text="this month's part is missing: start portal reconciler.")
    return Finding("ledger", well=True, text="rows can be added, and neither changed nor deleted.")


def _may_change(session: Session, table: str) -> bool:
    question = text("""
        SELECT has_table_privilege(current_user, :table, 'UPDATE')
            OR has_table_privilege(current_user, :table, 'DELETE')
            OR has_table_privilege(current_user, :table, 'TRUNCATE')
            OR NOT has_table_privilege(current_user, :table, 'INSERT')
    """)
    return bool(session.scalar(question, {"table": table}))


def _log(settings: Settings) -> Finding:
    with db.transaction(settings.database_url) as session:
        log, now = published.newest(session), db.now()
    if log is None:
        return Finding(
            "log", well=False, text="nothing of it is signed: make a key by portal log-key, start portal sequencer."
        )
    if now - log.grown_at > _LOG_LATE:
        return Finding(
            "log", well=False, text=f"it has not grown since {log.grown_at:%d %B %H:%M} UTC: start portal sequencer."
        )
    if log.grown > log.checkpoint.size and now - log.noted_at > _LOG_LATE:
        advice = f"it is not signed since {log.noted_at:%d %B %H:%M} UTC: the sequencer's own log says why."
        return Finding("log", well=False, text=advice)
    return Finding("log", well=True, text=f"its {log.checkpoint.size} entries are signed as {log.checkpoint.origin}.")


def _night(settings: Settings) -> Finding:
    with db.transaction(settings.database_url) as session:
        night, now = reconciliation.newest(session, finished=True), db.now()
        missed = reconciliation.is_missed(session, now=now)
    if missed:
        advice = "nobody has held the log against what happened for a day: start portal reconciler and its workers."
        return Finding("night", well=False, text=advice)
    if night is None:
        return Finding(
            "night", well=True, text="the log is held against what happened at 02:00 UTC for the first time."
        )
    wrong = reconciliation.said(night)
    if wrong:
        return Finding("night", well=False, text=f"on {night.began_at:%d %B %H:%M} UTC: {'; '.join(wrong)}.")
    return Finding("night", well=True, text=f"the log said what happened on {night.began_at:%d %B %H:%M} UTC.")


def _witnesses(settings: Settings) -> Finding:
    named = witnessing.read(settings.log_witnesses)
    if not named:
        return Finding("witnesses", well=True, text="nobody else signs the log: LOG_WITNESSES names who does.")
    with db.transaction(settings.database_url) as session:
        wrong = witnessing.wrong(session, named, now=db.now())
    if wrong:
        return Finding("witnesses", well=False, text="; ".join(wrong))
    return Finding("witnesses", well=True, text=f"{len(named)} sign the log as well.")


def _signing_key(settings: Settings) -> Finding:
    with db.transaction(settings.database_url) as session:
        if not session.scalar(text("SELECT count(*) FROM signing_key WHERE retired_at IS NULL")):
            return Finding("signing key", well=False, text="there is none: run portal migrate.")
        try:
            signing.current(session, keyring=keyring.load(settings.keyring_file))
        except keyring.SealBrokenError:
            advice = "the keyring does not open it: KEYRING_FILE is not the one this database was made with."
            return Finding("signing key", well=False, text=advice)
    return Finding("signing key", well=True, text="the keyring opens it.")


def _valkey(settings: Settings) -> Finding:
    try:
        with Redis.from_url(settings.redis_url, socket_timeout=3, socket_connect_timeout=3) as client:
            client.ping()
            policy = client.config_get("maxmemory-policy").get("maxmemory-policy")
    except (RedisError, ValueError) as error:
        advice = f"no answer at REDIS_URL ({type(error).__name__}): start Valkey, or correct the address."
        return Finding("Valkey", well=False, text=advice)
    if policy != "noeviction":
        return Finding("Valkey", well=False, text="it may drop jobs when full: set maxmemory-policy noeviction.")
    return Finding("Valkey", well=True, text="it answers and drops nothing.")


def _callers(settings: Settings) -> Finding:
    proxies = settings.trusted_proxies
    if not proxies:
        told = "each address that connects counts by itself; where a proxy stands in front, set TRUSTED_PROXIES."
        return Finding("callers", well=True, text=told)
    told = f"they are told apart by what {proxies} of your own proxies add to X-Forwarded-For."
    return Finding("callers", well=True, text=told)


def _clock(settings: Settings) -> Finding:
    with db.transaction(settings.database_url) as session:
        before = datetime.now(UTC)
        there = session.execute(text("SELECT clock_timestamp()")).scalar_one()
        after = datetime.now(UTC)
    apart = abs((there - (before + (after - before) / 2)).total_seconds())
    if apart > _CLOCK_SECONDS:
        return Finding("clock", well=False, text=f"it is {apart:.0f} s from the database's: run NTP on both machines.")
    return Finding("clock", well=True, text=f"it is {apart:.2f} s from the database's.")


def _mail(settings: Settings) -> Finding:
    if not urlsplit(settings.smtp_url).hostname:
        return Finding("mail", well=False, text="SMTP_URL is not set or names no host: sign-in codes cannot be sent.")
    try:
        with mail.connect(settings.smtp_url, seconds=_MAIL_SECONDS) as server:
            server.noop()
    except (OSError, smtplib.SMTPException, ValueError) as error:
        return Finding("mail", well=False, text=_no_mail(error))
    return Finding("mail", well=True, text="the mail server takes messages.")


def _no_mail(error: Exception) -> str:
    for kind, what in _NO_MAIL:
        if isinstance(error, kind):
            return f"the mail server {what}"
    return f"no answer at SMTP_URL ({type(error).__name__}): start the mail server, or correct the address."
