"""The programs that the guide for companies gives engineers to copy run as they stand."""

from __future__ import annotations

import json
import re
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import update

from portal import db, wiring
from portal.companies import client_keys
from portal.companies.models import Client, ClientKey
from portal.consent import services
from portal.ledger import publisher, sequencer
from portal.vault import base64url, log_key
from tests.fapi.cast import REDIRECT_URI
from tests.oauth.rp import query

if TYPE_CHECKING:
    from portal.config import Settings
    from tests.fapi.cast import Party, Person

_DOCS = Path(__file__).parents[2] / "docs"
_PROGRAM = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_GUIDE, _PULLS, _STREAMS, _COPIES, _LOG, _GRANTS, _DELETIONS, _PURPOSES = (
    _PROGRAM.findall((_DOCS / name).read_text())
    for name in (
        "companies.md",
        "companies/pulls.md",
        "companies/streams.md",
        "companies/copies.md",
        "companies/log.md",
        "companies/grants.md",
        "companies/deletions.md",
        "companies/purposes.md",
    )
)
_MAKE_KEYS, _FIRST_TOKEN, _PROVE_KEYS, _SIGN_IN, _READ, _BE_TOLD, _SAY = _GUIDE
[_PULL_ONCE], [_BE_POSTED_TO], [_CHECK_COPIES], [_CHECK_LOG] = _PULLS, _STREAMS, _COPIES, _LOG
[_ASK_ONCE_MORE], [_DELETE], [_DECLARE] = _GRANTS, _DELETIONS, _PURPOSES
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
    _let_the_hold_end(here, rp, names["encryption_key"].kid)
    _run(_SIGN_IN, names, rp=rp)
    [address] = capsys.readouterr().out.split()
    assert address.startswith(f"{rp.issuer}/oauth/authorize?client_id={rp.client_id}&request_uri=")
    tokens = names["arrive"](query(rp.press(person, names["pushed"]["request_uri"], attributes=["email.main"])))
    assert tokens["grant_id"]
    sub, own, held = tokens["sub"], names["own"]["access_token"], "aoife@example.org"
    for program in (_READ, _BE_TOLD, _SAY):
        _run(program, names, rp=rp)
    assert names["customers"][sub]["email.main"] == (1, held)
    jtis = [names["read"](names["ask"]("GET", f"{names['api']}/people/{sub}", by))["jti"] for by in
            (tokens["access_token"], own)]  # fmt: skip
    assert [names["applied"](jti) for jti in (*jtis, jtis[0], "none")] == [
        "recorded", "recorded", "already-recorded", "unknown",
    ]  # fmt: skip
    _run(_CHECK_LOG, names, rp=rp)
    verifier = _sign_the_log(here, tmp_path)
    for jti in jtis:
        [said] = names["logged"](own, sub, jti, verifier)
        assert (said["message_id"], said["channel"], said["given"]) == (jti, "pull", {"email.main": 1, "name.full": 1})
    _choose(names, rp)
    _run(_CHECK_COPIES, names, rp=rp)
    [checked] = names["check_copies"](own, {sub: {"email.main": held}})
    assert checked == {"sub": sub, "attributes": {"email.main": "same"}}
    _run(_PULL_ONCE, names, rp=rp)
    told, etag = names["pull"](sub, own)
    assert told["email.main"] == held
    assert names["pull"](sub, own, etag) == (None, etag)
    _part(names, rp, here, person, tokens["grant_id"])


def _part(names: dict[str, Any], rp: Party, here: Settings, person: Person, grant_id: str) -> None:
    """Ask once more for what was left out; then the person stops, and what they wish deleted is said to be."""
    _run(_ASK_ONCE_MORE, names, rp=rp)
    place = names["ask_once_more"](grant_id)
    assert names["ask"]("GET", place, names["books"])["state"] == "waiting"
    assert names["ask_once_more"](grant_id) is None
    wiring.wire()
    with db.transaction(here.database_url) as session:
        wish: dict[str, Any] = {"person_id": person.person_id, "grant_id": UUID(grant_id), "erase": True}
        services.withdraw(session, now=db.now(), **wish)
    _run(_DELETE, names, rp=rp)
    gone: list[str] = []
    law = {"name.full": {"reason": "accounts", "until": "2032-12-31"}}
    names["settle"](lambda _sub, attribute: gone.append(attribute), lambda detail: law.get(detail["attribute"]))
    assert gone == ["email.main"]
    assert [(one["attribute"], one["state"]) for one in names["to_delete"]()] == [("name.full", "held")]


@pytest.mark.parametrize("environment", ["test", "live"])
def test_a_purpose_is_declared(
    *,
    rp: Party,
    here: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    environment: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sig.json").write_text(json.dumps(rp.key.as_dict(private=True) | {"kid": "s1"}))
    with db.transaction(here.database_url) as session:
        session.execute(update(Client).where(Client.client_id == rp.client_id).values(environment=environment))
    names: dict[str, Any] = {}
    for program in (_FIRST_TOKEN, _DECLARE):
        _run(program, names, rp=rp)
    assert capsys.readouterr().out.split()[-1] == {"test": "draft", "live": "waiting"}[environment]
    with pytest.raises(SystemExit, match="over-asking"):
        names["declare"]("age", names["GAS_BILLS"] | {"dpv": "AgeVerification"})


def test_a_refusal_is_read_and_not_stumbled_over(rp: Party, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sig.json").write_text(json.dumps(rp.key.as_dict(private=True) | {"kid": "s1"}))
    names: dict[str, Any] = {}
    for program in (_FIRST_TOKEN, _CHECK_COPIES):
        _run(program, names, rp=rp)
    with pytest.raises(SystemExit, match="attribute-guessable"):
        names["check_copies"](names["own"]["access_token"], {"somebody": {"birth.date": "1984-03-27"}})


def _sign_the_log(here: Settings, folder: Path) -> str:
    signer = log_key.create(folder / "log.key", name=f"documents.example/{uuid4()}")
    with db.sessions(here.database_url).begin() as session:
        sequencer.grow(session, origin=signer.name, now=db.now())
    with db.transaction(here.database_url) as session:
        publisher.publish(session, signer=signer, head=folder / "head", now=db.now())
    return str(signer.verifier())


def _let_the_hold_end(here: Settings, rp: Party, kid: str) -> None:
    with db.transaction(here.database_url) as session:
        mine = update(ClientKey).where(ClientKey.client_id == rp.client_id, ClientKey.kid == kid)
        session.execute(mine.values(active_from=db.now()))


def _choose(names: dict[str, Any], rp: Party) -> None:
    """Verify, pause, go on and delete (SSF 1.0 sections 8.1.2 and 8.1.4), as the document's own `ask` does it."""
    _run(_BE_POSTED_TO, names, rp=rp)
    with pytest.raises(SystemExit, match="https"):
        names["be_posted_to"]("ftp://www.brightwell.example/events")
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
    assert names["ask"]("DELETE", told["configuration_endpoint"], token, stream_id=stream_id) == ""
    assert names["ask"]("GET", told["configuration_endpoint"], token) == []
