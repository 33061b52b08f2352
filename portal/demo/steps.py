"""Telling a person at a terminal how far the demo is: one line a step, with the time it took."""

from __future__ import annotations

import http.client
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import click

from portal.errors import MisconfiguredError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from portal.demo.processes import Child

_ANSWER_SECONDS = 2.0
_LOOK_SECONDS = 0.1


@contextmanager
def step(name: str) -> Iterator[None]:
    """Print `name` when it is done, and how long it took."""
    began = time.monotonic()
    yield
    click.echo(f"  {name:<46} {time.monotonic() - began:5.1f} s")


def until(child: Child, look: Callable[[], bool], *, seconds: float) -> None:
    """Look until it is so; raise `MisconfiguredError` when `child` ends before, or takes too long."""
    deadline = time.monotonic() + seconds
    while not look():
        if not child.alive:
            raise MisconfiguredError(f"{child.name} ended while it was starting: see {child.log}")
        if time.monotonic() > deadline:
            raise MisconfiguredError(f"{child.name} did not answer within {seconds:.0f} seconds: see {child.log}")
        time.sleep(_LOOK_SECONDS)


def answers(url: str) -> bool:
    """Say whether a GET of `url`, on this machine, is answered by anything but a server's failure."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=_ANSWER_SECONDS)
    try:
        connection.request("GET", parts.path or "/")
        return connection.getresponse().status < http.client.INTERNAL_SERVER_ERROR
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
