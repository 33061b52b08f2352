"""The company's keys: private ones stay private, the metadata holds public halves only."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from joserfc import jwe
from joserfc.errors import JoseError

import keys
import make_keys
import open_challenge

ALGORITHMS = ("ECDH-ES+A256KW", "A256GCM")
PROGRAM = Path(__file__).parents[2] / "examples" / "demo_company"


def test_private_keys_are_for_the_owner_only(tmp_path: Path) -> None:
    keys.ensure(tmp_path)
    modes = {stat.S_IMODE(file.stat().st_mode) for file in tmp_path.glob("*.private.json")}
    assert modes == {0o600}


def test_a_key_others_can_read_is_refused(tmp_path: Path) -> None:
    keys.ensure(tmp_path)
    (tmp_path / "dpop.private.json").chmod(0o640)
    with pytest.raises(keys.ReadableByOthersError):
        keys.load(tmp_path)


def test_the_metadata_holds_public_keys_only(tmp_path: Path) -> None:
    document = make_keys.metadata(keys.ensure(tmp_path), redirect_uri="http://localhost:8001/callback")
    assert [(key["use"], key["alg"], "d" in key) for key in document["jwks"]["keys"]] == [
        ("sig", "ES256", False),
        ("enc", "ECDH-ES+A256KW", False),
    ]
    assert document["token_endpoint_auth_method"] == "private_key_jwt"


def test_the_command_keeps_keys_it_finds(tmp_path: Path) -> None:
    command = [sys.executable, str(PROGRAM / "make_keys.py"), "--folder", str(tmp_path)]
    command += ["--redirect-uri", "http://localhost:8001/callback"]
    documents = []
    for _ in range(2):
        subprocess.run(command, check=True, capture_output=True, timeout=30)
        documents.append(json.loads((tmp_path / "metadata.json").read_text()))
    assert documents[0] == documents[1]


def test_the_company_knows_nothing_of_the_portals_code() -> None:
    for file in PROGRAM.glob("*.py"):
        assert "import portal\n" not in file.read_text()
        assert "from portal" not in file.read_text().replace("from portal_client", "")


def test_a_challenge_is_opened_by_the_company_alone(tmp_path: Path) -> None:
    ours, theirs = (keys.ensure(tmp_path / name) for name in ("ours", "theirs"))
    header = {"alg": "ECDH-ES+A256KW", "enc": "A256GCM", "kid": ours.encryption.kid}
    challenge = jwe.encrypt_compact(header, b"what only they can read", ours.encryption, algorithms=list(ALGORITHMS))
    command = [sys.executable, str(PROGRAM / "open_challenge.py"), "--folder", str(tmp_path / "ours")]
    done = subprocess.run(command, input=challenge, text=True, check=True, capture_output=True, timeout=30)
    assert done.stdout == "what only they can read\n"
    with pytest.raises(JoseError):
        open_challenge.open_challenge(challenge, theirs.encryption)
