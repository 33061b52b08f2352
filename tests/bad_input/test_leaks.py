"""What went wrong is told without what was typed: logs, error pages, Valkey, and pages of others."""

from __future__ import annotations

import logging
import traceback
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from rq.job import Job
from rq.registry import FailedJobRegistry
from rq.serializers import JSONSerializer
from sqlalchemy import text, update
from sqlalchemy.exc import DBAPIError, StatementError

from portal import db, queue, worker
from portal.companies.models import Client, Company
from portal.consumer import services as consumer
from portal.logs import WordlessFormatter
from tests.bad_input.pages import path
from tests.purposes import amend

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flask import Flask

    from portal.config import Settings
    from portal.vault.keyring import Keyring
    from tests.bad_input.cast import Cast

CANARY = "Quixotrophe"
MARKUP = "\"'><script>alert(1)</script><b x={{7*7}}"
QUEUE = "leaks"


def fail(message: str = "") -> None:
    raise ValueError(CANARY + message)


@contextmanager
def _without(settings: Settings, table: str) -> Iterator[None]:
    """Take a table away for a moment: what a broken database looks like from a view."""
    owner = db.engine(settings.database_owner_url)
    with owner.begin() as connection:
        connection.execute(text(f"ALTER TABLE {table} RENAME TO {table}_away"))
    try:
        yield
    finally:
        with owner.begin() as connection:
            connection.execute(text(f"ALTER TABLE {table}_away RENAME TO {table}"))


@pytest.mark.parametrize("table", ["value", "current_record", "person_key"])
def test_a_broken_database_tells_no_value(
    settings: Settings, cast: Cast, caplog: pytest.LogCaptureFixture, table: str
) -> None:
    caplog.set_level(logging.DEBUG)
    caplog.handler.setFormatter(WordlessFormatter())
    fields = [("value", f"{CANARY} Byrne"), ("csrf_token", cast.ada.csrf())]
    with _without(settings, table):
        answer = cast.ada.client.post("/details/name.full/edit", data=dict(fields))
    assert answer.status_code == 500
    assert "req_" in answer.text
    assert CANARY not in answer.text + caplog.text + "".join(str(record.__dict__) for record in caplog.records)
    assert cast.ada.client.get("/details").status_code == 200


def test_errors_of_statements_carry_no_parameters(settings: Settings) -> None:
    for engine in (db.engine(settings.database_url), db.at_once(settings.database_url)):
        with engine.connect() as connection, pytest.raises((DBAPIError, StatementError)) as caught:
            connection.execute(text("SELECT 1 FROM person WHERE state = :words AND nothing = 1"), {"words": CANARY})
        assert CANARY not in "".join(traceback.format_exception(caught.value))


def test_a_failed_job_keeps_no_words_in_valkey(settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    """Read as RQ reads it: it packs what it keeps, so the words would not show in the bytes."""
    caplog.set_level(logging.DEBUG)
    assert queue.ring(settings.redis_url, QUEUE, f"{__name__}.fail")
    made = worker.worker_of(settings.redis_url, QUEUE)
    made._install_signal_handlers = lambda: None  # type: ignore[method-assign]  # noqa: SLF001 - the tests keep theirs
    made.work(burst=True, logging_level=None)
    connection = queue.connection(settings.redis_url)
    (job_id,) = FailedJobRegistry(QUEUE, connection=connection, serializer=JSONSerializer).get_job_ids()
    job = Job.fetch(job_id, connection=connection, serializer=JSONSerializer)
    result = job.latest_result()
    assert result is not None
    kept = (result.exc_string, job.description, job.meta, job.to_dict(), result.return_value)
    assert CANARY not in repr(kept)
    assert "see the worker's log" in str(result.exc_string)
    assert CANARY not in caplog.text
    job.delete()


def test_markup_is_shown_as_it_was_written(app: Flask, fresh: Cast, settings: Settings, keys: Keyring) -> None:
    """Stored by a person and by a company, on every page of either (OWASP ASVS 5.0, 1.2.1)."""
    firm, ada = fresh.firm, fresh.shared.person_id
    with db.transaction(settings.database_url) as session:
        values = {"name.full": MARKUP, "name.known_as": MARKUP}
        consumer.save(session, keyring=keys, person_id=ada, changes=values, now=db.now())
        session.execute(
            update(Company)
            .where(Company.company_id == firm.company_id)
            .values(trading_name=MARKUP, legal_name=MARKUP, stop_effect=MARKUP, registration_number=MARKUP)
        )
        session.execute(update(Client).where(Client.client_id == firm.client_id).values(name=MARKUP))
        asked = [{"attribute": "name.full", "reason": MARKUP}]
        amend(session, firm.purpose_id, sentence=MARKUP, required=asked)
    shown = 0
    for visitor in (fresh.ada, fresh.staff, fresh.stranger):
        for rule in app.url_map.iter_rules():
            known = {"grant_id": fresh.shared.grant_id, "disclosure_id": fresh.disclosure_id,
                     "client_id": firm.client_id, "attribute": "name.full", "sequence": 1,
                     "slug": firm.name.lower().replace(" ", "-")}  # fmt: skip
            if "GET" not in (rule.methods or ()) or not rule.arguments <= known.keys():
                continue
            address = path(app, rule.endpoint, {name: known[name] for name in rule.arguments})
            answer = visitor.client.get(address, buffered=True)
            assert answer.status_code < 500
            if answer.content_type.startswith("text/html"):
                assert "<script>alert" not in answer.text, address
                assert "x=49" not in answer.text, address
                assert "\"'><" not in answer.text, address
                shown += "&lt;script&gt;alert" in answer.text
    assert shown > 10
