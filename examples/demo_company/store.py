"""What the company knows about its customers: its own SQLite file, beside its keys.

Three rules keep it right whatever order messages arrive in:
- a message counts once (its `jti` is the journal's key);
- a detail only moves to a higher version;
- once a person has stopped sharing, their details are gone and an older message does not bring them back.
"""

from __future__ import annotations

import json
import sqlite3
import time
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

PAGE = 20
STOPPED = frozenset({"withdrawn", "ended", "expired", "refused"})
_BUSY_SECONDS = 10
_SCHEMA = """
CREATE TABLE IF NOT EXISTS person (
  sub TEXT PRIMARY KEY, grant_id TEXT NOT NULL, state TEXT NOT NULL, state_version INTEGER NOT NULL,
  state_issued INTEGER NOT NULL, sequence INTEGER NOT NULL, arrived REAL NOT NULL, how TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS detail (
  sub TEXT NOT NULL, name TEXT NOT NULL, version INTEGER NOT NULL, changed_at TEXT, confirmed_at TEXT,
  verification TEXT, value TEXT NOT NULL, arrived REAL NOT NULL, how TEXT NOT NULL, PRIMARY KEY (sub, name));
CREATE TABLE IF NOT EXISTS journal (
  jti TEXT PRIMARY KEY, received_at REAL NOT NULL, sub TEXT, sequence INTEGER, kind TEXT NOT NULL,
  how TEXT NOT NULL, outcome TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS erasure (
  sub TEXT NOT NULL, grant_id TEXT NOT NULL, requested_at TEXT NOT NULL, delete_by TEXT NOT NULL,
  PRIMARY KEY (sub, grant_id));
CREATE TABLE IF NOT EXISTS erased (
  grant_id TEXT NOT NULL, name TEXT NOT NULL, erased_at REAL NOT NULL, PRIMARY KEY (grant_id, name));
CREATE TABLE IF NOT EXISTS attempt (
  state TEXT PRIMARY KEY, nonce TEXT NOT NULL, verifier TEXT NOT NULL, started REAL NOT NULL);
CREATE TABLE IF NOT EXISTS receipt (jti TEXT PRIMARY KEY, status TEXT NOT NULL, applied_at REAL NOT NULL);
CREATE TABLE IF NOT EXISTS ask (
  id TEXT PRIMARY KEY, progress TEXT NOT NULL, results TEXT NOT NULL, started REAL NOT NULL);
"""
_ATTEMPT_SECONDS = 900


@dataclass(frozen=True)
class Detail:
    """One detail as it arrived; `value` is the JSON value, None when the person removed it."""

    version: int
    value: Any = field(repr=False)
    changed_at: str | None = None
    confirmed_at: str | None = None
    verification: str | None = None


@dataclass(frozen=True)
class Profile:
    """Details of a person; when `complete`, all they share, else those that changed."""

    grant_id: str
    sequence: int
    complete: bool
    details: Mapping[str, Detail] = field(repr=False)


@dataclass(frozen=True)
class Consent:
    """The state a person's consent is in, and what it covers."""

    grant_id: str
    state: str
    version: int
    attributes: frozenset[str]


@dataclass(frozen=True)
class Erasure:
    """A person's wish, after they stopped, that what is held of them be deleted; the times are as they came."""

    grant_id: str
    requested_at: str
    delete_by: str


@dataclass(frozen=True)
class Message:
    """What a message says after verification and opening: about consent, details, or both.

    `confirmed` maps a detail that is still right to its version and when the person said so; a `thin` message says
    that there is something new to fetch.
    """

    jti: str
    issued: int
    sub: str
    how: str
    consent: Consent | None = None
    profile: Profile | None = None
    confirmed: Mapping[str, tuple[int, str]] = field(default_factory=dict)
    erasure: Erasure | None = None
    thin: bool = False


class Store:
    """The file; every method is one transaction, and may be called from any thread."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "customers.sqlite3"
        with closing(self._connect()) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.executescript(_SCHEMA)
        self._file.chmod(0o600)

    def keep(self, message: Message, *, now: float) -> str:
        """Keep what is newer than what is held; return `kept`, `repeated` or `late`."""
        with self._transaction() as db:
            if db.execute("SELECT 1 FROM journal WHERE jti = ?", (message.jti,)).fetchone():
                return "repeated"
            outcomes = set()
            if message.consent is not None:
                outcomes.add(_keep_consent(db, message, message.consent, now))
            if message.profile is not None:
                outcomes.add(_keep_profile(db, message, message.profile, now))
            if message.confirmed:
                outcomes.add(_keep_confirmed(db, message))
            if message.erasure is not None:
                outcomes.add(_keep_erasure(db, message.sub, message.erasure))
            if message.thin:
                outcomes.add("kept")
            outcome = "kept" if "kept" in outcomes else "late"
            _note(db, message, outcome, now)
            return outcome

    def receipts(self, limit: int) -> list[dict[str, Any]]:
        """Return what the portal has not been told yet: what became of each message, oldest first."""
        with self._transaction() as db:
            rows = db.execute("SELECT * FROM receipt ORDER BY applied_at, jti LIMIT ?", (limit,))
            return [dict(row) for row in rows]

    def forget_receipts(self, jtis: list[str]) -> None:
        with self._transaction() as db:
            db.executemany("DELETE FROM receipt WHERE jti = ?", [(jti,) for jti in jtis])

    def note_refusal(self, sub: str, *, state: str) -> None:
        """A pull was refused: what the portal's answer says about consent is true from now on."""
        with self._transaction() as db:
            db.execute("UPDATE person SET state = ?, state_issued = ? WHERE sub = ?", (state, int(time.time()), sub))
            if state in STOPPED:
                db.execute("DELETE FROM detail WHERE sub = ?", (sub,))

    def erase(self, sub: str, grant_id: str, names: list[str], *, now: float) -> None:
        """Delete these details of a customer, and note when; who shares anew by another grant shares that."""
        with self._transaction() as db:
            db.executemany(
                "DELETE FROM detail WHERE sub = ? AND name = ?"
                " AND NOT EXISTS (SELECT 1 FROM person WHERE sub = detail.sub AND grant_id <> ?)",
                [(sub, name, grant_id) for name in names],
            )
            db.executemany("INSERT OR IGNORE INTO erased VALUES (?, ?, ?)", [(grant_id, name, now) for name in names])

    def customers(self, *, page: int = 1) -> tuple[list[dict[str, Any]], int]:
        """Return one page of customers, those heard of last first, and how many there are in all."""
        with self._transaction() as db:
            total = int(db.execute("SELECT count(*) FROM person").fetchone()[0])
            people = db.execute(
                "SELECT * FROM person ORDER BY arrived DESC, sub LIMIT ? OFFSET ?", (PAGE, (page - 1) * PAGE)
            ).fetchall()
            return [_whole(db, person) for person in people], total

    def customer(self, sub: str) -> dict[str, Any] | None:
        with self._transaction() as db:
            person = db.execute("SELECT * FROM person WHERE sub = ?", (sub,)).fetchone()
            return _whole(db, person) if person else None

    def subjects(self, limit: int) -> list[str]:
        """Return the ids of up to `limit` people who share now."""
        with self._transaction() as db:
            rows = db.execute("SELECT sub FROM person WHERE state = 'active' ORDER BY sub LIMIT ?", (limit,))
            return [row["sub"] for row in rows]

    def journal(self, limit: int = 1000) -> list[dict[str, Any]]:
        with self._transaction() as db:
            rows = db.execute("SELECT * FROM journal ORDER BY received_at DESC LIMIT ?", (limit,))
            return [dict(row) for row in rows]

    def start_attempt(self, state: str, *, nonce: str, verifier: str, now: float) -> None:
        """Remember what a browser set out with; it stays on this side, the browser holds the state only."""
        with self._transaction() as db:
            db.execute("DELETE FROM attempt WHERE started < ?", (now - _ATTEMPT_SECONDS,))
            db.execute("INSERT INTO attempt VALUES (?, ?, ?, ?)", (state, nonce, verifier, now))

    def finish_attempt(self, state: str) -> tuple[str, str] | None:
        """Return (nonce, verifier) once; a second callback with the same state finds nothing."""
        with self._transaction() as db:
            row = db.execute("DELETE FROM attempt WHERE state = ? RETURNING nonce, verifier", (state,)).fetchone()
            return (row["nonce"], row["verifier"]) if row else None

    def save_ask(self, ask_id: str, *, progress: Mapping[str, Any], results: Mapping[str, int], now: float) -> None:
        with self._transaction() as db:
            db.execute(
                "INSERT INTO ask VALUES (?, ?, ?, ?) ON CONFLICT (id) DO UPDATE"
                " SET progress = excluded.progress, results = excluded.results",
                (ask_id, json.dumps(dict(progress)), json.dumps(dict(results)), now),
            )

    def ask(self, ask_id: str) -> dict[str, Any] | None:
        with self._transaction() as db:
            row = db.execute("SELECT * FROM ask WHERE id = ?", (ask_id,)).fetchone()
        return {"id": ask_id, **json.loads(row["progress"]), "results": json.loads(row["results"])} if row else None

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._file, timeout=_BUSY_SECONDS, isolation_level=None)
        connection.row_factory = _as_dict
        connection.execute("PRAGMA synchronous = NORMAL")
        # What is deleted is overwritten, not only unlinked: "we must delete" is meant.
        connection.execute("PRAGMA secure_delete = ON")
        return connection

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with closing(self._connect()) as connection:
            connection.execute("BEGIN IMMEDIATE")
            with connection:
                yield connection


def _as_dict(cursor: sqlite3.Cursor, row: tuple[Any, ...]) -> dict[str | int, Any]:
    # By name for reading, and by 0 for the one-column counts.
    return {**{column[0]: row[n] for n, column in enumerate(cursor.description)}, 0: row[0]}


def _note(db: sqlite3.Connection, message: Message, outcome: str, now: float) -> None:
    events = {
        "consent": message.consent, "erasure": message.erasure, "profile": message.profile,
        "notice": message.thin, "confirmed": message.confirmed,
    }  # fmt: skip
    kind = " ".join(name for name, event in events.items() if event)
    sequence = message.profile.sequence if message.profile else None
    row = (message.jti, now, message.sub, sequence, kind, message.how, outcome)
    db.execute("INSERT INTO journal VALUES (?, ?, ?, ?, ?, ?, ?)", row)
    # What the portal is told is kept with what it is about: a receipt is sent once the message is, and never lost.
    status = "applied" if outcome == "kept" else "superseded"
    db.execute("INSERT OR IGNORE INTO receipt VALUES (?, ?, ?)", (message.jti, status, now))


def _keep_profile(db: sqlite3.Connection, message: Message, profile: Profile, now: float) -> str:
    if message.how == "pushed" and _is_late(db, message):
        return "late"
    # A profile that is not late proves that consent is active: the portal sends nothing without it.
    db.execute(
        "INSERT INTO person VALUES (:sub, :grant_id, 'active', 0, :issued, :sequence, :now, :how)"
        " ON CONFLICT (sub) DO UPDATE SET arrived = :now, how = :how, sequence = max(sequence, :sequence),"
        " state_version = CASE WHEN grant_id = :grant_id THEN state_version ELSE 0 END,"
        " grant_id = :grant_id, state = 'active'",
        {
            "sub": message.sub, "grant_id": profile.grant_id, "issued": message.issued,
            "sequence": profile.sequence, "now": now, "how": message.how,
        },
    )  # fmt: skip
    for name, detail in profile.details.items():
        _keep_detail(db, message, name, detail, now)
    if profile.complete:
        _drop_others(db, message.sub, frozenset(profile.details))
    return "kept"


def _keep_confirmed(db: sqlite3.Connection, message: Message) -> str:
    """Note when the person last said that a detail is right: of the version they said it of, and of no other."""
    kept = [
        db.execute(
            "UPDATE detail SET confirmed_at = ? WHERE sub = ? AND name = ? AND version = ?",
            (confirmed_at, message.sub, name, version),
        ).rowcount
        for name, (version, confirmed_at) in message.confirmed.items()
    ]
    return "kept" if any(kept) else "late"


def _keep_erasure(db: sqlite3.Connection, sub: str, erasure: Erasure) -> str:
    """Keep what is to be deleted until when, and delete it here; who shares anew by another grant shares that."""
    row = (sub, erasure.grant_id, erasure.requested_at, erasure.delete_by)
    db.execute("INSERT OR REPLACE INTO erasure VALUES (?, ?, ?, ?)", row)
    db.execute(
        "DELETE FROM detail WHERE sub = ?"
        " AND NOT EXISTS (SELECT 1 FROM person WHERE sub = detail.sub AND grant_id <> ?)",
        (sub, erasure.grant_id),
    )
    return "kept"


def _is_late(db: sqlite3.Connection, message: Message) -> bool:
    """True for a push that set out before this person stopped sharing."""
    person = db.execute("SELECT state, state_issued FROM person WHERE sub = ?", (message.sub,)).fetchone()
    return person is not None and person["state"] in STOPPED and message.issued <= person["state_issued"]


def _keep_detail(db: sqlite3.Connection, message: Message, name: str, detail: Detail, now: float) -> None:
    db.execute(
        "INSERT INTO detail VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (sub, name) DO UPDATE SET"
        " version = excluded.version, changed_at = excluded.changed_at, confirmed_at = excluded.confirmed_at,"
        " verification = excluded.verification, value = excluded.value, arrived = excluded.arrived,"
        " how = excluded.how WHERE excluded.version >= detail.version",
        (
            message.sub, name, detail.version, detail.changed_at, detail.confirmed_at, detail.verification,
            json.dumps(detail.value, ensure_ascii=False), now, message.how,
        ),
    )  # fmt: skip


def _keep_consent(db: sqlite3.Connection, message: Message, consent: Consent, now: float) -> str:
    held = db.execute("SELECT * FROM person WHERE sub = ?", (message.sub,)).fetchone()
    if held and _is_older(message, consent, held):
        return "late"
    db.execute(
        "INSERT INTO person VALUES (:sub, :grant_id, :state, :version, :issued, 0, :now, :how)"
        " ON CONFLICT (sub) DO UPDATE SET grant_id = :grant_id, state = :state, state_version = :version,"
        " state_issued = :issued, arrived = :now",
        {
            "sub": message.sub, "grant_id": consent.grant_id, "state": consent.state,
            "version": consent.version, "issued": message.issued, "now": now, "how": message.how,
        },
    )  # fmt: skip
    _drop_others(db, message.sub, frozenset() if consent.state in STOPPED else consent.attributes)
    return "kept"


def _is_older(message: Message, consent: Consent, held: Mapping[str, Any]) -> bool:
    if consent.grant_id == held["grant_id"]:
        return consent.version < int(held["state_version"])
    return message.issued < int(held["state_issued"])


def _drop_others(db: sqlite3.Connection, sub: str, keep: frozenset[str]) -> None:
    held = [row["name"] for row in db.execute("SELECT name FROM detail WHERE sub = ?", (sub,))]
    for name in set(held) - keep:
        db.execute("DELETE FROM detail WHERE sub = ? AND name = ?", (sub, name))


def _whole(db: sqlite3.Connection, person: dict[str, Any]) -> dict[str, Any]:
    """Return a customer with what is held of them, and their wish to have it deleted, with when that was done."""
    wish = db.execute(
        "SELECT *, (SELECT max(erased_at) FROM erased WHERE erased.grant_id = erasure.grant_id) AS erased_at"
        " FROM erasure WHERE sub = ? AND grant_id = ?",
        (person["sub"], person["grant_id"]),
    ).fetchone()
    return {**person, "details": _details(db, person["sub"]), "erasure": wish}


def _details(db: sqlite3.Connection, sub: str) -> list[dict[str, Any]]:
    rows = db.execute("SELECT * FROM detail WHERE sub = ? ORDER BY name", (sub,)).fetchall()
    return [{**row, "value": json.loads(row["value"])} for row in rows]
