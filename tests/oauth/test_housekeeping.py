"""What is over leaves, in batches that keep up, by indexes; what still means something stays."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from sqlalchemy import func, insert, select, update

from portal import db
from portal.db import Prepared
from portal.embedded.postgres import OWNER
from portal.oauth import housekeeping, known_clients, protection, replay, statements, tokens
from portal.oauth.models import AccessToken, AuthorizationCode, RefreshToken, UsedProof
from portal.sync import statements as sync_statements

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.orm import Session

    from portal.config import Settings
    from portal.embedded.postgres import Postgres
    from tests.oauth.conftest import Person
    from tests.oauth.rp import RelyingParty

ROWS = 100_000
HOT = [
    found
    for module in (known_clients, protection, replay, statements, sync_statements, tokens)
    for found in vars(module).values()
    if isinstance(found, Prepared)
]
GROWS = {"access_token", "refresh_token", "used_proof"}
_HASH = "sha256(n::text::bytea)"
_FILL = f"""
    INSERT INTO used_proof SELECT {_HASH}, now() + make_interval(secs => n) FROM generate_series(1, {ROWS}) n;
    INSERT INTO access_token (token_hash, client_id, company_id, scope, jkt, issued_at, expires_at)
    SELECT {_HASH}, 'c', gen_random_uuid(), 's', 'j', now(), now() + make_interval(secs => n)
      FROM generate_series(1, {ROWS}) n;
    INSERT INTO refresh_token (token_hash, client_id, person_id, grant_id, scope, code_hash, authenticated_at, level,
                               issued_at, used_at, expires_at)
    SELECT {_HASH}, 'c', gen_random_uuid(), gen_random_uuid(), 's', {_HASH}, now(), 1, now(),
           now() + make_interval(secs => n), now() + make_interval(secs => n)
      FROM generate_series(1, {ROWS}) n;
    ANALYZE used_proof, access_token, refresh_token"""  # noqa: S608 - constants


@pytest.fixture(scope="module")
def filled(settings: Settings, postgres: Postgres) -> Iterator[psycopg.Connection]:
    assert settings
    with psycopg.connect(postgres.url(OWNER)) as owner:
        for statement in _FILL.split(";"):
            owner.execute(statement.encode())
        yield owner
        owner.rollback()


def scanned(owner: psycopg.Connection, sql: str) -> set[str]:
    """Return the tables that the plan reads from end to end."""
    row = owner.execute(f"EXPLAIN (GENERIC_PLAN, FORMAT JSON) {sql}".encode()).fetchone()
    assert row
    plan = row[0] if isinstance(row[0], list) else json.loads(row[0])
    return {node["Relation Name"] for node in nodes(plan[0]["Plan"]) if node["Node Type"] == "Seq Scan"}


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for part in plan.get("Plans", ()):
        yield from nodes(part)


@pytest.mark.parametrize("statement", HOT, ids=lambda statement: statement.name)
def test_no_call_reads_a_table_that_grows_from_end_to_end(filled: psycopg.Connection, statement: Prepared) -> None:
    assert not GROWS & scanned(filled, statement.sql)


@pytest.mark.parametrize("table", sorted(GROWS))
def test_a_batch_is_found_by_an_index_and_deleted_by_its_place(filled: psycopg.Connection, table: str) -> None:
    batch = f"SELECT ctid FROM {table} WHERE expires_at < now() LIMIT 2000 FOR UPDATE SKIP LOCKED"  # noqa: S608
    assert not GROWS & scanned(filled, f"DELETE FROM {table} WHERE ctid = ANY(ARRAY(({batch})))")  # noqa: S608


def count(session: Session, model: type[db.Base]) -> int:
    return session.scalar(select(func.count()).select_from(model)) or 0


def test_more_than_a_batch_goes_in_one_call_and_nothing_else(session: Session) -> None:
    now = db.now()
    housekeeping.forget(session, now=now)
    before = count(session, UsedProof)
    many = [{"proof_hash": n.to_bytes(32), "expires_at": now - timedelta(seconds=1)} for n in range(5000)]
    alive = [{"proof_hash": b"alive", "expires_at": now + timedelta(seconds=1)}]
    session.execute(insert(UsedProof), [*many, *alive])
    housekeeping.forget(session, now=now)
    assert count(session, UsedProof) == before + 1
    assert session.get(UsedProof, b"alive")


def test_what_traffic_leaves_is_gone_within_the_hour(rp: RelyingParty, settings: Settings) -> None:
    for _ in range(5):
        rp.own_token()
    with db.transaction(settings.database_url) as session:
        mine = select(func.count()).select_from(AccessToken).where(AccessToken.client_id == rp.client_id)
        assert session.scalar(mine) == 5
        housekeeping.forget(session, now=db.now() + timedelta(hours=1))
        assert session.scalar(mine) == 0
        assert count(session, UsedProof) == 0
        session.rollback()


def test_a_code_used_again_an_hour_later_still_ends_its_refresh_token(
    rp: RelyingParty, person: Person, settings: Settings
) -> None:
    code = rp.code(person.browser)
    refresh = rp.redeem(code).json["refresh_token"]
    with db.transaction(settings.database_url) as session:
        mine = AuthorizationCode.code_hash == tokens.hash_of(code)
        session.execute(update(AuthorizationCode).where(mine).values(expires_at=db.now() - timedelta(hours=1)))
        housekeeping.forget(session, now=db.now())
    assert rp.redeem(code).json["error"] == "invalid_grant"
    answer = rp.token(grant_type="refresh_token", refresh_token=refresh)
    assert answer.json["error"] == "invalid_grant"


def test_a_refresh_token_nobody_uses_is_forgotten(rp: RelyingParty, person: Person, settings: Settings) -> None:
    refresh = rp.redeem(rp.code(person.browser)).json["refresh_token"]
    with db.transaction(settings.database_url) as session:
        housekeeping.forget(session, now=db.now() + timedelta(days=90))
        assert session.get(RefreshToken, tokens.hash_of(refresh))
        session.expunge_all()
        housekeeping.forget(session, now=db.now() + timedelta(days=92))
        assert session.get(RefreshToken, tokens.hash_of(refresh)) is None
        session.rollback()
