"""The company's three private keys.  They are made here, never leave this folder, and only the owner may read them.

- `signing` proves who is calling (private_key_jwt, RFC 7523).
- `encryption` opens what the portal seals to this company.
- `dpop` binds access tokens to this program (RFC 9449): a stolen token is worth nothing without it.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from joserfc.jwk import ECKey

if TYPE_CHECKING:
    from pathlib import Path

_OWNER_ONLY = 0o600
_GROUP_OR_OTHERS = 0o077
_USES = {
    "signing": {"use": "sig", "alg": "ES256"},
    "encryption": {"use": "enc", "alg": "ECDH-ES+A256KW"},
    "dpop": {"use": "sig", "alg": "ES256"},
}


class ReadableByOthersError(Exception):
    """A private key that others on this machine can read is not private."""


@dataclass(frozen=True)
class CompanyKeys:
    """Three P-256 private keys; each one's `kid` is its RFC 7638 thumbprint."""

    signing: ECKey
    encryption: ECKey
    dpop: ECKey

    def public_jwks(self) -> dict[str, Any]:
        """Return the JWK Set to register: signing and encryption key, public halves only."""
        return {"keys": [_public(self.signing), _public(self.encryption)]}


def ensure(folder: Path) -> CompanyKeys:
    """Return the keys in `folder`, making those that are missing."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in _USES:
        if not _file(folder, name).exists():
            _make(folder, name)
    return load(folder)


def load(folder: Path) -> CompanyKeys:
    """Read the keys in `folder`; raise `ReadableByOthersError` when one is not kept private."""
    return CompanyKeys(**{name: _read(_file(folder, name)) for name in _USES})


def _file(folder: Path, name: str) -> Path:
    return folder / f"{name}.private.json"


def _make(folder: Path, name: str) -> None:
    key = ECKey.generate_key("P-256")
    jwk = {**key.as_dict(private=True), "kid": key.thumbprint(), **_USES[name]}
    # The mode is given when the file is made, so that there is no moment in which others could read it.
    descriptor = os.open(_file(folder, name), os.O_WRONLY | os.O_CREAT | os.O_EXCL, _OWNER_ONLY)
    with os.fdopen(descriptor, "w") as file:
        json.dump(jwk, file)


def _read(file: Path) -> ECKey:
    if file.stat().st_mode & _GROUP_OR_OTHERS:
        raise ReadableByOthersError(f"{file} must be readable by its owner only: chmod 600 {file}")
    return ECKey.import_key(json.loads(file.read_text()))


def _public(key: ECKey) -> dict[str, Any]:
    public = key.as_dict(private=False)
    return {name: public[name] for name in ("kty", "crv", "x", "y", "kid", "use", "alg")}
