from __future__ import annotations

import socket
import sys
from pathlib import Path

import pytest

from portal.demo.places import DemoRunningError, NotDemoDataError, Places, free_port, port_or_any
from portal.errors import MisconfiguredError


def test_secrets_are_written_for_the_owner_alone(tmp_path: Path) -> None:
    places = Places(tmp_path)
    places.write_secret(places.settings, "NAME=value\n")
    places.write_secret(places.settings, "NAME=other\n")
    assert places.settings.read_text() == "NAME=other\n"
    assert places.settings.stat().st_mode & 0o777 == 0o600


def test_two_demos_do_not_share_a_folder(tmp_path: Path) -> None:
    places = Places(tmp_path / "data")
    with places.alone(), pytest.raises(DemoRunningError), places.alone():
        pass
    with places.alone():
        pass


def test_reset_empties_the_demo(tmp_path: Path) -> None:
    places = Places(tmp_path / "data")
    places.prepare()
    places.write_json(places.data / "anything.json", {})
    places.empty()
    assert not places.data.exists()
    places.empty()


def test_reset_leaves_other_folders_alone(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("mine")
    with pytest.raises(NotDemoDataError):
        Places(tmp_path).empty()
    assert (tmp_path / "letter.txt").exists()


def test_reset_waits_for_a_running_demo(tmp_path: Path) -> None:
    places = Places(tmp_path / "data")
    with places.alone(), pytest.raises(DemoRunningError):
        places.empty()
    assert places.data.exists()


def test_a_taken_port_is_named() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(MisconfiguredError, match=str(port)):
            free_port(port, purpose="the portal")
        assert port_or_any(port, purpose="the mailbox") != port


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")
def test_a_free_port_is_none_that_calls_going_out_may_take() -> None:
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    ports = {free_port(0, purpose="the portal") for _ in range(20)}
    assert max(ports) < lowest
    assert len(ports) > 1


def test_a_long_log_starts_anew(tmp_path: Path) -> None:
    places = Places(tmp_path)
    places.log("portal").write_bytes(b"x" * 6_000_000)
    assert not places.log("portal").exists()
