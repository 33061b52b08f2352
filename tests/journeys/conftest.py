"""One demo and one browser for every journey; each journey has a browser profile of its own."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.journeys import browser as browsers
from tests.journeys import program
from tests.journeys.receiver import Receiver
from tests.journeys.steps import World

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser

    from tests.journeys.program import Demo


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.journey)
            item.add_marker(pytest.mark.timeout(300))


@pytest.fixture(scope="session")
def receiver() -> Iterator[Receiver]:
    """The endpoint of a company that registers during the journeys."""
    with Receiver() as endpoint:
        yield endpoint


@pytest.fixture(scope="session")
def demo(chromium: Browser, receiver: Receiver) -> Iterator[Demo]:
    """The program, started as anyone would; when it is stopped, nothing of it is left."""
    assert chromium.is_connected()
    with tempfile.TemporaryDirectory(prefix="ucm-journey-", ignore_cleanup_errors=True) as folder:
        # The database's own account passes through this folder on its way to its data.
        Path(folder).chmod(0o711)
        running = program.start(Path(folder), allow=receiver.allow)
        try:
            yield running
        finally:
            left = program.stop(running)
        assert left == []


@pytest.fixture(params=[True, False], ids=["with-javascript", "without-javascript"])
def scripts(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture
def world(demo: Demo, chromium: Browser, scripts: bool) -> Iterator[World]:  # noqa: FBT001 - pytest hands it over by name
    """The demo as seen by people with a browser each, with scripts or without."""
    with ExitStack() as windows:
        yield World(demo, lambda: windows.enter_context(browsers.window(chromium, scripts=scripts)), scripts=scripts)
