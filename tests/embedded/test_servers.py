from __future__ import annotations

import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest
from redis import Redis

from portal.embedded.account import Account
from portal.embedded.postgres import APP, OWNER, Postgres
from portal.embedded.valkey import Valkey
from portal.errors import MisconfiguredError
from tests.timing import until

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # Short, for the sockets, and passable, for the database's own account.
    path = tmp_path_factory.mktemp("e")
    for each in (path, *path.parents[:2]):
        each.chmod(0o755)
    return path


@pytest.fixture
def cluster(folder: Path) -> Iterator[Postgres]:
    server = Postgres(folder)
    server.start()
    yield server
    server.stop()


def _query(server: Postgres, statement: str) -> list[tuple[object, ...]]:
    with psycopg.connect(server.url(OWNER), autocommit=True) as connection:
        cursor = connection.execute(statement)
        return cursor.fetchall() if cursor.description else []


def _gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_a_killed_database_keeps_what_was_committed(cluster: Postgres) -> None:
    _query(cluster, "CREATE TABLE kept (n int)")
    _query(cluster, "INSERT INTO kept SELECT generate_series(1, 200)")
    cluster.kill()
    assert not cluster.alive
    cluster.start()
    assert _query(cluster, "SELECT count(*) FROM kept") == [(200,)]


def test_the_database_is_careful(cluster: Postgres) -> None:
    assert _query(cluster, "SHOW data_checksums") == [("on",)]
    assert _query(cluster, "SHOW listen_addresses") == [("",)]
    assert _query(cluster, "SHOW fsync") == [("on",)]
    assert Path(f"/proc/{cluster.pid}").stat().st_uid != 0


def test_the_application_is_not_the_owner(cluster: Postgres) -> None:
    with psycopg.connect(cluster.url(APP)) as connection:
        asked = connection.execute("SELECT rolsuper OR rolcreatedb FROM pg_roles WHERE rolname = current_user")
        assert asked.fetchone() == (False,)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("CREATE TABLE mine (n int)")


def test_a_wrong_password_is_refused(cluster: Postgres) -> None:
    password = (cluster.home / f"{APP}.password").read_text()
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(cluster.url(APP).replace(password, "wrong"))


def test_secrets_are_the_owners_alone(cluster: Postgres) -> None:
    assert {path.stat().st_mode & 0o777 for path in cluster.home.glob("*.password")} == {0o600}
    assert cluster.home.stat().st_mode & 0o777 == 0o700


def test_a_folder_too_deep_for_a_socket_is_refused(folder: Path) -> None:
    deep = folder / ("d" * 60) / ("d" * 60)
    deep.mkdir(parents=True)
    with pytest.raises(MisconfiguredError, match="too long"):
        Postgres(deep).start()
    with pytest.raises(MisconfiguredError, match="too long"):
        Valkey(deep).start()


def test_an_account_without_way_in_gets_a_home_elsewhere_for_good(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    stranger, wanted = Account(65534, 65534), tmp_path / "postgres"
    assert not stranger.can_pass(tmp_path)
    home = stranger.home(wanted)
    assert home.parent == Path("/var/tmp")  # noqa: S108 - the place meant
    assert home.stat().st_mode & 0o077 == 0
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o711)
    assert stranger.home(wanted) == home
    home.rmdir()
    assert Account(None, None).home(tmp_path / "mine") == tmp_path / "mine"


def test_a_database_out_of_reach_is_not_begun_anew(tmp_path: Path) -> None:
    cluster = tmp_path / "postgres" / "cluster"
    cluster.mkdir(parents=True)
    tmp_path.chmod(0o700)
    with pytest.raises(MisconfiguredError, match="no longer reach"):
        Account(65534, 65534).home(tmp_path / "postgres")


def test_valkey_keeps_its_queue_over_a_restart(folder: Path) -> None:
    server = Valkey(folder)
    server.start()
    with Redis.from_url(server.url) as client:
        client.rpush("queue", *range(100))
    server.stop()
    server.start()
    with Redis.from_url(server.url) as client:
        assert client.llen("queue") == 100
    server.stop()
    assert not server.alive


def test_valkey_answers_on_a_socket_of_its_owner_only(folder: Path) -> None:
    server = Valkey(folder)
    server.start()
    with Redis.from_url(server.url) as client:
        assert client.config_get("port") == {"port": "0"}
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
    assert (server.home / "valkey.sock").stat().st_mode & 0o077 == 0
    server.stop()


_ORPHANS = """
import os, signal, sys
from pathlib import Path
from portal.embedded.postgres import Postgres
from portal.embedded.valkey import Valkey
servers = [Postgres(Path(sys.argv[1]), fast=True), Valkey(Path(sys.argv[1]))]
for server in servers:
    server.start()
print(*(server.pid for server in servers), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux ties a child to its parent")
def test_servers_do_not_outlive_a_killed_parent(folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _ORPHANS, str(folder)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    for pid in done.stdout.split():
        until(partial(_gone, int(pid)), what="it outlived its parent")
