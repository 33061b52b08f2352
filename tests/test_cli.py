from __future__ import annotations

import json
import socket
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.handlers import Sink
from aiosmtpd.smtp import AuthResult, LoginPassword
from joserfc.jwk import ECKey

from portal import cli, config, db, doctor
from portal.companies import queries as companies
from portal.companies import services as registering
from portal.vault import keyring, signing
from tests.signing_keys import pass_time, put_back

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from portal.config import Settings


def run(*arguments: str) -> int:
    """Run `portal` in this process and return its exit status."""
    kept, sys.argv = sys.argv, ["portal", *arguments]
    try:
        cli.main()
    except SystemExit as ended:
        return int(ended.code or 0)
    finally:
        sys.argv = kept
    return 0


@pytest.fixture(scope="module")
def company(settings: Settings) -> str:
    with db.transaction(settings.database_url) as session:
        facts = registering.register_company(
            session,
            legal_name="Command Line Ltd",
            trading_name="Command Line",
            registration_number="IE 1",
            country="IE",
            contact_email="people@companies.example.org",
            privacy_url="https://command-line.example/privacy",
            now=db.now(),
        )
    return facts.slug


def _jwk(use: str, alg: str) -> dict[str, Any]:
    key = ECKey.generate_key("P-256")
    return {**key.as_dict(private=False), "use": use, "alg": alg, "kid": key.thumbprint()}


def _metadata(folder: Path, **changes: object) -> Path:
    document = {
        "client_name": "Ours",
        "redirect_uris": ["http://localhost:9999/callback"],
        "jwks": {"keys": [_jwk("sig", "ES256"), _jwk("enc", "ECDH-ES+A256KW")]},
    }
    path = folder / "client.json"
    path.write_text(json.dumps(document | changes))
    return path


def test_a_client_is_registered(
    settings: Settings, company: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("client-register", "--company", company, "--metadata", str(_metadata(tmp_path))) == 0
    said = capsys.readouterr()
    client_id = said.out.strip()
    assert client_id.startswith("test_")
    assert "nothing is sent before its holder has proved" in said.err
    assert f"/org/apps/{client_id}/keys" in said.err
    with db.transaction(settings.database_url) as session:
        found = companies.client(session, client_id)
        assert found is not None
        assert found.name == "Ours"
        assert companies.encryption_key(session, client_id) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"redirect_uris": ["http://evil.example.org/callback"]},
        {"redirect_uris": []},
        {"jwks": {"keys": []}},
        {"jwks": None},
        {"jwks": {"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}},
    ],
)
def test_bad_metadata_is_one_sentence(
    company: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, object]
) -> None:
    path = _metadata(tmp_path, **changes)
    assert run("client-register", "--company", company, "--metadata", str(path)) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert len(said.err.strip().splitlines()) == 1
    assert "Traceback" not in said.err


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'"text"', b"\xff\xfe", b"[" * 100_000, b" " * 70_000])
def test_a_file_that_is_no_metadata(
    company: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes
) -> None:
    path = tmp_path / "client.json"
    path.write_bytes(content)
    assert run("client-register", "--company", company, "--metadata", str(path)) == 1
    assert capsys.readouterr().err == "The metadata file is not a JSON object of at most 64 KiB.\n"


def test_an_unknown_company_is_one_sentence(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert settings
    assert run("client-register", "--company", "nobody", "--metadata", str(_metadata(tmp_path))) == 1
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_a_company_is_verified(settings: Settings, company: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("company-verify", "--company", company) == 0
    assert capsys.readouterr().out == f"{company} is verified.\n"
    with db.transaction(settings.database_url) as session:
        found = companies.company(session, slug=company)
        assert found is not None
        assert found.verified
        assert company in [facts.slug for facts in companies.verified_companies(session)]


def test_an_unknown_company_is_not_verified(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    assert settings
    assert run("company-verify", "--company", "nobody") == 1
    assert capsys.readouterr().err == "No organisation has this name.\n"


def test_missing_settings_are_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DATABASE_URL", raising=False)
    config.current.cache_clear()
    assert run("migrate", "--data", str(tmp_path)) == 1
    assert capsys.readouterr().err == "DATABASE_URL is not set.\n"


@pytest.fixture
def _fresh_settings() -> None:
    config.current.cache_clear()


@pytest.mark.usefixtures("_fresh_settings")
def test_settings_of_a_demo_are_found_beside_its_data(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("DATABASE_URL", "REDIS_URL", "KEYRING_FILE")
    values = dict(zip(names, (settings.database_url, settings.redis_url, settings.keyring_file), strict=True))
    (tmp_path / "settings.env").write_text("".join(f"{name}={value}\n" for name, value in values.items()))
    for name in names:
        monkeypatch.delenv(name)
    assert run("migrate", "--data", str(tmp_path)) == 0
    config.current.cache_clear()


def test_every_verb_explains_itself(capsys: pytest.CaptureFixture[str]) -> None:
    for name in cli.portal.commands:
        assert run(name, "--help") == 0
    assert "Usage: portal" in capsys.readouterr().out


def test_doctor_finds_everything_well_but_mail(settings: Settings) -> None:
    findings = doctor.examine(settings)
    # What others here have logged nobody signs, or has looked at: `tests/ledger` and `tests/sync` do.
    assert [each.name for each in findings if not each.well and each.name not in {"log", "night"}] == ["mail"]
    assert "SMTP_URL is not set" in findings[-1].text


def test_doctor_exits_with_one_when_something_is_wrong(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    assert settings
    assert run("doctor") == 1
    assert "MEND  mail" in capsys.readouterr().out


def _examine(settings: Settings, **changes: Any) -> dict[str, str]:  # noqa: ANN401 - whatever the setting is
    return {finding.name: finding.text for finding in doctor.examine(replace(settings, **changes)) if not finding.well}


def test_doctor_says_that_the_keyring_is_exposed(settings: Settings, tmp_path: Path) -> None:
    exposed = tmp_path / "keyring.json"
    keyring.create(exposed)
    exposed.chmod(0o640)
    assert "chmod 600" in _examine(settings, keyring_file=exposed)["keys"]


def test_doctor_says_that_the_keyring_is_another_ones(settings: Settings, tmp_path: Path) -> None:
    other = tmp_path / "keyring.json"
    keyring.create(other)
    assert "does not open it" in _examine(settings, keyring_file=other)["signing key"]


def test_doctor_says_that_the_owner_must_not_serve(settings: Settings) -> None:
    found = _examine(settings, database_url=settings.database_owner_url)
    assert "neither owner nor superuser" in found["ledger"]


def test_doctor_says_what_does_not_answer(settings: Settings) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    found = _examine(
        settings,
        database_url=f"postgresql+psycopg://nobody@127.0.0.1:{port}/none",
        redis_url=f"redis://127.0.0.1:{port}",
        smtp_url=f"smtp://127.0.0.1:{port}",
    )
    assert found.keys() == {"database", "ledger", "log", "night", "signing key", "Valkey", "clock", "mail"}
    assert all(str(port) not in text for text in found.values())


@pytest.fixture
def guarded_mail() -> Iterator[int]:
    """The port of a mail server that lets one login in: ours, whose password is right."""

    def judge(
        _server: object, _session: object, _envelope: object, _mechanism: str, given: LoginPassword
    ) -> AuthResult:
        # Not handled: the server answers 535 itself (RFC 4954 section 6).
        return AuthResult(success=given.password == b"right", handled=False)

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    controller = Controller(Sink(), hostname="127.0.0.1", port=port, authenticator=judge, auth_require_tls=False)
    controller.start()
    yield port
    controller.stop()


def test_doctor_says_that_the_mail_server_refuses_the_login(settings: Settings, guarded_mail: int) -> None:
    told = _examine(settings, smtp_url=f"smtp://ours:canary@127.0.0.1:{guarded_mail}")["mail"]
    assert "refuses the login" in told
    assert "canary" not in told
    assert "mail" not in _examine(settings, smtp_url=f"smtp://ours:right@127.0.0.1:{guarded_mail}")


@pytest.mark.parametrize("scheme", ["smtp+starttls", "smtps"])
def test_doctor_says_that_mail_would_not_go_by_tls(settings: Settings, guarded_mail: int, scheme: str) -> None:
    assert "TLS" in _examine(settings, smtp_url=f"{scheme}://127.0.0.1:{guarded_mail}")["mail"]


def test_keys_take_turns(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    with put_back(settings):
        assert run("keys", "list") == 0
        (first,) = capsys.readouterr().out.splitlines()
        assert "signs since" in first
        assert run("keys", "rotate") == 0
        assert "is published and signs from" in capsys.readouterr().out
        assert run("keys", "rotate") == 1
        assert capsys.readouterr().err == (
            "A new signing key is published and waits to sign: the next can be made when it does.\n"
        )
        assert run("keys", "list") == 0
        standing = [line.partition("  ")[2].split(" ")[:2] for line in capsys.readouterr().out.splitlines()]
        assert standing == [["signs", "from"], ["signs", "until"]]
        pass_time(settings, 2 * signing.LEAD)
        run("keys", "list")
        assert "signs no more, is published until" in capsys.readouterr().out


def test_a_compromised_key_is_withdrawn(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    with put_back(settings):
        run("keys", "list")
        old = capsys.readouterr().out.split(" ")[0]
        assert run("keys", "rotate", "--now") == 0
        assert "signs now. Every other key is withdrawn" in capsys.readouterr().out
        run("keys", "list")
        assert old not in capsys.readouterr().out
