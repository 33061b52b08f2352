"""Looking at what people share when it is time to, and writing one letter a person about all that was noted.

Each live grant has a row that says when to look next (`ConsentWatch`), so that a sweep reads as many rows as are due
and no grant besides.  What a look comes to is `watching`'s to say.  A letter names no organisation and no detail:
it says how much there is to look at, and where.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final

import orjson
from sqlalchemy import select, text, tuple_

from portal import tray
from portal.consent import queries, steps, watching
from portal.consent.models import Grant
from portal.consent.watching import Facts, Memory
from portal.identity import queries as identity
from portal.ledger import holdings
from portal.tray import Letter, Tray

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy import Row
    from sqlalchemy.orm import Session

    from portal.config import Settings
    from portal.consent.watching import Seen
    from portal.events import GrantChanged

    Key = tuple[UUID, UUID]

LOOKED_AT_ONCE: Final = 500
_WATCH = text("""
    INSERT INTO consent_watch AS w (person_id, grant_id, due_at) VALUES (:person_id, :grant_id, :due_at)
        ON CONFLICT (person_id, grant_id) DO UPDATE SET due_at = LEAST(w.due_at, excluded.due_at)
""")
_FORGET = text("DELETE FROM consent_watch WHERE person_id = :person_id AND grant_id = :grant_id")
# Everything of a person's that falls due soon comes along, so that it is one letter.  Rows that a person's own step
# holds at this moment are left for the next sweep.
DUE: Final = text("""
    WITH due AS MATERIALIZED (
        SELECT DISTINCT person_id FROM (
            SELECT person_id FROM consent_watch WHERE due_at <= :now ORDER BY due_at LIMIT :limit) first)
    SELECT theirs.* FROM due CROSS JOIN LATERAL (
           SELECT w.person_id, w.grant_id, w.term_to, w.told, w.asked_at, w.warned_at FROM consent_watch w
            WHERE w.person_id = due.person_id AND w.due_at <= :soon ORDER BY w.grant_id
              FOR UPDATE SKIP LOCKED OFFSET 0) theirs
""")
_SEEN = text("""
    UPDATE consent_watch w
       SET due_at = v.due_at, term_to = v.term_to, told = v.told, asked_at = v.asked_at, warned_at = v.warned_at,
           noted_at = CASE WHEN v.noted = '' OR v.noted = w.noted THEN w.noted_at ELSE CAST(:now AS timestamptz) END,
           noted = CASE WHEN v.noted = '' THEN w.noted ELSE v.noted END
      FROM json_to_recordset(CAST(:rows AS json)) AS v(
           person_id uuid, grant_id uuid, due_at timestamptz, term_to timestamptz, told smallint,
           asked_at timestamptz, warned_at timestamptz, noted text)
     WHERE w.person_id = v.person_id AND w.grant_id = v.grant_id
""")
_OWE = text("""
    INSERT INTO reminder_letter AS l (person_id, about)
    SELECT person_id, CAST(:now AS timestamptz) FROM unnest(CAST(:person_ids AS uuid[])) AS p(person_id)
     ORDER BY person_id
        ON CONFLICT (person_id) DO UPDATE SET about = excluded.about, sent_at = NULL
""")
_FACTS = text("""
    SELECT v.person_id, v.grant_id,
           max(v.at) FILTER (WHERE v.actor = 'person' AND v.state IN ('active', 'paused')) AS answered_at,
           min(v.at) FILTER (WHERE v.expires_at = g.expires_at AND v.state <> 'requested') AS term_from
      FROM "grant" g JOIN grant_version v ON v.person_id = g.person_id AND v.grant_id = g.grant_id
     WHERE g.person_id = ANY(:person_ids) AND g.grant_id = ANY(:grant_ids)
     GROUP BY v.person_id, v.grant_id
""")
_UNSENT = """sent_at IS NULL AND (leased_until IS NULL OR leased_until <= clock_timestamp())
       AND (last_sent_at IS NULL OR last_sent_at <= now() - interval '24 hours')"""
_PENDING = text(f"SELECT EXISTS (SELECT 1 FROM reminder_letter WHERE {_UNSENT})")  # noqa: S608 - constants
_TAKE = text(f"""
    UPDATE reminder_letter SET leased_until = clock_timestamp() + interval '5 minutes'
     WHERE person_id = (SELECT person_id FROM reminder_letter WHERE {_UNSENT}
                         ORDER BY about, person_id LIMIT 1 FOR UPDATE SKIP LOCKED)
    RETURNING person_id, about
""")  # noqa: S608 - put together from constants
_NOTED = text("""
    SELECT w.noted FROM consent_watch w
      JOIN "grant" g ON g.person_id = w.person_id AND g.grant_id = w.grant_id AND g.state IN ('active', 'paused')
     WHERE w.person_id = :person_id AND w.noted IS NOT NULL AND w.noted_at <= :about
""")
# What was noted after the letter was begun is the next one's.  A warning counts from when it was sent.
_TOLD = text("""
    UPDATE consent_watch
       SET noted = NULL, noted_at = NULL,
           warned_at = CASE WHEN noted = 'unused' THEN clock_timestamp() ELSE warned_at END
     WHERE person_id = :person_id AND noted_at <= :about
""")
_DONE = text("""
    UPDATE reminder_letter SET sent_at = CASE WHEN about = :about THEN clock_timestamp() END, leased_until = NULL,
                               last_sent_at = CASE WHEN :sent THEN clock_timestamp() ELSE last_sent_at END
     WHERE person_id = :person_id
""")


def on_grant_changed(session: Session, fact: GrantChanged) -> None:
    """Have a consent looked at when there will be reason to, and no more once it is over; hears `GrantChanged`."""
    held = queries.grant(session, person_id=fact.person_id, grant_id=fact.grant_id)
    key = {"person_id": fact.person_id, "grant_id": fact.grant_id}
    if held is None or held.state not in queries.LIVE:
        session.execute(_FORGET, key)
        return
    due_at = watching.first_look(mode=held.mode, at=fact.at, expires_at=held.expires_at)
    session.execute(_WATCH, key | {"due_at": due_at})


def look(session: Session, *, now: datetime, limit: int = LOOKED_AT_ONCE) -> int:
    """Look at the consents whose time to be looked at has come, some at once; return how many were.

    What nobody has used for a year, though its person was told a month before, is paused.
    """
    due = {
        (row.person_id, row.grant_id): Memory(
            term_to=row.term_to, told=row.told, asked_at=row.asked_at, warned_at=row.warned_at
        )
        for row in session.execute(DUE, {"now": now, "soon": now + watching.TOGETHER, "limit": limit})
    }
    held = _held(session, due)
    facts = _facts(session, held, now)
    seen = {key: watching.look(facts[key], due[key], now=now) for key in facts}
    for key in [key for key, each in seen.items() if each.pause]:
        steps.take(session, held[key], "unused", "portal", {"state": "paused", "changed_at": now})
    _remember(session, seen, now)
    for person_id, grant_id in due.keys() - held.keys():
        _forget_what_is_over(session, person_id, grant_id)
    return len(due)


def _held(session: Session, keys: Collection[Key]) -> dict[Key, Grant]:
    # A person who steps at this moment holds the grant and wants its row here: who is held up waits for the next sweep.
    if not keys:
        return {}
    live = select(Grant).where(tuple_(Grant.person_id, Grant.grant_id).in_(keys), Grant.state.in_(queries.LIVE))
    rows = session.scalars(live.with_for_update(skip_locked=True).execution_options(populate_existing=True))
    return {(held.person_id, held.grant_id): held for held in rows}


def _facts(session: Session, held: Mapping[Key, Grant], now: datetime) -> dict[Key, Facts]:
    keys = {"person_ids": list({key[0] for key in held}), "grant_ids": [key[1] for key in held]}
    lives = {(row.person_id, row.grant_id): row for row in session.execute(_FACTS, keys)} if held else {}
    idle = [key for key, row in lives.items() if row.answered_at and row.answered_at + watching.UNUSED <= now]
    used = holdings.last_asked(session, grants=idle)
    return {
        key: Facts(
            state=grant.state,
            mode=grant.mode,
            answered_at=lives[key].answered_at or grant.given_at,
            term_from=lives[key].term_from or grant.given_at,
            expires_at=grant.expires_at,
            used_at=used.get(key),
        )
        for key, grant in held.items()
        if key in lives
    }


def _remember(session: Session, seen: Mapping[Key, Seen], now: datetime) -> None:
    if not seen:
        return
    session.execute(_SEEN, {"now": now, "rows": orjson.dumps([_row(key, each) for key, each in seen.items()]).decode()})
    told = sorted({person_id for (person_id, _grant_id), each in seen.items() if each.noted})
    if told:
        session.execute(_OWE, {"now": now, "person_ids": told})


def _row(key: Key, seen: Seen) -> dict[str, Any]:
    memory = seen.memory
    return {
        "person_id": key[0], "grant_id": key[1], "due_at": seen.due_at, "term_to": memory.term_to,
        "told": memory.told, "asked_at": memory.asked_at, "warned_at": memory.warned_at, "noted": seen.noted,
    }  # fmt: skip


def _forget_what_is_over(session: Session, person_id: UUID, grant_id: UUID) -> None:
    grant = queries.grant(session, person_id=person_id, grant_id=grant_id)
    if grant is None or grant.state not in queries.LIVE:
        session.execute(_FORGET, {"person_id": person_id, "grant_id": grant_id})


def _worded(session: Session, settings: Settings, row: Row[Any]) -> Letter | None:
    found = Counter(session.scalars(_NOTED, row._asdict()))
    email = identity.address_of(session, settings, person_id=row.person_id) if found else None
    if email is None:
        return None
    once = f"reminder {row.person_id} {row.about.isoformat()}"
    return tray.letter(
        settings, to=email, template="reminder", once=once, found=found, days=watching.WARNED.days
    )  # fmt: skip


def _done(session: Session, row: Row[Any], sent: bool) -> None:  # noqa: FBT001 - as a tray says it
    session.execute(_TOLD, row._asdict())
    session.execute(_DONE, row._asdict() | {"sent": sent})


TRAY: Final = Tray(
    job="portal.consent.jobs.send_reminders",
    about="a reminder",
    pending=tray.any_of(_PENDING),
    take=tray.one_of(_TAKE),
    word=_worded,
    done=_done,
)
