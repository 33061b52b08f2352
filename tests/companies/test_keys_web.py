"""The pages on which staff prove, stop and share out keys; and nobody else's."""

from __future__ import annotations

import json
import re
from contextlib import redirect_stdout
from html import unescape
from io import StringIO
from typing import TYPE_CHECKING, Any

import pytest
from joserfc.jwk import ECKey, OKPKey
from sqlalchemy import update

from portal import db
from portal.companies import proofs, queries, services
from portal.companies.models import ClientKey
from portal.consumer.catalogue import CATALOGUE
from tests import possession
from tests.companies.browser import Browser
from tests.purposes import amend

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from flask import Flask
    from werkzeug.test import TestResponse

    from portal.companies.queries import CompanyFacts
    from portal.config import Settings
    from portal.vault.keyring import Keyring

    Make = Callable[..., dict[str, Any]]


@pytest.fixture
def client(settings: Settings, own: CompanyFacts, jwks: dict[str, Any]) -> str:
    metadata = {"client_name": "Bills", "redirect_uris": ["https://brightwell.example/back"], "jwks": jwks}
    with db.transaction(settings.database_url) as session:
        return services.register_client(session, company_slug=own.slug, metadata=metadata, now=db.now())


def page_of(client: str, end: str = "") -> str:
    return f"/org/apps/{client}/keys{end}"


def challenged(staff: Browser, client: str, kid: str = "e1") -> TestResponse:
    answer = staff.send(page_of(client, "/prove"), kid=kid, act="challenge")
    assert answer.status_code == 200
    return answer


def challenge_in(answer: TestResponse) -> str:
    found = re.search(r'name="challenge" value="([^"]+)"', answer.text)
    assert found
    return found[1]


def states(settings: Settings, client: str) -> dict[str, str]:
    with db.transaction(settings.database_url) as session:
        return {key.kid: str(key.state) for key in queries.key_list(session, client, now=db.now())}


def answer_with(staff: Browser, client: str, text: str, challenge: str, kid: str = "e1") -> TestResponse:
    return staff.send(page_of(client, "/prove"), kid=kid, act="prove", challenge=challenge, answer=text)


def test_a_key_is_proved_on_its_page(settings: Settings, staff: Browser, client: str, encryption: OKPKey) -> None:
    assert "prove that you hold it" in staff.get(f"/org/apps/{client}").text
    assert "Not proved" in staff.get(page_of(client)).text
    assert "Make a challenge" in staff.get(page_of(client, "/prove?kid=e1")).text
    challenge = challenge_in(challenged(staff, client))
    text = possession.opened(challenge, encryption)
    assert text not in staff.get(page_of(client)).text
    assert answer_with(staff, client, f"  {text}\n", challenge).status_code == 303
    assert states(settings, client) == {"e1": "active", "s1": "unused"}
    after = staff.get(page_of(client)).text
    assert "In use" in after
    assert "Not used yet" in after
    assert "waits for a proof" in staff.get(page_of(client, "/prove?kid=e1")).text


def test_the_program_on_the_page_opens_the_challenge(
    staff: Browser, client: str, encryption: OKPKey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = challenged(staff, client)
    program = re.search(r"<pre[^>]*><code>(.*?)</code></pre>", answer.text, re.DOTALL)
    assert program
    (tmp_path / "enc.json").write_text(json.dumps(encryption.as_dict(private=True)))
    monkeypatch.chdir(tmp_path)
    with redirect_stdout(StringIO()) as printed:
        exec(compile(unescape(program[1]), "page", "exec"), {})  # noqa: S102 - the page's own program
    assert printed.getvalue().strip() == possession.opened(challenge_in(answer), encryption)


def test_a_wrong_text_is_said_and_the_challenge_stays(
    settings: Settings, staff: Browser, client: str, encryption: OKPKey
) -> None:
    challenge = challenge_in(challenged(staff, client))
    for _ in range(proofs.TRIES - 1):
        answer = answer_with(staff, client, "something else", challenge)
        assert answer.status_code == 422
        assert "not what the newest challenge holds" in answer.text
        assert challenge_in(answer) == challenge
        assert "something else" in answer.text
    assert answer_with(staff, client, " ", challenge).status_code == 422, "nothing typed is no try"
    assert answer_with(staff, client, "the fifth", challenge).status_code == 422
    over = answer_with(staff, client, possession.opened(challenge, encryption), challenge)
    assert "Ask for a new one" in over.text
    assert states(settings, client)["e1"] == "unproved"


def test_a_new_key_is_announced_on_every_page_of_the_app_and_can_be_called_off(
    settings: Settings, staff: Browser, client: str, encryption: OKPKey
) -> None:
    second = ECKey.generate_key("P-256")
    with db.transaction(settings.database_url) as session:
        possession.prove(session, client, encryption)
    jwk = {**second.as_dict(private=False), "use": "enc", "kid": "e2"}
    assert staff.send(page_of(client), jwks=json.dumps(jwk), group="").status_code == 303
    with db.transaction(settings.database_url) as session:
        possession.prove(session, client, second)
    for path in (f"/org/apps/{client}", page_of(client)):
        assert "stop it before then" in staff.get(path).text
    retire = staff.send(page_of(client, "/retire"), kid="e1")
    assert "No other key can take its place yet" in staff.get(retire.headers["Location"]).text
    asked = staff.send(page_of(client, "/stop"), kid="e2")
    assert "Stop using" in asked.text
    assert states(settings, client)["e2"] == "held"
    assert staff.send(page_of(client, "/stop"), kid="e2", act="stop").status_code == 303
    assert states(settings, client)["e2"] == "stopped"
    assert "never used again" in staff.get(page_of(client)).text


def test_stopping_the_only_key_says_that_everything_waits(
    settings: Settings, staff: Browser, client: str, encryption: OKPKey
) -> None:
    with db.transaction(settings.database_url) as session:
        possession.prove(session, client, encryption)
    assert "What is owed waits" in staff.send(page_of(client, "/stop"), kid="e1").text
    assert "cannot sign in" in staff.send(page_of(client, "/stop"), kid="s1").text
    staff.send(page_of(client, "/stop"), kid="e1", act="stop")
    assert "nothing can be sent to this app" in staff.get(f"/org/apps/{client}").text


def test_details_are_given_to_departments(settings: Settings, staff: Browser, client: str) -> None:
    with db.transaction(settings.database_url) as session:
        services.declare_purpose(
            session, client_id=client, code="bills", sentence="send bills", dpv="PaymentManagement",
            mode="kept-up-to-date", required=[("address.home", "Where")], optional=[("email.main", "A copy")],
            retention_days=1, catalogue=CATALOGUE, now=db.now(),
        )  # fmt: skip
    path = f"/org/apps/{client}/purposes/bills/departments"
    assert "No department has a key yet" in staff.get(path).text
    jwk = {**ECKey.generate_key("P-256").as_dict(private=False), "use": "enc", "kid": "p1"}
    assert staff.send(page_of(client), jwks=json.dumps(jwk), group="Pay Roll").status_code == 422
    assert staff.send(page_of(client), jwks=json.dumps(jwk), group="payroll").status_code == 303
    html = staff.get(path).text
    assert "Home address" in html
    assert "messages with a detail for it wait" in html
    assert staff.send(path, group_0="payroll", group_1="").status_code == 303
    assert re.search(r'<option selected value="payroll">', staff.get(path).text)
    with db.transaction(settings.database_url) as session:
        found = queries.purpose_by_code(session, client, "bills")
        assert found
        assert found.key_groups == {"address.home": "payroll"}
    assert staff.send(path, group_0="nobody", group_1="").status_code == 422
    with db.transaction(settings.database_url) as session:
        amend(session, found.purpose_id, required=[], sentence="send bills by email")
    assert "Home address" not in staff.get(path).text
    assert staff.send(path, group_0="payroll").status_code == 303
    with db.transaction(settings.database_url) as session:
        after = queries.purpose_by_code(session, client, "bills")
        assert after
        assert after.key_groups == {"address.home": "payroll", "email.main": "payroll"}
    retire = staff.send(page_of(client, "/retire"), kid="p1")
    assert "last key of its kind" in staff.get(retire.headers["Location"]).text
    assert staff.get(f"/org/apps/{client}/purposes/other/departments").status_code == 404


@pytest.mark.parametrize("end", ["/prove", "/stop"])
def test_another_companys_keys_are_not_there(  # noqa: PLR0917 - fixtures
    app: Flask, settings: Settings, keys: Keyring, facts: Make, client: str, end: str
) -> None:
    stranger = Browser(app, settings, keys)
    with db.transaction(settings.database_url) as session:
        services.register_company(session, **facts(owner=stranger.person_id))
    assert stranger.send(page_of(client, end), kid="e1", act="stop").status_code == 404


def test_old_keys_stay_readable_on_the_page(settings: Settings, staff: Browser, client: str) -> None:
    with db.transaction(settings.database_url) as session:
        mine = update(ClientKey).where(ClientKey.client_id == client, ClientKey.kid == "e1")
        session.execute(mine.values(proved_at=db.now(), active_from=db.now(), leaving_at=db.now()))
    assert "used until its successor may be" in staff.get(page_of(client)).text
