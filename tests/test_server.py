"""The portal's own TLS, by real handshakes (FAPI 2.0 section 5.2.1, RFC 9325): what is old or weak is refused."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from portal.server import CertificateError, KeyExposedError, Tls
from tests.test_cli import run
from tests.timing import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from portal.config import Settings

ROOT = Path(__file__).parents[1]
READY_SECONDS = 60
STOP_SECONDS = 20
GOOD = "ECDHE-ECDSA-AES128-GCM-SHA256"
# With `SECLEVEL=0` the test's own side would agree to anything, so that it is the server that refuses.
REFUSED = {
    "TLS 1.0": (ssl.TLSVersion.TLSv1, "ALL:@SECLEVEL=0"),
    "TLS 1.1": (ssl.TLSVersion.TLSv1_1, "ALL:@SECLEVEL=0"),
    "1.2 CBC, SHA-1": (ssl.TLSVersion.TLSv1_2, "ECDHE-ECDSA-AES128-SHA:@SECLEVEL=0"),
    "1.2 CBC, SHA-256": (ssl.TLSVersion.TLSv1_2, "ECDHE-ECDSA-AES128-SHA256:@SECLEVEL=0"),
    "1.2 without forward secrecy": (ssl.TLSVersion.TLSv1_2, "AES128-GCM-SHA256:@SECLEVEL=0"),
    "1.2 finite-field Diffie-Hellman": (ssl.TLSVersion.TLSv1_2, "DHE-RSA-AES128-GCM-SHA256:@SECLEVEL=0"),
}
ACCEPTED = {
    "TLS 1.2": (ssl.TLSVersion.TLSv1_2, GOOD),
    "TLS 1.3": (ssl.TLSVersion.TLSv1_3, None),
}


class Served(NamedTuple):
    """Where the portal answers, and the process that its workers are forks of."""

    port: int
    pid: int


def make(folder: Path) -> Tls:
    """Write a certificate of `localhost` that signs itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name, now = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")]), datetime.now(UTC)
    names = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))])
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(names, critical=False)
        .sign(key, SHA256())
    )
    tls = Tls(certificate=folder / "certificate.pem", key=folder / "key.pem")
    tls.certificate.write_bytes(certificate.public_bytes(Encoding.PEM))
    tls.key.touch(0o600)
    tls.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return tls


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Tls:
    return make(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def server(settings: Settings, tls: Tls) -> Iterator[Served]:
    assert settings.database_url
    port = free_port()
    command = [
        sys.executable, "-m", "portal", "serve", "--port", str(port), "--workers", "1",
        "--certificate", str(tls.certificate), "--key", str(tls.key), "--data", str(tls.key.parent),
    ]  # fmt: skip
    given = os.environ | {"PYTHONPATH": str(ROOT), "PORTAL_URL": f"https://localhost:{port}"}
    process = subprocess.Popen(command, cwd=ROOT, env=given, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(port, tls)
        yield Served(port, process.pid)
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def children(pid: int) -> list[str]:
    lists = Path(f"/proc/{pid}/task").glob("*/children")
    return [child for each in lists for child in each.read_text().split()]


@pytest.fixture(scope="module")
def port(server: Served) -> int:
    return server.port


def wait_for(port: int, tls: Tls) -> None:
    # The port is open before anybody answers there.
    ends = time.monotonic() + READY_SECONDS
    while time.monotonic() < ends:
        try:
            shake(port, client(tls, ssl.TLSVersion.TLSv1_3, None)).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise AssertionError("the portal did not start")


def shake(port: int, context: ssl.SSLContext) -> ssl.SSLSocket:
    plain = socket.create_connection(("127.0.0.1", port), 10)
    try:
        return context.wrap_socket(plain, server_hostname="localhost")
    except OSError:
        plain.close()
        raise


def client(tls: Tls, version: ssl.TLSVersion, ciphers: str | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(tls.certificate))
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    context.maximum_version = version
    if version < ssl.TLSVersion.TLSv1_2:
        context.minimum_version = version
    if ciphers is not None:
        context.set_ciphers(ciphers)
    return context


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
@pytest.mark.parametrize("how", REFUSED)
def test_old_and_weak_hellos_are_refused(port: int, tls: Tls, how: str) -> None:
    with pytest.raises(ssl.SSLError) as refused:
        shake(port, client(tls, *REFUSED[how]))
    # An alert came back: it was not this side that gave up.
    assert "ALERT" in str(refused.value.reason), refused.value


def test_a_worker_shares_most_of_its_memory_with_the_process_it_is_a_fork_of(server: Served) -> None:
    (worker,) = children(server.pid)
    sizes = dict(line.split(":") for line in Path(f"/proc/{worker}/smaps_rollup").read_text().splitlines()[1:])
    kilobytes = {name: int(size.split()[0]) for name, size in sizes.items()}
    assert kilobytes["Private_Clean"] + kilobytes["Private_Dirty"] < kilobytes["Rss"] / 2


def test_it_stops_also_when_told_so_while_its_workers_start(settings: Settings, tmp_path: Path) -> None:
    assert settings.database_url
    hurried = "from portal import cli, server; server._STOP_SECONDS = 1; cli.main()"
    more = ["serve", "--workers", "1", "--data", str(tmp_path)]
    starting = [
        subprocess.Popen(
            [sys.executable, "-c", hurried, *more, "--port", str(free_port())],
            cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, start_new_session=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        for _ in range(3)
    ]  # fmt: skip
    try:
        for number, process in enumerate(starting):
            until(lambda: children(process.pid), READY_SECONDS)  # noqa: B023 - called at once
            time.sleep(number * 0.1)
            process.terminate()
        # A worker hears nothing before it serves.
        assert [process.wait(STOP_SECONDS) for process in starting] == [0, 0, 0]
    finally:
        for process in starting:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.mark.parametrize("how", ACCEPTED)
def test_the_rest_is_served(port: int, tls: Tls, how: str) -> None:
    version, ciphers = ACCEPTED[how]
    with shake(port, client(tls, version, ciphers)) as line:
        assert line.version() == version.name.replace("_", ".")
        line.sendall(f"GET /oauth/jwks HTTP/1.1\r\nHost: localhost:{port}\r\nConnection: close\r\n\r\n".encode())
        answer = b"".join(iter(lambda: line.recv(4096), b""))
    head = answer.partition(b"\r\n\r\n")[0].decode().lower()
    assert head.startswith("http/1.1 200")
    assert "strict-transport-security: max-age=31536000; includesubdomains" in head


def test_a_key_that_everybody_can_read_is_refused(tmp_path: Path) -> None:
    tls = make(tmp_path)
    tls.key.chmod(0o644)
    with pytest.raises(KeyExposedError):
        tls.check()


def test_files_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    tls = make(tmp_path)
    tls.check()
    (tmp_path / "other").mkdir()
    other = make(tmp_path / "other")
    for pair in (Tls(certificate=tls.certificate, key=other.key), Tls(certificate=tls.key, key=tls.key)):
        with pytest.raises(CertificateError):
            pair.check()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["certificate"], "Give --certificate and --key together."),
        (["key"], "Give --certificate and --key together."),
        (["certificate", "key"], "With a certificate, PORTAL_URL must begin with https://."),
    ],
)
def test_half_of_it_is_no_tls(
    settings: Settings, tls: Tls, capsys: pytest.CaptureFixture[str], given: list[str], words: str
) -> None:
    assert not settings.secure
    options = [part for name in given for part in (f"--{name}", str(getattr(tls, name)))]
    assert run("serve", *options) == 1
    assert capsys.readouterr().err.strip() == words
