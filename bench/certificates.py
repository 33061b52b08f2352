"""Certificates for loopback addresses, by an authority of the bench's own that the program is told to trust."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from pathlib import Path

_NETWORK = 3


class Authority:
    """Signs one certificate for each network of 256 addresses, so that none is longer than real ones are."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key, self._name = ec.generate_private_key(ec.SECP256R1()), _name("Bench")
        made = _builder(self._name, self._name, self._key.public_key())
        made = made.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        self.certificate = folder / "authority.pem"
        self.certificate.write_bytes(made.sign(self._key, hashes.SHA256()).public_bytes(Encoding.PEM))

    def certify(self, addresses: Iterable[str]) -> dict[str, list[str]]:
        """Return, by the network of an address (its first three numbers), the files of certificate and key."""
        networks: dict[str, list[str]] = {}
        for address in addresses:
            networks.setdefault(network(address), []).append(address)
        return {name: self._certify(name, members) for name, members in networks.items()}

    def _certify(self, name: str, addresses: Collection[str]) -> list[str]:
        key = ec.generate_private_key(ec.SECP256R1())
        names = x509.SubjectAlternativeName([x509.IPAddress(ip_address(address)) for address in addresses])
        made = _builder(_name(name), self._name, key.public_key()).add_extension(names, critical=False)
        files = [self._folder / f"{name}.pem", self._folder / f"{name}.key"]
        files[0].write_bytes(made.sign(self._key, hashes.SHA256()).public_bytes(Encoding.PEM))
        files[1].write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return [str(file) for file in files]


def network(address: str) -> str:
    return ".".join(address.split(".")[:_NETWORK])


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _builder(name: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return x509.CertificateBuilder(
        issuer, name, key, x509.random_serial_number(), now - timedelta(hours=1), now + timedelta(days=1)
    )
