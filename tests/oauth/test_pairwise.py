"""One person, one `sub` a company (OpenID Connect Core section 8.1), and no other name of theirs anywhere.

Every way by which something about a person reaches a client is walked, for two clients of one company and for one of
another: within a company all say the same, across companies nothing can be put together.
"""

from __future__ import annotations

import base64
import json
import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pytest
from joserfc import jws
from joserfc.jwk import OKPKey

from portal import db
from portal.companies import queries as companies
from portal.companies import services as registering
from portal.consumer.catalogue import CATALOGUE
from portal.identity.models import BrowserSession
from portal.oauth import introspection
from portal.sync import jobs, messages, outbox, statements
from portal.sync.models import Stream
from portal.vault import signing
from tests import possession
from tests.oauth import afar
from tests.oauth.conftest import NEEDED, REDIRECT_URI, WISHED
from tests.oauth.rp import RelyingParty, ec_key, metadata

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from portal.config import Settings
    from portal.vault.keyring import Keyring
    from tests.oauth.conftest import Person
    from tests.oauth.rp import Answer

SCOPE = "openid profile"


@dataclass
class Ear:
    """What one client has heard: every byte that reached it, and by which `sub` each way named the person."""

    rp: RelyingParty
    heard: list[str] = field(default_factory=list)
    subs: dict[str, str] = field(default_factory=dict)

    def hear(self, answer: Answer) -> Any:  # noqa: ANN401 - whatever JSON holds
        assert answer.status_code in {200, 202}, answer.text
        self.heard += [answer.text, str(answer.headers)]
        return answer.json if answer.headers["Content-Type"].endswith("json") else None

    def read(self, token: str) -> dict[str, Any]:
        """Return the claims of a JWS, and hear them too."""
        payload = jws.extract_compact(token.encode()).payload.decode()
        self.heard += [token, payload]
        found: dict[str, Any] = json.loads(payload)
        return found


@pytest.fixture
def sibling(rp: RelyingParty, settings: Settings) -> RelyingParty:
    """Another client of the first one's company."""
    key, encryption = ec_key(), OKPKey.generate_key("X25519")
    with db.transaction(settings.database_url) as session:
        first = companies.client(session, rp.client_id)
        assert first
        client_id = registering.register_client(
            session, company_slug=first.company_slug, metadata=metadata(key, [REDIRECT_URI], encryption), now=db.now()
        )
        possession.prove(session, client_id, encryption)
        registering.declare_purpose(
            session, client_id=client_id, code="letters", sentence="send you letters", dpv="ServiceProvision",
            mode="kept-up-to-date", required=NEEDED, optional=WISHED, retention_days=30, catalogue=CATALOGUE,
            now=db.now(),
        )  # fmt: skip
    return replace(rp, client_id=client_id, purpose="letters", key=key, dpop_key=ec_key())


def walk(ear: Ear, settings: Settings, person: Person) -> None:
    """Let the client hear of the person in every way there is."""
    given = ear.hear(ear.rp.redeem(ear.rp.code(person.browser, scope=SCOPE)))
    ear.subs["code"] = given["sub"]
    ear.subs["ID token"] = ear.read(given["id_token"])["sub"]
    again = ear.hear(ear.rp.token(grant_type="refresh_token", refresh_token=given["refresh_token"]))
    ear.subs["refresh"] = again["sub"]
    ear.subs["userinfo"] = ear.hear(ear.rp.call("/oauth/userinfo", given["access_token"]))["sub"]
    for name in ("access_token", "refresh_token"):
        asked = ear.rp.post("/oauth/introspect", ear.rp.identified(token=given[name]))
        ear.subs[f"introspection of {name}"] = ear.hear(asked)["sub"]
    ear.subs["signed introspection"] = signed_introspection(ear, given["access_token"])
    ear.subs["pull"] = pull(ear, given["sub"])
    ear.subs["pull of many"] = pull_of_many(ear, given["sub"])
    ear.subs["approval from afar"] = from_afar(ear, settings, person, given["sub"])
    grants = manage(ear, given["grant_id"])
    assert "sub" not in grants or grants["sub"] == given["sub"]


def signed_introspection(ear: Ear, token: str) -> str:
    form = ear.rp.identified(token=token)
    answer = ear.rp.post("/oauth/introspect", form, Accept=introspection.MEDIA_TYPE)
    ear.hear(answer)
    return str(ear.read(answer.text)["token_introspection"]["sub"])


def pull(ear: Ear, sub: str) -> str:
    answer = ear.rp.call(f"/api/v1/people/{sub}", ear.rp.own_token())
    ear.hear(answer)
    return str(ear.read(answer.text)["sub_id"]["sub"])


def pull_of_many(ear: Ear, sub: str) -> str:
    token = ear.rp.own_token()
    headers = {"Authorization": f"DPoP {token}", "DPoP": ear.rp.proof("/api/v1/pulls", token=token)}
    asked = ear.hear(ear.rp.raw("/api/v1/pulls", json={"subjects": [sub]}, headers=headers))
    jobs.run_pull(asked["id"])
    answer = ear.hear(ear.rp.call(f"/api/v1/pulls/{asked['id']}/result", token))
    (result,) = answer["results"]
    assert ear.read(result["message"])["sub_id"]["sub"] == result["sub"]
    return str(result["sub"])


def may_ask_from_afar(settings: Settings, rp: RelyingParty) -> None:
    afar.set_metadata(settings, rp.client_id, grant_types=afar.GRANTS, backchannel_token_delivery_mode="poll")


def from_afar(ear: Ear, settings: Settings, person: Person, sub: str) -> str:
    may_ask_from_afar(settings, ear.rp)
    asking = afar.Afar(settings, ear.rp, person, sub)
    asked = ear.hear(asking.ask())["auth_req_id"]
    assert asking.answer(asked).status_code == 303
    given = ear.hear(ear.rp.poll(asked))
    assert ear.read(given["id_token"])["sub"] == given["sub"]
    return str(given["sub"])


def manage(ear: Ear, grant_id: str) -> dict[str, Any]:
    token = ear.rp.token(grant_type="client_credentials", scope="grant_management_query").json["access_token"]
    found: dict[str, Any] = ear.hear(ear.rp.call(f"/oauth/grants/{grant_id}", token))
    return found


def pushed(session: Session, ear: Ear, keys: Keyring, issuer: str) -> str:
    """Return the `sub` of what would be pushed now, as the courier builds it; nothing of it is kept."""
    endpoint = Stream(
        client_id=ear.rp.client_id, url="https://hook.example/", state="enabled", created_at=db.now(),
        verified_at=db.now(),
    )  # fmt: skip
    session.add(endpoint)
    session.flush()
    session.execute(statements.BACKFILL, {"client_id": ear.rp.client_id})
    claimed = outbox.claim(session, keyring=keys, now=db.now(), limit=1000, lease_seconds=20).parcels
    (parcel,) = [each for each in claimed if each.place.stream_id == endpoint.stream_id]
    message = messages.build(
        signing.current(session, keyring=keys), issuer=issuer, to=parcel.to, jti=parcel.jti, now=parcel.at,
        news=parcel.news,
    )  # fmt: skip
    return str(ear.read(message.token)["sub_id"]["sub"])


@pytest.fixture
def parties(rp: RelyingParty, sibling: RelyingParty, other: RelyingParty) -> tuple[Ear, Ear, Ear]:
    return Ear(rp), Ear(sibling), Ear(other)


@pytest.fixture
def ears(
    parties: tuple[Ear, Ear, Ear], person: Person, settings: Settings, session: Session, keys: Keyring
) -> tuple[Ear, Ear, Ear]:
    for ear in parties:
        walk(ear, settings, person)
        ear.subs["push"] = pushed(session, ear, keys, settings.issuer)
    return parties


def test_every_way_names_the_person_alike_and_companies_cannot_compare(
    ears: tuple[Ear, Ear, Ear], person: Person, settings: Settings
) -> None:
    first, sibling, other = ears
    names = [set(ear.subs.values()) for ear in ears]
    assert [len(found) for found in names] == [1, 1, 1], [ear.subs for ear in ears]
    assert first.subs == sibling.subs
    assert names[0].isdisjoint(names[2])
    for ear, strange in ((first, names[2]), (other, names[0])):
        assert not any(name in text for text in ear.heard for name in strange)
    for name in own_names(settings, person):
        found = [text for ear in ears for text in ear.heard if name.search(text)]
        assert not found, (name, found[:1])


def own_names(settings: Settings, person: Person) -> list[re.Pattern[str]]:
    """Return the person's id and their sessions' ids, in every spelling they might leave in."""
    with db.transaction(settings.database_url) as session:
        rows = session.query(BrowserSession).filter(BrowserSession.person_id == person.person_id)
        marks = [row.token_hash for row in rows]
    assert marks
    ids = [person.person_id.bytes, *marks]
    spellings = [spelling(mark) for mark in ids for spelling in (bytes.hex, urlsafe, plain)]
    return [re.compile(re.escape(text)) for text in (*spellings, str(person.person_id), str(person.person_id.int))]


def urlsafe(mark: bytes) -> str:
    return base64.urlsafe_b64encode(mark).rstrip(b"=").decode()


def plain(mark: bytes) -> str:
    return base64.b64encode(mark).rstrip(b"=").decode()


def test_another_companys_sub_is_nobody(
    rp: RelyingParty, other: RelyingParty, person: Person, settings: Settings
) -> None:
    may_ask_from_afar(settings, other)
    strange = rp.redeem(rp.code(person.browser)).json["sub"]
    other.code(person.browser)
    token = other.own_token()
    answers = [other.call(f"/api/v1/people/{sub}", token) for sub in (strange, "nobody-at-all")]
    assert [answer.status_code for answer in answers] == [404, 404]
    afar_answers = [other.ask(login_hint=sub) for sub in (strange, "nobody-at-all")]
    assert [answer.json["error"] for answer in afar_answers] == ["unknown_user_id"] * 2
    assert afar_answers[0].json == afar_answers[1].json


def test_a_sub_is_random_bits(rp: RelyingParty, person: Person) -> None:
    sub = rp.redeem(rp.code(person.browser)).json["sub"]
    assert len(base64.urlsafe_b64decode(sub + "==")) == 16
