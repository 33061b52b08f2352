"""A company's program proves its keys, and deliveries follow: nothing before, nothing to a key that waits."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from joserfc import jwe
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OctKey
from sqlalchemy import select, update

from portal import db, events
from portal.companies import client_keys, departments, proofs
from portal.companies import queries as companies
from portal.companies.models import ClientKey
from portal.sync import jobs, key_turns, messages, polling
from portal.sync.models import StreamEvent
from portal.vault import base64url
from tests import possession
from tests.sync.caller import Caller
from tests.sync.outbox_steps import carry, claim, claim_in
from tests.sync.receiver import new_key
from tests.sync.test_polling import open_stream
from tests.timing import somebody_waits, until

if TYPE_CHECKING:
    from apiflask import APIFlask
    from sqlalchemy.orm import Session

    from tests.sync.cast import Firm, World

DAY = timedelta(hours=24)
WRAP = ["ECDH-ES+A256KW", "A256GCM"]


def listen() -> None:
    events.listen(events.EncryptionKeyInUse, key_turns.on_key_in_use)
    events.listen(events.EncryptionKeyStopped, key_turns.on_key_stopped)


@pytest.fixture
def firm(world: World) -> Firm:
    listen()
    return world.firm()


@pytest.fixture
def caller(app: APIFlask, world: World, firm: Firm) -> Caller:
    return Caller(app.test_client(), world, firm, "keys:manage")


@pytest.fixture
def pulling(app: APIFlask, world: World, firm: Firm) -> Caller:
    return Caller(app.test_client(), world, firm)


def stop_key(world: World, firm: Firm) -> None:
    world.transact(lambda session: client_keys.stop(session, client_id=firm.client_id, kid="enc-1", now=db.now()))


def add(world: World, firm: Firm, kid: str, group: str = "") -> ECKey:
    key = new_key(kid)
    jwks = key.as_dict(private=False)
    world.transact(
        lambda session: client_keys.add(session, client_id=firm.client_id, jwks=jwks, group=group, now=db.now())
    )
    return key


def prove(world: World, firm: Firm, *keys: ECKey) -> None:
    world.transact(lambda session: possession.prove(session, firm.client_id, *keys))


def wait(world: World, firm: Firm, time: timedelta = DAY) -> None:
    """Let the holds of the firm's keys run down, and have their turn noticed."""
    mine = update(ClientKey).where(ClientKey.client_id == firm.client_id, ClientKey.active_from.is_not(None))
    world.transact(lambda session: session.execute(mine.values(active_from=ClientKey.active_from - time)))
    world.transact(lambda session: proofs.announce_due(session, now=db.now()))


def shown(caller: Caller) -> dict[str, dict[str, Any]]:
    answer = caller.get("/api/v1/keys")
    assert answer.status_code == 200, answer.text
    assert answer.headers["Cache-Control"] == "no-store"
    return {key["kid"]: key for key in answer.get_json()["keys"]}


def send_proof(caller: Caller, kid: str, nonce: str) -> Any:  # noqa: ANN401 - Werkzeug's answer
    return caller.post(f"/api/v1/keys/{kid}/proof", json={"nonce": nonce})


def test_a_program_proves_its_key(world: World, firm: Firm, caller: Caller) -> None:
    key = add(world, firm, "enc-2")
    found = shown(caller)
    assert {kid: each["state"] for kid, each in found.items()} == {
        "sig-1": "unused", "enc-1": "active", "enc-2": "unproved",
    }  # fmt: skip
    assert "challenge" not in found["enc-1"]
    answer = send_proof(caller, "enc-2", possession.opened(found["enc-2"]["challenge"]["jwe"], key))
    assert answer.status_code == 200
    said = answer.get_json()
    assert (said["state"], said["group"]) == ("held", "")
    assert said["active_from"] > said["added_at"]
    assert shown(caller)["enc-2"]["state"] == "held"


def test_a_wrong_answer_counts_although_it_is_refused(world: World, firm: Firm, caller: Caller) -> None:
    key = add(world, firm, "enc-2")
    nonce = possession.opened(shown(caller)["enc-2"]["challenge"]["jwe"], key)
    for _ in range(proofs.TRIES):
        wrong = send_proof(caller, "enc-2", "something else")
        assert (wrong.status_code, wrong.get_json()["type"].rpartition("/")[2]) == (422, "proof-wrong")
    gone = send_proof(caller, "enc-2", nonce)
    assert (gone.status_code, gone.get_json()["type"].rpartition("/")[2]) == (409, "challenge-gone")
    assert shown(caller)["enc-2"]["state"] == "unproved"


@pytest.mark.parametrize("kid", ["sig-1", "nobody", "a%00b", "enc-9/x"])
def test_what_is_no_key_to_prove_is_not_found(caller: Caller, kid: str) -> None:
    assert send_proof(caller, kid, "x").status_code == 404


def test_a_kid_may_hold_a_slash(world: World, firm: Firm, caller: Caller) -> None:
    key = add(world, firm, "2026/11")
    nonce = possession.opened(shown(caller)["2026/11"]["challenge"]["jwe"], key)
    assert send_proof(caller, "2026/11", nonce).status_code == 200


def test_another_company_has_other_keys(app: APIFlask, world: World, firm: Firm, caller: Caller) -> None:
    key = add(world, firm, "enc-2")
    nonce = possession.opened(shown(caller)["enc-2"]["challenge"]["jwe"], key)
    stranger = Caller(app.test_client(), world, world.firm(), "keys:manage")
    assert "enc-2" not in shown(stranger)
    assert send_proof(stranger, "enc-2", nonce).status_code == 404
    assert stranger.send("DELETE", "/api/v1/keys/enc-2").status_code == 404
    assert shown(caller)["enc-2"]["state"] == "unproved"


def test_another_scope_opens_nothing(pulling: Caller) -> None:
    for method, path in (("GET", "/api/v1/keys"), ("DELETE", "/api/v1/keys/enc-1")):
        assert pulling.send(method, path).status_code == 403
    assert send_proof(pulling, "enc-1", "x").status_code == 403


def test_a_stopped_key_is_not_pulled_to(world: World, firm: Firm, caller: Caller, pulling: Caller) -> None:
    shared = world.share(world.person(), firm)
    assert pulling.get(f"/api/v1/people/{shared.sub}").status_code == 200
    assert caller.send("DELETE", "/api/v1/keys/enc-1").status_code == 204
    refused = pulling.get(f"/api/v1/people/{shared.sub}")
    assert (refused.status_code, refused.get_json()["type"].rpartition("/")[2]) == (409, "no-encryption-key")


def test_what_is_sealed_to_a_stopped_key_does_not_leave(
    world: World, firm: Firm, caller: Caller, pulling: Caller
) -> None:
    shared = world.share(world.person(), firm)
    begun = pulling.post("/api/v1/pulls", json={"subjects": [shared.sub]})
    jobs.run_pull(begun.get_json()["id"])
    in_hand = [parcel for parcel in claim(world) if parcel.grant_id == shared.grant_id]
    assert len(in_hand) == 1
    assert caller.send("DELETE", "/api/v1/keys/enc-1").status_code == 204
    carry(in_hand)
    assert firm.receiver.journal == []
    assert world.delivery(shared).acked_generation == 0
    assert pulling.get(begun.headers["Location"] + "/result").status_code == 410


def test_what_is_claimed_while_a_key_is_stopped_does_not_leave(world: World, firm: Firm) -> None:
    shared = world.share(world.person(), firm)
    with db.transaction(world.settings.database_url) as claiming:
        in_hand = claim_in(claiming, world)
        stop_key(world, firm)
    assert [parcel.grant_id for parcel in in_hand] == [shared.grant_id]
    carry(in_hand)
    assert firm.receiver.journal == []
    assert world.delivery(shared).lease_id is None


def test_a_stop_waits_for_what_is_being_handed_out(world: World) -> None:
    listen()
    firm = world.firm(enabled=False)
    world.transact(lambda session: open_stream(session, firm))
    world.share(world.person(), firm)
    world.transact(lambda session: polling.number(session, client_id=firm.client_id))
    with ThreadPoolExecutor(1) as pool:
        with db.transaction(world.settings.database_url) as handing:
            answer = polling.hand_out(
                handing, keyring=world.keyring, issuer=world.settings.issuer, client_id=firm.client_id, most=10,
                now=db.now(),
            )  # fmt: skip
            stopping = pool.submit(stop_key, world, firm)
            until(lambda: world.transact(somebody_waits))
            assert len(answer.sets) == 1
            assert not stopping.done()
        stopping.result(30)


def test_what_waited_for_a_key_is_sent_when_one_is_in_use(world: World, firm: Firm) -> None:
    stop_key(world, firm)
    shared = world.share(world.person(), firm)
    jobs.drain()
    waiting = world.delivery(shared)
    assert (waiting.last_problem, waiting.acked_generation) == (messages.NoKeyError.public, 0)
    key = add(world, firm, "enc-2")
    prove(world, firm, key)
    world.due_now()
    jobs.drain()
    assert firm.receiver.journal == [], "the hold is not skipped because somebody waits"
    wait(world, firm)
    firm.receiver.key = key
    jobs.drain()
    [message] = [each for each in firm.receiver.journal if each.profile]
    assert message.values["name.full"][1] == "Ada Byrne"


def test_the_client_is_told_which_key_may_go(world: World, firm: Firm) -> None:
    prove(world, firm, add(world, firm, "enc-2"))
    wait(world, firm)
    wait(world, firm, timedelta())

    def events_of(session: Session) -> list[StreamEvent]:
        mine = select(StreamEvent).where(StreamEvent.client_id == firm.client_id)
        return list(session.scalars(mine.where(StreamEvent.kind == messages.ENCRYPTION_KEY_IN_USE)))

    [event] = world.transact(events_of)
    assert event.payload["kid"] == "enc-2"
    assert event.payload["replaced"] == ["enc-1"]
    assert event.payload["group"] == ""


def test_a_detail_of_a_department_is_sealed_to_nobody_else(world: World, firm: Firm, pulling: Caller) -> None:
    """And the one signature holds every department's part: none can be handed another set."""
    billing = add(world, firm, "billing-1", group="billing")
    world.transact(lambda session: choose(session, firm, {"email.main": "billing"}))
    shared = world.share(world.person(), firm)
    refused = pulling.get(f"/api/v1/people/{shared.sub}")
    assert refused.status_code == 409, "a department without a key that may be used is waited for"
    jobs.drain()
    assert world.delivery(shared).last_problem == messages.NoKeyError.public
    prove(world, firm, billing)
    wait(world, firm)
    jobs.drain()
    [message] = [each for each in firm.receiver.journal if each.profile]
    _opens_only_its_own(message.claims["events"][messages.PROFILE], firm.receiver.key, billing)
    pulled = pulling.get(f"/api/v1/people/{shared.sub}")
    assert pulled.status_code == 200
    _opens_only_its_own(_claims(pulled.text)["events"][messages.PROFILE], firm.receiver.key, billing)


def choose(session: Session, firm: Firm, groups: dict[str, str]) -> None:
    found = companies.purpose(session, firm.purpose_id)
    assert found
    departments.choose(session, client_id=firm.client_id, code=found.code, groups=groups)


def _opens_only_its_own(profile: dict[str, Any], everybody: ECKey, billing: ECKey) -> None:
    assert set(profile["group_keys"]) == {"billing"}
    assert _kids(profile["keys"], everybody) == {"name.full#1"}
    assert _kids(profile["group_keys"]["billing"], billing) == {"email.main#1"}
    for sealed, other in ((profile["keys"], billing), (profile["group_keys"]["billing"], everybody)):
        with pytest.raises(JoseError):
            jwe.decrypt_compact(sealed, other, algorithms=WRAP)


def _kids(sealed: str, key: ECKey) -> set[str]:
    opened = json.loads(jwe.decrypt_compact(sealed, key, algorithms=WRAP).plaintext or b"")
    assert all(OctKey.import_key(each) for each in opened["keys"])
    return {each["kid"] for each in opened["keys"]}


@pytest.mark.parametrize(
    "groups", [{"email.main": "nobody"}, {"birth.date": ""}, {"address.home": "spare"}, {"email.main": ""}], ids=str
)
def test_a_department_must_be_there_and_the_detail_asked_for(world: World, firm: Firm, groups: dict[str, str]) -> None:
    add(world, firm, "spare-1", group="spare")
    with pytest.raises(departments.DepartmentError):
        world.transact(lambda session: choose(session, firm, groups))


def test_polls_and_batches_wait_for_a_department_too(app: APIFlask, world: World) -> None:
    events.listen(events.EncryptionKeyInUse, key_turns.on_key_in_use)
    firm = world.firm(enabled=False)
    pulling = Caller(app.test_client(), world, firm)
    world.transact(lambda session: open_stream(session, firm))
    billing = add(world, firm, "billing-1", group="billing")
    world.transact(lambda session: choose(session, firm, {"email.main": "billing"}))
    shared = world.share(world.person(), firm)
    assert _polled(pulling) == []
    assert _pulled(pulling, shared.sub)["problem"] == "no-encryption-key"
    prove(world, firm, billing)
    wait(world, firm)
    profiles = [claims["events"].get(messages.PROFILE) for claims in _polled(pulling)]
    message = _pulled(pulling, shared.sub)["message"]
    profiles.append(_claims(message)["events"][messages.PROFILE])
    found = [profile for profile in profiles if profile]
    assert len(found) == 2
    for profile in found:
        _opens_only_its_own(profile, firm.receiver.key, billing)


def _polled(caller: Caller) -> list[dict[str, Any]]:
    answer = caller.post("/api/v1/events", json={"maxEvents": 10, "returnImmediately": True})
    assert answer.status_code == 200, answer.text
    return [_claims(token) for token in answer.get_json()["sets"].values()]


def _pulled(caller: Caller, sub: str) -> dict[str, Any]:
    started = caller.post("/api/v1/pulls", json={"subjects": [sub]})
    jobs.run_pull(started.get_json()["id"])
    results: list[dict[str, Any]] = caller.get(started.headers["Location"] + "/result").get_json()["results"]
    return results[0]


def _claims(token: str) -> dict[str, Any]:
    claims: dict[str, Any] = json.loads(base64url.decode(token.split(".")[1]))
    return claims
