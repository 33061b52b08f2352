"""The programs that docs/companies.md gives engineers to copy run as they stand."""

from __future__ import annotations

import json
import re
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import update

from portal import db
from portal.companies import client_keys
from portal.companies.models import ClientKey
from portal.vault import base64url
from tests.fapi.cast import REDIRECT_URI
from tests.oauth.rp import query

if TYPE_CHECKING:
    import pytest

    from portal.config import Settings
    from tests.fapi.cast import Party, Person

_DOCUMENT = (Path(__file__).parents[2] / "docs" / "companies.md").read_text()
_PROGRAM = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_MAKE_KEYS, _FIRST_TOKEN, _SIGN_IN, *_OTHERS = _PROGRAM.findall(_DOCUMENT)
[_PROVE_KEYS] = [program for program in _OTHERS if "keys:manage" in program]
[_CHECK_COPIES] = [program for program in _OTHERS if "ucm-drift-v1" in program]
[_PULL_ONCE] = [program for program in _OTHERS if '"epk"' in program]
[_CHOOSE] = [program for program in _OTHERS if "ssf-configuration" in program]
[_FETCH] = [program for program in _OTHERS if "def fetch" in program]
_THEIRS = {"redirect": "https://www.brightwell.example/back", "portal": "https://portal.example", "client": "test_…"}


def _run(program: str, names: dict[str, Any], *, rp: Party) -> None:
    own = {"redirect": REDIRECT_URI, "portal": rp.issuer, "client": rp.client_id}
    for what, there in _THEIRS.items():
        program = program.replace(there, own[what])
    exec(compile(program, "docs/companies.md", "exec"), names)  # noqa: S102 - the document's own program


def test_from_no_keys_to_a_persons_details(
    *,
    rp: Party,
    person: Person,
    here: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    _run(_MAKE_KEYS, names, rp=rp)
    assert [stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()] == [0o600, 0o600]
    with db.transaction(here.database_url) as session:
        client_keys.add(session, client_id=rp.client_id, jwks=json.loads(capsys.readouterr().out), now=db.now())
    _run(_FIRST_TOKEN, names, rp=rp)
    assert capsys.readouterr().out == "DPoP 600\n"
    _run(_PROVE_KEYS, names, rp=rp)
    assert capsys.readouterr().out == f"{names['encryption_key'].kid} held\n"
    _run(_SIGN_IN, names, rp=rp)
    [address] = capsys.readouterr().out.split()
    assert address.startswith(f"{rp.issuer}/oauth/authorize?client_id={rp.client_id}&request_uri=")
    tokens, message = names["arrive"](
        query(rp.press(person, names["pushed"]["request_uri"], attributes=["email.main"]))
    )
    assert tokens["grant_id"]
    assert tokens["sub"]
    assert (message.status_code, message.headers["Content-Type"]) == (200, "application/secevent+jwt")
    _run(_CHOOSE, names, rp=rp)
    assert capsys.readouterr().out == "urn:ietf:rfc:8936\n"
    _run(_FETCH, names, rp=rp)
    stored: list[str] = []
    names["fetch"](stored.append)
    claims = [json.loads(base64url.decode(message.split(".")[1])) for message in stored]
    assert [each["sub_id"]["sub"] for each in claims] == [tokens["sub"]]
    names["fetch"](stored.append)
    assert len(stored) == 1
    _rest_and_end(names)
    _run(_CHECK_COPIES, names, rp=rp)
    own, held = names["own"]["access_token"], "aoife@example.org"
    [checked] = names["check_copies"](own, {tokens["sub"]: {"email.main": held}})
    assert checked == {"sub": tokens["sub"], "attributes": {"email.main": "same"}}
    _let_the_hold_end(here, rp, names["encryption_key"].kid)
    _run(_PULL_ONCE, names, rp=rp)
    told, etag = names["pull"](tokens["sub"], own)
    assert told["email.main"] == held
    assert names["pull"](tokens["sub"], own, etag) == (None, etag)


def _let_the_hold_end(here: Settings, rp: Party, kid: str) -> None:
    with db.transaction(here.database_url) as session:
        mine = update(ClientKey).where(ClientKey.client_id == rp.client_id, ClientKey.kid == kid)
        session.execute(mine.values(active_from=db.now()))


def _rest_and_end(names: dict[str, Any]) -> None:
    """Verify, pause, go on and delete (SSF 1.0 sections 8.1.2 and 8.1.4), as the document's own `ask` does it."""
    told, token, stream_id = names["told"], names["manage"], names["stream"]["stream_id"]
    events: list[dict[str, Any]] = []

    def note(message: str) -> None:
        events.append(json.loads(base64url.decode(message.split(".")[1]))["events"])

    names["ask"]("POST", told["verification_endpoint"], token, {"stream_id": stream_id, "state": "ours"})
    for status in ("paused", "enabled"):
        names["fetch"](note)
        names["ask"]("POST", told["status_endpoint"], token, {"stream_id": stream_id, "status": status})
    names["fetch"](note)
    verified, paused, enabled = (content for event in events for content in event.values())
    assert verified == {"state": "ours"}
    assert (paused["status"], enabled["status"]) == ("paused", "enabled")
    assert names["ask"]("GET", told["status_endpoint"], token, stream_id=stream_id)["status"] == "enabled"
    assert names["ask"]("DELETE", told["configuration_endpoint"], token, stream_id=stream_id) is None
    assert names["ask"]("GET", told["configuration_endpoint"], token) == []
