from __future__ import annotations

import logging
import signal
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from redis import Redis

from portal import queue, worker
from portal.errors import NotFoundError
from portal.sync import jobs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from portal.config import Settings
    from portal.vault.keyring import Keyring

CANARY = "14 Canary Lane"
QUEUE = "words"


def fail() -> None:
    raise ValueError(CANARY)


@pytest.fixture(autouse=True)
def _signals() -> Iterator[None]:
    # A worker takes the signals of its process for itself; here the process goes on.
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in kept.items():
        signal.signal(number, handler)


def _everything(url: str) -> bytes:
    with Redis.from_url(url) as client:
        return b"".join(filter(None, (client.dump(key) for key in client.keys("rq:*")))) + b"".join(client.keys())


def test_a_failed_job_leaves_no_words(settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    assert queue.ring(settings.redis_url, QUEUE, f"{__name__}.fail")
    with caplog.at_level(logging.INFO):
        worker.worker_of(settings.redis_url, QUEUE).work(burst=True, logging_level=None)
    assert "ValueError at test_worker.py" in caplog.text
    assert CANARY not in caplog.text
    assert CANARY.encode() not in _everything(settings.redis_url)


def test_each_worker_answers_one_queue(settings: Settings) -> None:
    for name in queue.QUEUES:
        assert worker.worker_of(settings.redis_url, name).queue_names() == [name]


@pytest.mark.parametrize(("name", "warmed"), [(queue.PUSH, 1), (queue.CALLS, 0), (queue.WORK, 0), (queue.MAIL, 0)])
def test_a_worker_of_pushes_is_warm_before_its_first_job(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, warmed: int
) -> None:
    calls: list[str] = []
    monkeypatch.setattr(jobs, "warm", lambda: calls.append(name))
    worker.work(replace(settings, redis_url=f"unix://{tmp_path}/nobody.sock"), name)
    assert len(calls) == warmed


def test_warming_loads_keys_and_certificates(settings: Settings, keys: Keyring) -> None:
    assert settings
    assert keys
    jobs.warm()


def test_a_worker_that_cannot_be_warmed_works(caplog: pytest.LogCaptureFixture) -> None:
    def broken() -> None:
        raise NotFoundError(private="no database")

    worker._attempt(broken)  # noqa: SLF001 - `work` ends only by a signal
    assert "nothing could be loaded beforehand" in caplog.text


def test_without_valkey_a_worker_ends_to_be_started_again(settings: Settings, tmp_path: Path) -> None:
    gone = replace(settings, redis_url=f"unix://{tmp_path}/nobody.sock")
    assert worker.work(gone, QUEUE) == 1


def test_a_failing_sweep_is_told_once_and_does_not_end_it(caplog: pytest.LogCaptureFixture) -> None:
    def broken() -> None:
        raise NotFoundError(private="no table")

    with caplog.at_level(logging.INFO):
        well = worker._once(broken, "a sweep", well=True)  # noqa: SLF001 - the loop around it has no end
        well = worker._once(broken, "a sweep", well=well)  # noqa: SLF001 - the same
        well = worker._once(lambda: None, "a sweep", well=well)  # noqa: SLF001 - the same
    assert well
    told = [record.getMessage().split("\n")[0] for record in caplog.records]
    assert told == ["a sweep failed, the next one tries again", "a sweep succeeded again"]
