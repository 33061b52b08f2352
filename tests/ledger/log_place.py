"""A database of its own for the log, and the log said again from its rows without any code of the portal's."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections import Counter
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID, uuid4

import psycopg
from sqlalchemy import text

from portal import db, schema
from portal.embedded.postgres import APP, OWNER
from portal.ledger import entries, sequencer, services, tiles, tree
from portal.ledger.services import NewDisclosure
from tests.ledger import second_verifier

if TYPE_CHECKING:
    from sqlalchemy import Row
    from sqlalchemy.orm import Session

    from portal.embedded.postgres import Postgres

ORIGIN = "example.org/log"
_EVERYTHING = text(f"""
    SELECT e.leaf, e.n, e.person_id, e.disclosure_id, e.outcome, h.secret,
           CASE WHEN e.outcome = '' THEN {entries.OF_DISCLOSURE} ELSE {entries.OF_OUTCOME} END AS said
      FROM log_entry e JOIN log_head h USING (person_id, log_id)
      JOIN disclosure d USING (person_id, at, disclosure_id) JOIN disclosure_context x USING (context_id)
      LEFT JOIN disclosure_outcome o ON (o.person_id, o.at, o.disclosure_id, o.outcome)
                                      = (e.person_id, e.at, e.disclosure_id, e.outcome)
     ORDER BY e.leaf
""")  # noqa: S608 - put together from constants
# What the migrations put there is kept aside, to be put back.
_KEEP = """
    DO $$ DECLARE named text; BEGIN
        CREATE SCHEMA as_made;
        FOR named IN SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace
                        AND pg_relation_size(oid) > 0 LOOP
            EXECUTE format('CREATE TABLE as_made.%1$I AS TABLE public.%1$I', named);
        END LOOP;
    END $$
"""
_AS_MADE = """
    DO $$ DECLARE named text; BEGIN
        FOR named IN SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace
                        AND pg_relation_size(oid) > 0 LOOP
            EXECUTE format('DELETE FROM public.%I', named);
        END LOOP;
        FOR named IN SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'as_made'::regnamespace LOOP
            EXECUTE format('INSERT INTO public.%1$I SELECT * FROM as_made.%1$I', named);
        END LOOP;
    END $$
"""
_ALONE = "SELECT count(*) = 1 FROM pg_stat_activity WHERE datname = current_database()"
# Databases that stand empty again: making one takes as long as many a test.
_left: list[str] = []


class Place:
    """A database of its own, with nobody else's rows in it."""

    def __init__(self, postgres: Postgres) -> None:
        self._name = _left.pop() if _left else _make(postgres)
        self.url, self._owner = postgres.url(APP, self._name), postgres.url(OWNER, self._name)
        with db.transaction(self.url) as session:
            words: dict[str, Any] = {"company_id": uuid4(), "client_id": "live_a", "company_name": "Zoë & Söhne"}
            self.context_id = services.context(session, **words, purpose="send bills")

    def grow(self) -> int | None:
        with db.sessions(self.url).begin() as session:
            return sequencer.grow(session, origin=ORIGIN, now=db.now())

    def new(self, person_id: UUID | None = None, **members: Any) -> NewDisclosure:  # noqa: ANN401 - columns of a row
        facts: dict[str, Any] = {"channel": "push", "outcome": "sending", "asked": ["name.full"]}
        facts |= {"given": {"name.full": 1}, "person_id": person_id or uuid4(), "at": db.now()}
        return NewDisclosure(**(facts | members), context_id=self.context_id)

    def log(self, *rows: NewDisclosure) -> None:
        with db.transaction(self.url) as session:
            services.record(session, *rows)

    def as_owner(self, *statements: str) -> None:
        """Do what nobody may do: the owner of the database with the triggers out of the way."""
        with psycopg.connect(_plain(self._owner), autocommit=True) as owner:
            owner.execute("SET session_replication_role = replica")
            for statement in statements:
                owner.execute(statement)

    def close(self) -> None:
        db.engine(self.url).dispose()

    def give_back(self) -> None:
        """Leave the database as it was made to the next test, unless somebody is still connected; once at the end."""
        self.close()
        with psycopg.connect(_plain(self._owner), autocommit=True) as owner:
            if owner.execute(_ALONE).fetchone() != (True,):
                return
            owner.execute("SET session_replication_role = replica")
            owner.execute(_AS_MADE)
        _left.append(self._name)


class Entry(NamedTuple):
    leaf: int
    n: int
    person_id: UUID
    disclosure_id: UUID
    outcome: str
    hash: bytes
    said: dict[str, Any]


@cache
def _template(postgres: Postgres) -> str:
    """Return the name of an empty database at the newest version, made once."""
    name = "log_template"
    _command(postgres, f"CREATE DATABASE {name}")
    schema.migrate(postgres.url(OWNER, name), app_url=postgres.url(APP, name))
    with psycopg.connect(_plain(postgres.url(OWNER, name)), autocommit=True) as owner:
        owner.execute(_KEEP)
    return name


def _make(postgres: Postgres) -> str:
    name = f"log_{uuid4().hex[:12]}"
    _command(postgres, f"CREATE DATABASE {name} TEMPLATE {_template(postgres)}")
    return name


def _command(postgres: Postgres, statement: str) -> None:
    with psycopg.connect(_plain(postgres.url(OWNER)), autocommit=True) as connection:
        connection.execute(statement)


def _plain(url: str) -> str:
    return url.replace("postgresql+psycopg", "postgresql")


def said_again(session: Session) -> list[Entry]:
    """Return every entry with the hash of its leaf, made here from the rows by what the log promises, and no code of
    it."""
    last: dict[UUID, bytes] = {}
    found = []
    for row in session.execute(_EVERYTHING):
        written = json.dumps(row.said, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
        said = hashlib.sha256(_blind(row, b"said") + written).digest()
        counted = row.n.to_bytes(8) + last.get(row.person_id, b"")
        place = hashlib.sha256(_blind(row, b"place") + counted).digest()
        inner = b"ucm-disclosure-v1\0" + hashlib.sha256(said + place).digest()
        last[row.person_id] = hashlib.sha256(b"\0" + inner).digest()
        found.append(
            Entry(row.leaf, row.n, row.person_id, row.disclosure_id, row.outcome, last[row.person_id], row.said)
        )
    return found


def _blind(row: Row[Any], what: bytes) -> bytes:
    return hmac.new(row.secret, what + row.disclosure_id.bytes + row.outcome.encode(), hashlib.sha256).digest()


def check(place: Place) -> list[Entry]:
    """Hold that the tree is that of the rows, and every entry proved; return them in order."""
    with db.transaction(place.url) as session:
        found = said_again(session)
        size = session.scalar(text("SELECT size FROM log")) or 0
        leaves = [each.hash for each in found]
        assert [each.leaf for each in found] == list(range(size))
        root = tree.root(size, tiles.nodes(session, tree.edge(size), log_id=1))
        assert root == second_verifier.root_of(leaves)
        for each in found:
            spans = tree.inclusion(each.leaf, size)
            kept = tiles.nodes(session, [node for span in spans for node in span.nodes], log_id=1)
            path = [span.hash(kept) for span in spans]
            assert second_verifier.proves_inclusion(each.hash, each.leaf, size, root, path)
    counted: Counter[UUID] = Counter()
    for each in found:
        counted[each.person_id] += 1
        assert each.n == counted[each.person_id]
    return found
