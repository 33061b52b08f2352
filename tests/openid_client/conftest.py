"""A server of its own for the certified client, which is installed by `make test`."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from portal import db
from portal.companies.metadata import CIBA, GRANT_TYPES
from portal.ledger import services as ledger
from tests.fapi import cast as casting
from tests.fapi.server import Server
from tests.fapi.wire import Wire

if TYPE_CHECKING:
    from collections.abc import Iterator

    from joserfc.jwk import Key

    from portal.config import Settings
    from portal.vault.keyring import Keyring
    from tests.fapi.cast import Party

HERE = Path(__file__).parent
_SECONDS = 120
_OLDEST = 18
# Debian 12 has Node.js 18, which keeps the Web Cryptography API behind a flag; newer ones take the flag and ignore it.
_OPTIONS = ("--experimental-global-webcrypto", "--no-warnings")
_SEALED = {"alg": "ECDH-ES+A256KW", "enc": "A256GCM"}
SIGNED: dict[str, Any] = {
    "require_signed_request_object": True,
    "request_object_signing_alg": "ES256",
    "authorization_signed_response_alg": "ES256",
    "userinfo_signed_response_alg": "ES256",
    "introspection_signed_response_alg": "ES256",
}
SEALED: dict[str, Any] = {
    f"{answer}_encrypted_response_{name}": value
    for answer in ("id_token", "userinfo", "introspection")
    for name, value in _SEALED.items()
} | {"userinfo_signed_response_alg": "ES256", "introspection_signed_response_alg": "ES256"}
APPROVAL: dict[str, Any] = {"grant_types": [*GRANT_TYPES, CIBA], "backchannel_token_delivery_mode": "poll"}
Report = dict[str, dict[str, Any]]


@pytest.fixture(scope="session")
def node() -> str:
    """The program that runs the client; without it the tests say what is missing."""
    found = shutil.which("node")
    missing = ""
    if found is None or _version(found) < _OLDEST:
        missing = f"Node.js {_OLDEST} or newer is not installed"
    elif not (HERE / "node_modules" / "openid-client").is_dir():
        missing = "openid-client is not installed: run npm ci in tests/openid_client"
    if missing:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(missing)
    return str(found)


def _version(program: str) -> int:
    asked = subprocess.run([program, "-p", "process.versions.node"], capture_output=True, check=True)
    return int(asked.stdout.partition(b".")[0])


@pytest.fixture(scope="session")
def here(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    with db.transaction(settings.database_url) as session:
        ledger.open_months(session, now=db.now())
    with Server(tmp_path_factory.mktemp("openid-client")) as running:
        yield replace(settings, url=running.url)
        assert running.troubles() == []


@pytest.fixture(scope="session")
def report(node: str, here: Settings, keys: Keyring) -> Report:
    """What the client says of each of its steps, by the step's name."""
    given = json.dumps(_given(here, keys)).encode()
    done = subprocess.run(
        [node, *_OPTIONS, "flow.mjs"], cwd=HERE, input=given, capture_output=True, timeout=_SECONDS, check=False
    )
    lines = [json.loads(line) for line in done.stdout.decode().splitlines() if line.startswith("{")]
    told: Report = {line["step"]: line for line in lines}
    told["the end"] = {"ok": done.returncode == 0, "error": done.stderr.decode()[-2000:]}
    return told


def _given(here: Settings, keys: Keyring) -> dict[str, Any]:
    wire = Wire(int(here.url.rpartition(":")[2]))
    plain = casting.party(wire, here)
    person = casting.person(wire, here, keys)
    fresh = casting.party(wire, here)
    return {
        "issuer": here.issuer,
        "session": (person.wire.cookies or {})["session"],
        "redirect_uri": casting.REDIRECT_URI,
        "purpose": casting.PURPOSE,
        "initial_access_token": casting.initial_token(here, plain, person),
        "clients": {
            "plain": _known(plain),
            "signed": _known(casting.party(wire, here, **SIGNED), **SIGNED),
            "sealed": _known(casting.party(wire, here, **SEALED), **SEALED),
            "approval": _known(casting.party(wire, here, **APPROVAL), **APPROVAL),
            "fresh": _known(fresh) | {"jwks": {"keys": fresh.keys()}},
        },
    }


def _known(party: Party, **metadata: Any) -> dict[str, Any]:  # noqa: ANN401 - RFC 7591 metadata
    return {
        "client_id": party.client_id,
        "key": _private(party.key, "s1"),
        "encryption": _private(party.encryption_key, "e1"),
        "metadata": {"id_token_signed_response_alg": "ES256", "authorization_signed_response_alg": "ES256"} | metadata,
    }


def _private(key: Key, kid: str) -> dict[str, Any]:
    return {**key.as_dict(private=True), "kid": kid}
