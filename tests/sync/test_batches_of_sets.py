"""Many messages in one request, as draft-deshpande-secevent-http-multi-set-push has it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from joserfc import jws
from sqlalchemy import select

from portal import config
from portal.sync import courier, jobs, rules
from portal.sync.models import Attempt
from tests.sync.outbox_steps import carry, claim, entries

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.sync.cast import Firm, Shared, World


@pytest.fixture
def firm(world: World) -> Firm:
    made = world.firm()
    world.set_stream(made, batch=50)
    return made


def shares(world: World, firm: Firm, count: int) -> list[Shared]:
    return [world.share(world.person(), firm) for _ in range(count)]


def arrived(world: World, everyone: Sequence[Shared]) -> list[bool]:
    found = [world.delivery(shared) for shared in everyone]
    return [each.acked_generation == each.generation for each in found]


def test_many_people_are_one_request(world: World, firm: Firm) -> None:
    everyone = shares(world, firm, 7)
    jobs.drain()
    assert firm.receiver.sizes == [7]
    assert arrived(world, everyone) == [True] * 7
    assert all(firm.receiver.newest(each.sub)["email.main"] == (1, "ada@example.org") for each in everyone)


def test_one_person_alone_is_a_request_with_one(world: World, firm: Firm) -> None:
    shares(world, firm, 1)
    jobs.drain()
    assert firm.receiver.sizes == [1]


def test_never_more_than_a_stream_takes(world: World, firm: Firm) -> None:
    world.set_stream(firm, batch=3)
    shares(world, firm, 8)
    jobs.drain()
    assert sorted(firm.receiver.sizes) == [2, 3, 3]


def test_never_longer_than_half_a_megabyte(world: World, firm: Firm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "MOST_BYTES", 6000)
    everyone = shares(world, firm, 6)
    jobs.drain()
    assert max(firm.receiver.sizes) < 6
    assert arrived(world, everyone) == [True] * 6


def test_messages_of_one_request_share_an_ephemeral_key_and_nothing_else(world: World, firm: Firm) -> None:
    shares(world, firm, 3)
    jobs.drain()
    heads, secrets = [], []
    for message in firm.receiver.journal:
        assert message.profile is not None
        sealed = message.profile["keys"]
        heads.append(json.loads(jws_header(sealed))["epk"]["x"])
        secrets.append(sealed.split(".")[1])
    assert len(set(heads)) == 1
    assert len(set(secrets)) == 3
    shares(world, firm, 1)
    jobs.drain()
    assert json.loads(jws_header(firm.receiver.journal[-1].profile["keys"]))["epk"]["x"] not in heads


def jws_header(compact: str) -> bytes:
    from joserfc.util import urlsafe_b64decode  # noqa: PLC0415 - named for what it reads

    return urlsafe_b64decode(compact.split(".", maxsplit=1)[0].encode())


def test_an_error_is_one_messages_failure_and_makes_it_a_newer_one(world: World, firm: Firm) -> None:
    everyone = shares(world, firm, 3)
    firm.receiver.says = lambda ids: {"ack": ids[1:], "setErrs": {ids[0]: {"err": "invalid_key", "description": "no"}}}
    jobs.drain()
    refused = [shared for shared, here in zip(everyone, arrived(world, everyone), strict=True) if not here]
    assert len(refused) == 1
    held = world.delivery(refused[0])
    assert (held.held, held.generation, held.attempts) == (True, 2, 1)
    assert "invalid_key" in held.last_problem
    assert entries(world, refused[0].person_id)[0].outcome == "failed"
    firm.receiver.says = None
    first = firm.receiver.journal[0].jti
    world.due_now()
    jobs.drain()
    assert arrived(world, everyone) == [True] * 3
    assert firm.receiver.journal[-1].jti != first
    assert not world.delivery(refused[0]).held


@pytest.mark.parametrize("said", [{"ack": []}, {}, [], "x", {"ack": "x", "setErrs": []}, {"ack": [1, None, {}]}])
def test_what_is_not_mentioned_is_sent_again_under_the_same_id(world: World, firm: Firm, said: object) -> None:
    everyone = shares(world, firm, 2)
    firm.receiver.says = lambda _ids: said
    jobs.drain()
    assert arrived(world, everyone) == [False, False]
    assert {entries(world, each.person_id)[0].outcome for each in everyone} == {"unknown"}
    firm.receiver.says = None
    world.due_now()
    jobs.drain()
    assert arrived(world, everyone) == [True, True]
    assert len({message.jti for message in firm.receiver.journal}) == 2


def test_acknowledgements_of_other_messages_are_ignored(world: World, firm: Firm) -> None:
    everyone = shares(world, firm, 2)
    firm.receiver.says = lambda ids: {"ack": ["nobody's", *ids], "setErrs": {"unheard-of": {"err": "invalid_key"}}}
    jobs.drain()
    assert arrived(world, everyone) == [True, True]


def test_too_large_is_halved_for_a_while(world: World, firm: Firm) -> None:
    everyone = shares(world, firm, 8)
    firm.receiver.behave = lambda number: (413, {}, b"") if number == 1 else None
    jobs.drain()
    assert firm.receiver.sizes == [4, 4]
    assert arrived(world, everyone) == [True] * 8
    assert all(world.delivery(each).attempts == 0 for each in everyone)
    for each in everyone:
        world.save(each.person_id, email__main="x@example.org")
    jobs.drain()
    assert max(firm.receiver.sizes) == 4
    courier.of(config.current()).close()


def test_a_refused_batch_is_sent_one_by_one_and_only_the_bad_one_is_held(world: World, firm: Firm) -> None:
    everyone = shares(world, firm, 3)
    bad = world.share(world.person(email__main="bad@example.org"), firm)
    refuse_what_holds(firm, "bad@example.org")
    jobs.drain()
    assert arrived(world, everyone) == [True] * 3
    assert arrived(world, [bad]) == [False]
    assert world.delivery(bad).held


def refuse_what_holds(firm: Firm, value: str) -> None:
    receive = firm.receiver._receive_many  # noqa: SLF001 - a receiver that does not know of single errors

    def pick(sets: dict[str, str]) -> object:
        answer = receive(sets)
        held = [message.values.get("email.main", (0, ""))[1] for message in firm.receiver.journal[-len(sets) :]]
        return (400, {}, b"") if value in held else answer

    firm.receiver._receive_many = pick  # noqa: SLF001


def test_what_may_not_leave_any_more_stays_behind_alone(world: World, firm: Firm) -> None:
    everyone = shares(world, firm, 3)
    parcels = claim(world)
    assert len({parcel.lease_id for parcel in parcels}) == 1
    world.step("withdraw", everyone[1])
    carry(parcels)
    assert firm.receiver.sizes == [2]
    assert arrived(world, everyone) == [True, False, True]
    assert entries(world, everyone[1].person_id)[0].outcome == "suppressed"


def test_each_message_of_a_request_is_a_try_of_its_own(world: World, firm: Firm) -> None:
    shares(world, firm, 2)
    jobs.drain()
    mine = select(Attempt).where(Attempt.client_id == firm.client_id)
    tries = world.transact(lambda session: session.scalars(mine).all())
    assert {each.jti for each in tries} == {message.jti for message in firm.receiver.journal}
    assert {(each.outcome, each.status, each.channel) for each in tries} == {("completed", 202, "push")}
    for each in tries:
        kept = json.loads(each.payload)
        [token] = [message.raw for message in firm.receiver.journal if message.jti == each.jti]
        assert kept["jti"] == each.jti
        assert "sealed characters" in kept["events"]["urn:ucm:event:profile"]["attributes"]["name.full"]["value"]
        assert not any(part in each.payload for part in sealed_parts(token))


def sealed_parts(token: str) -> list[str]:
    claims = json.loads(jws.extract_compact(token.encode()).payload)
    values = [entry["value"] for entry in claims["events"]["urn:ucm:event:profile"]["attributes"].values()]
    return [claims["events"]["urn:ucm:event:profile"]["keys"], *values]
