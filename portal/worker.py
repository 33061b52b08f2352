"""The processes behind the portal: a worker for each queue, the reconciler that rings what was lost, the sequencer."""

from __future__ import annotations

import gc
import logging
import signal
import threading
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

from redis import Redis, RedisError
from rq import Queue, SimpleWorker
from rq.serializers import JSONSerializer

from portal import wiring
from portal.ledger import jobs as sequencing
from portal.logs import wordless
from portal.queue import PUSH

if TYPE_CHECKING:
    from collections.abc import Callable

    from rq.executions import Execution
    from rq.job import Job

    from portal.config import Settings

log = logging.getLogger(__name__)

_WORKER_SECONDS = 60
_MONITORING_SECONDS = 5
_MAINTENANCE_SECONDS = 30
_SWEEP = "portal.sync.jobs:reconcile"
_WARM = "portal.sync.jobs:warm"
_PERIOD_SECONDS = 1.0


class WordlessWorker(SimpleWorker):
    """Keeps what an exception says out of Valkey and the log: it might quote a person's value."""

    def handle_exception(self, job: Job, *exc_info: Any) -> None:  # noqa: ANN401 - what sys.exc_info() gives
        log.error("job %s (%s) failed\n%s", job.id, job.func_name, wordless(exc_info[1]))

    def handle_job_failure(
        self,
        job: Job,
        queue: Queue,
        started_job_registry: object = None,
        exc_string: str = "",  # noqa: ARG002 - it quotes the exception; that is what is left out
        execution: Execution | None = None,
    ) -> None:
        super().handle_job_failure(job, queue, started_job_registry, "see the worker's log", execution)


def work(settings: Settings, name: str) -> int:
    """Answer the queue `name` until told to stop; return the exit status.

    One queue a worker: only then does RQ move a job atomically and find it again after a crash.  When Valkey goes
    away the worker ends with 1, and whoever supervises it starts it again.
    """
    wiring.wire()
    if name == PUSH:
        _attempt(resolve_name(_WARM))
    # What is loaded by now stays: to look through all of it for garbage costs a sender a tenth of its time.
    gc.freeze()
    try:
        worker = worker_of(settings.redis_url, name)
        log.info("worker answers %s", name)
        worker.work(with_scheduler=False, logging_level=None)
    except RedisError as error:
        log.warning("worker of %s lost Valkey: %s", name, type(error).__name__)
        return 1
    return 0


def worker_of(url: str, name: str) -> WordlessWorker:
    """Return a worker of the queue `name` on the Valkey at `url`."""
    connection = Redis.from_url(url, socket_connect_timeout=2)
    return WordlessWorker(
        [Queue(name, connection=connection, serializer=JSONSerializer)],
        connection=connection,
        serializer=JSONSerializer,
        worker_ttl=_WORKER_SECONDS,
        job_monitoring_interval=_MONITORING_SECONDS,
        maintenance_interval=_MAINTENANCE_SECONDS,
        log_job_description=False,
    )


def reconcile_for_ever() -> None:
    """Sweep each second for what is due and nobody was rung for, until told to stop."""
    wiring.wire()
    log.info("reconciler sweeps")
    _for_ever(resolve_name(_SWEEP), "a sweep")


def sequence_for_ever() -> None:
    """Let the log grow each second by what was logged, and sign it, until told to stop.

    Raises `MisconfiguredError` where it could not begin.
    """
    log.info("sequencer signs as %s", sequencing.signer().name)
    _for_ever(sequencing.sequence, "a turn of the log")


def _attempt(warm: Callable[[], object]) -> None:
    """Load beforehand what the first job needs; when the database is away, that job will say so itself."""
    try:
        warm()
    except Exception as error:  # noqa: BLE001 - whatever it is, jobs are still answered
        log.warning("nothing could be loaded beforehand\n%s", wordless(error))


def _for_ever(act: Callable[[], object], what: str) -> None:
    """Act each second; PostgreSQL or Valkey may be away: the log says so once each time that begins."""
    stop, well = _stop_on_signal(), True
    while not stop.wait(_PERIOD_SECONDS):
        well = _once(act, what, well=well)


def _once(act: Callable[[], object], what: str, *, well: bool) -> bool:
    try:
        act()
    except Exception as error:  # noqa: BLE001 - whatever it is, the next one must come
        if well:
            log.warning("%s failed, the next one tries again\n%s", what, wordless(error))
        return False
    if not well:
        log.info("%s succeeded again", what)
    return True


def _stop_on_signal() -> threading.Event:
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    return stop
