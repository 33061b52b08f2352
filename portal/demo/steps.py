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

_ANSWER_SECONDS = 2.0
_LOOK_SECONDS = 0.1


@contextmanager
def step(name: str) -> Iterator[None]:
    """Print `name` when it is done, and how long it took."""
    began = time.monotonic()
    yield
    click.echo(f"  {name:<46} {time.monotonic() - began:5.1f} s")


def until(what: str, look: Callable[[], bool], *, seconds: float) -> None:
    """Look until it is so; raise `MisconfiguredError` saying `what` did not come about."""
    deadline = time.monotonic() + seconds
    while not look():
        if time.monotonic() > deadline:
            raise MisconfiguredError(f"{what} within {seconds:.0f} seconds.")
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
