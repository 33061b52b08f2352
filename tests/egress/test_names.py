"""Names are asked for beside the loop, and those that hang beside those that do not."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from portal.egress import names
from portal.egress.names import Names
from tests.timing import until

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def two_threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with ThreadPoolExecutor(2) as quick, ThreadPoolExecutor(1) as slow:
        monkeypatch.setattr(names, "threads", lambda: quick)
        monkeypatch.setattr(names, "threads_for_slow", lambda: slow)
        monkeypatch.setattr(names, "_SLOW_SECONDS", 0.05)
        yield


def resolve(host: str, _port: int) -> list[str]:
    if host.startswith("slow"):
        # Longer than what counts as slow here.
        time.sleep(0.1)
    if host == "nowhere":
        raise OSError("no such name")
    return ["192.0.2.7"]


def wait(known: Names, *hosts: str) -> None:
    """Ask for names until all are known."""

    def answered() -> bool:
        known.found()
        return all(known.known((host, 443)) for host in hosts)

    until(answered)


def find(known: Names, host: str) -> None:
    """Wait until an answer to what was asked before has come."""
    until(lambda: (host, 443) in known.found())


def test_name_is_asked_for_once_and_remembered() -> None:
    asked: list[str] = []
    rung: list[int] = []

    def count(host: str, port: int) -> list[str]:
        asked.append(host)
        return resolve(host, port)

    known = Names(count, lambda: rung.append(1))
    for _ in range(3):
        wait(known, "slow.example.com", "quick.example.com")
    assert sorted(asked) == ["quick.example.com", "slow.example.com"]
    assert len(rung) == 2
    assert known.addresses("quick.example.com", 443) == ["192.0.2.7"]


def test_name_that_leads_nowhere_is_told_and_forgotten_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    known = Names(resolve, lambda: None)
    wait(known, "nowhere", "quick.example.com")
    with pytest.raises(OSError, match="no such name"):
        known.addresses("nowhere", 443)
    now = time.monotonic()
    monkeypatch.setattr("portal.egress.names.time.monotonic", lambda: now + 1.1)
    assert not known.known(("nowhere", 443))
    assert known.known(("quick.example.com", 443))


def test_name_that_hung_once_keeps_no_other_waiting_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names, "_REMEMBERED_SECONDS", 0.0)
    hangs, over = threading.Event(), threading.Event()

    def hang(host: str, port: int) -> list[str]:
        if hangs.is_set() and host.startswith("slow"):
            over.wait(30)
        return resolve(host, port)

    known = Names(hang, lambda: None)
    hanging = [f"slow{number}.example.com" for number in range(4)]
    # The first time nobody can know.
    for host in hanging:
        known.known((host, 443))
        find(known, host)
    hangs.set()
    for host in hanging:
        assert not known.known((host, 443))
    known.known(("quick.example.com", 443))
    # It comes while the others hang, or never.
    find(known, "quick.example.com")
    over.set()


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names, "_REMEMBERED", 10)
    known = Names(resolve, lambda: None)
    for number in range(50):
        wait(known, f"host{number}")
        assert known.known((f"host{number}", 443))
    assert sum(known.known((f"host{number}", 443)) for number in range(50)) <= 11
