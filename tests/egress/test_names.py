"""Names are asked for beside the loop, and those that hang beside those that do not."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from portal.egress import names
from portal.egress.names import Names

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
        time.sleep(0.1)
    if host == "nowhere":
        raise OSError("no such name")
    return ["192.0.2.7"]


def wait(known: Names, *hosts: str) -> float:
    """Ask for names until all are known; return the seconds it took."""
    began = time.monotonic()
    while not all(known.known((host, 443)) for host in hosts):
        time.sleep(0.002)
        known.found()
    return time.monotonic() - began


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
    monkeypatch.setattr(names, "_REMEMBERED_PROBLEM_SECONDS", 0.03)
    known = Names(resolve, lambda: None)
    wait(known, "nowhere")
    with pytest.raises(OSError, match="no such name"):
        known.addresses("nowhere", 443)
    time.sleep(0.04)
    assert not known.known(("nowhere", 443))


def test_name_that_hung_once_keeps_no_other_waiting_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names, "_REMEMBERED_SECONDS", 0.01)
    known = Names(resolve, lambda: None)
    hanging = [f"slow{number}.example.com" for number in range(4)]
    # The first time nobody can know.
    for host in hanging:
        wait(known, host)
    for host in hanging:
        known.known((host, 443))
    assert wait(known, "quick.example.com") < 0.08
    time.sleep(0.5)


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names, "_REMEMBERED", 10)
    known = Names(resolve, lambda: None)
    for number in range(50):
        wait(known, f"host{number}")
        assert known.known((f"host{number}", 443))
    assert sum(known.known((f"host{number}", 443)) for number in range(50)) <= 11
