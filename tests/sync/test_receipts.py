"""What companies say they did with messages: once, in any order, early or late, and never of another's message."""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import delete, select, update

from portal import db
from portal.sync import jobs, outbox, receipts, rules, services
from portal.sync.models import Attempt, Delivery, Receipt, Stream
from portal.sync.receipts import NewReceipt, Noted, Status
from tests.sync.caller import Caller
from tests.sync.outbox_steps import claim

if TYPE_CHECKING:
    from collections.abc import Callable

    from flask.testing import FlaskClient
    from werkzeug.test import TestResponse

    from tests.sync.cast import Firm, Shared, World

ADDRESS = "/api/v1/receipts"


def receipt(jti: str, status: str = "applied", **more: Any) -> dict[str, Any]:  # noqa: ANN401 - members of JSON
    body = {"jti": jti, "status": status, "applied_at": db.now().isoformat()} | more
    return body | ({"reason": "invalid"} if status == "rejected" and "reason" not in more else {})


def send(caller: Caller, *said: dict[str, Any]) -> TestResponse:
    return caller.post(ADDRESS, json={"receipts": list(said)})


def results(response: TestResponse) -> list[str]:
    assert response.status_code == 200, response.text
    return [each["result"] for each in response.get_json()["results"]]


def pushed(world: World, firm: Firm, shared: Shared | None = None, **values: Any) -> str:  # noqa: ANN401 - of the catalogue
    """Return the id of the message that arrives next."""
    if shared is not None:
        world.save(shared.person_id, **values)
    before = len(firm.receiver.journal)
    jobs.drain()
    arrived = [str(each.jti) for each in firm.receiver.journal[before:]]
    assert len(arrived) == 1
    return arrived[0]


def kept(world: World, jti: str) -> Receipt | None:
    found: Receipt | None = world.transact(lambda session: session.scalar(select(Receipt).where(Receipt.jti == jti)))
    return found


def arrive(world: World, parcel: outbox.Parcel) -> None:
    done = outbox.Sent(parcel, rules.Result(outcome=rules.Outcome.COMPLETED, status=202))
    world.transact(lambda session: outbox.finish(session, [done], now=db.now()))


def test_a_receipt_is_recorded_once(world: World, firm: Firm, caller: Caller, shared: Shared) -> None:
    jti = pushed(world, firm)
    said = receipt(jti)
    assert results(send(caller, said)) == ["recorded"]
    assert results(send(caller, said)) == ["already-recorded"]
    assert results(send(caller, receipt(jti))) == ["already-recorded"]
    copy = world.delivery(shared)
    assert (copy.applied_state, copy.applied_generation) == ("applied", copy.acked_generation)
    assert copy.applied_sequence == copy.acked_sequence == 1
    assert copy.applied_at == datetime.fromisoformat(said["applied_at"])


@pytest.mark.parametrize(
    ("first", "second", "result", "stays"),
    [
        ("applied", "rejected", "conflict", "applied"),
        ("applied", "superseded", "conflict", "applied"),
        ("superseded", "applied", "conflict", "superseded"),
        ("rejected", "applied", "recorded", "applied"),
        ("rejected", "superseded", "recorded", "superseded"),
        ("rejected", "rejected", "already-recorded", "rejected"),
    ],
)
def test_the_first_word_stands_but_what_was_rejected_may_be_mended(
    *, world: World, firm: Firm, caller: Caller, shared: Shared, first: str, second: str, result: str, stays: str
) -> None:
    jti = pushed(world, firm)
    assert results(send(caller, receipt(jti, first))) == ["recorded"]
    assert results(send(caller, receipt(jti, second))) == [result]
    assert world.delivery(shared).applied_state == stays
    row = kept(world, jti)
    assert row is not None
    assert (row.status, bool(row.reason)) == (stays, stays == "rejected")


def test_a_receipt_before_the_acknowledgement_is_noted(
    world: World, firm: Firm, caller: Caller, shared: Shared
) -> None:
    """The company was faster than the transaction that notes what became of the message."""
    [parcel] = claim(world)
    world.transact(lambda session: session.execute(delete(Attempt).where(Attempt.jti == parcel.jti)))
    assert results(send(caller, receipt(parcel.jti))) == ["recorded"]
    copy = world.delivery(shared)
    assert (copy.acked_generation, copy.applied_generation, copy.applied_sequence) == (0, 1, 1)
    arrive(world, parcel)
    copy = world.delivery(shared)
    assert (copy.acked_generation, copy.applied_state, copy.applied_sequence) == (1, "applied", 1)
    assert results(send(caller, receipt(parcel.jti))) == ["already-recorded"]
    assert firm.name


def test_an_early_receipt_of_a_message_that_has_a_newer_one_behind_it(
    world: World, caller: Caller, shared: Shared
) -> None:
    [parcel] = claim(world)
    for number in range(3):
        world.save(shared.person_id, name__full=f"Ada {number}")
    assert results(send(caller, receipt(parcel.jti))) == ["recorded"]
    copy = world.delivery(shared)
    assert (copy.generation, copy.applied_generation, copy.applied_sequence) == (4, 1, 1)


def test_what_was_handed_out_to_a_poll_is_found_however_late_it_is_acknowledged(
    world: World, caller: Caller, shared: Shared
) -> None:
    handed = update(Delivery).where(Delivery.grant_id == shared.grant_id)
    world.transact(
        lambda session: session.execute(
            handed.values(sent_jti=f"polled-{shared.sub}", sent_generation=1, sent_sequence=1)
        )
    )
    assert results(send(caller, receipt(f"polled-{shared.sub}"))) == ["recorded"]
    assert world.delivery(shared).applied_sequence == 1


def test_an_older_receipt_takes_nothing_back(world: World, firm: Firm, caller: Caller, shared: Shared) -> None:
    first = pushed(world, firm)
    second = pushed(world, firm, shared, name__full="Ada Lovelace")
    assert results(send(caller, receipt(second))) == ["recorded"]
    assert results(send(caller, receipt(first, "rejected"))) == ["recorded"]
    copy = world.delivery(shared)
    assert (copy.applied_state, copy.applied_sequence) == ("applied", 2)


def test_several_receipts_of_one_copy_come_in_one_request(
    world: World, firm: Firm, caller: Caller, shared: Shared
) -> None:
    first = pushed(world, firm)
    second = pushed(world, firm, shared, name__full="Ada Lovelace")
    assert results(send(caller, receipt(second, "rejected"), receipt(first))) == ["recorded", "recorded"]
    copy = world.delivery(shared)
    assert (copy.applied_state, copy.applied_generation, copy.applied_sequence) == ("rejected", 2, 1)


@pytest.mark.parametrize("many", [False, True])
def test_what_was_pulled_is_receipted_by_the_pulled_messages_id(
    *, world: World, firm: Firm, caller: Caller, shared: Shared, many: bool
) -> None:
    if many:
        started = caller.post("/api/v1/pulls", json={"subjects": [shared.sub]}).get_json()
        jobs.run_pull(str(started["id"]))
        [found] = caller.get(started["links"]["self"] + "/result").get_json()["results"]
        jti = _jti(found["message"])
    else:
        jti = _jti(caller.get(f"/api/v1/people/{shared.sub}").text)
    assert results(send(caller, receipt(jti))) == ["recorded"]
    row = kept(world, jti)
    assert row is not None
    assert (row.generation, row.sequence) == (0, 1)
    assert world.delivery(shared).applied_generation == 0
    assert firm.name


def _jti(message: str) -> str:
    payload = message.split(".")[1]
    return str(json.loads(urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))["jti"])


def test_another_companys_message_is_unknown(world: World, firm: Firm, http: FlaskClient, shared: Shared) -> None:
    jti = pushed(world, firm)
    rival = Caller(http, world, world.firm())
    assert results(send(rival, receipt(jti))) == ["unknown"]
    assert world.delivery(shared).applied_state == ""
    assert kept(world, jti) is None


@pytest.mark.parametrize("jti", ["x", "0" * 32, "f" * 32, "019900000000" + "7" + "0" * 19, db.new_id().hex, "~" * 255])
def test_an_unknown_message_is_said_to_be(caller: Caller, shared: Shared, jti: str) -> None:
    assert shared.sub
    assert results(send(caller, receipt(jti))) == ["unknown"]


@pytest.mark.parametrize(
    ("offset", "result"),
    [
        (timedelta(minutes=4), "recorded"),
        (timedelta(minutes=6), "wrong-time"),
        (timedelta(minutes=-4), "recorded"),
        (timedelta(minutes=-6), "wrong-time"),
        (timedelta(days=-3000), "wrong-time"),
    ],
)
def test_a_moment_that_cannot_be_is_mended_or_refused(
    *, world: World, firm: Firm, caller: Caller, shared: Shared, offset: timedelta, result: str
) -> None:
    before = db.now()
    jti = pushed(world, firm)
    said = receipt(jti, applied_at=(db.now() + offset).isoformat())
    assert results(send(caller, said)) == [result]
    if result == "recorded":
        at = world.delivery(shared).applied_at
        assert at is not None
        assert before <= at <= db.now()


def test_without_a_moment_it_is_now(world: World, firm: Firm, caller: Caller, shared: Shared) -> None:
    before = db.now()
    assert results(send(caller, {"jti": pushed(world, firm), "status": "applied"})) == ["recorded"]
    at = world.delivery(shared).applied_at
    assert at is not None
    assert before <= at <= db.now()


@pytest.mark.parametrize("at", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
def test_the_ends_of_time_are_refused(*, world: World, firm: Firm, caller: Caller, shared: Shared, at: str) -> None:
    assert shared.sub
    assert results(send(caller, receipt(pushed(world, firm), applied_at=at))) == ["wrong-time"]


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "/receipts"),
        ({"receipts": []}, "/receipts"),
        ({"receipts": [{"jti": "a", "status": "applied", "applied_at": "2026-01-01T00:00:00Z"}] * 2}, "/receipts"),
        ({"receipts": [receipt(f"j{number}") for number in range(501)]}, "/receipts"),
        ({"receipts": [receipt("a", "done")]}, "/receipts/0/status"),
        ({"receipts": [receipt("a", applied_at="2026-01-01T00:00:00")]}, "/receipts/0/applied_at"),
        ({"receipts": [receipt("a", applied_at=1_790_000_000)]}, "/receipts/0/applied_at"),
        ({"receipts": [receipt("a", "rejected", reason=None)]}, "/receipts/0"),
        ({"receipts": [receipt("a", "applied", reason="invalid")]}, "/receipts/0"),
        ({"receipts": [receipt("a", "rejected", reason="Ada Byrne")]}, "/receipts/0/reason"),
        ({"receipts": [receipt("a", "rejected", words="ada@example.org")]}, "/receipts/0/words"),
        ({"receipts": [receipt("a", "rejected", words="phone 0851234567")]}, "/receipts/0/words"),
        ({"receipts": [receipt("a", "rejected", words="x" * 81)]}, "/receipts/0/words"),
        ({"receipts": [receipt("a", words="why")]}, "/receipts/0"),
        ({"receipts": [receipt("a\x00")]}, "/receipts/0/jti"),
        ({"receipts": [receipt("a") | {"sub": "b"}]}, "/receipts/0"),
    ],
)
def test_a_bad_body_is_answered_with_a_pointer(caller: Caller, body: dict[str, Any], pointer: str) -> None:
    response = caller.post(ADDRESS, json=body)
    assert response.status_code == 422
    assert response.get_json()["errors"][0]["pointer"] == pointer


def test_two_receipts_at_the_same_moment(world: World, firm: Firm, shared: Shared) -> None:
    jti = pushed(world, firm)

    def say(status: Status) -> Noted:
        new = NewReceipt(jti=jti, status=status, applied_at=db.now())
        [noted] = world.transact(
            lambda session: receipts.note(
                session, company_id=firm.company_id, client_id=firm.client_id, receipts=[new], now=db.now()
            )
        )
        return Noted(noted)

    with ThreadPoolExecutor(8) as pool:
        noted = list(pool.map(say, [Status.APPLIED, Status.SUPERSEDED] * 8))
    assert noted.count(Noted.RECORDED) == 1
    assert noted.count(Noted.ALREADY) == 7
    assert noted.count(Noted.CONFLICT) == 8
    row = kept(world, jti)
    assert row is not None
    assert row.status == world.delivery(shared).applied_state


def test_a_receipt_and_the_acknowledgement_at_the_same_moment(world: World, firm: Firm, caller: Caller) -> None:
    """Both write the same row, many at a time, each in its own transaction."""
    shares = [world.share(world.person(), firm) for _ in range(12)]
    parcels = claim(world)
    many = len(parcels)
    assert many > 1

    def say(_turn: int) -> list[str]:
        return results(send(caller, *(receipt(parcel.jti) for parcel in reversed(parcels))))

    with ThreadPoolExecutor(3) as pool:
        told = [pool.submit(say, turn) for turn in range(2)]
        for parcel in parcels:
            arrive(world, parcel)
        counted = sorted(word for each in told for word in each.result())
    assert counted == ["already-recorded"] * many + ["recorded"] * many
    claimed = {parcel.grant_id for parcel in parcels}
    for copy in (world.delivery(each) for each in shares if each.grant_id in claimed):
        assert (copy.acked_generation, copy.applied_generation, copy.applied_state) == (1, 1, "applied")


def test_a_client_that_sends_receipts_is_known_by_it(world: World, firm: Firm, caller: Caller, shared: Shared) -> None:
    assert world.endpoint(firm).receipts_from is None
    send(caller, receipt(pushed(world, firm)))
    first = world.endpoint(firm).receipts_from
    assert first is not None
    send(caller, receipt(pushed(world, firm, shared, name__full="Ada Lovelace")))
    assert world.endpoint(firm).receipts_at == first


def test_somebody_who_holds_the_stream_holds_up_no_receipt(world: World, firm: Firm, caller: Caller) -> None:
    world.share(world.person(), firm)
    jti = pushed(world, firm)
    with ThreadPoolExecutor(1) as other, db.sessions(world.settings.database_url)() as holding:
        holding.execute(select(Stream).where(Stream.client_id == firm.client_id).with_for_update())
        answer = other.submit(send, caller, receipt(jti))
        assert results(answer.result(timeout=5)) == ["recorded"]
        holding.rollback()


def test_receipts_are_found_by_their_message(world: World, firm: Firm, caller: Caller, shared: Shared) -> None:
    assert shared.sub
    jti = pushed(world, firm)
    send(caller, receipt(jti, "rejected", reason="other", words="Wrong office"))
    find: Callable[..., Any] = receipts.of_messages
    [found] = world.transact(lambda session: find(session, client_id=firm.client_id, jtis=[jti])).values()
    assert (found.status, found.reason, found.words) == ("rejected", "other", "Wrong office")
    assert world.transact(lambda session: find(session, client_id="another", jtis=[jti])) == {}
    later = datetime.now(UTC) + timedelta(days=31)
    world.transact(lambda session: receipts.forget(session, now=later))
    assert kept(world, jti) is None


@pytest.mark.parametrize("headers", [{}, {"Authorization": "DPoP nonsense"}])
def test_strangers_are_refused(http: FlaskClient, headers: dict[str, str]) -> None:
    assert http.post(ADDRESS, json={"receipts": [receipt("a")]}, headers=headers).status_code == 401


def test_a_token_without_the_scope_is_refused(http: FlaskClient, world: World, firm: Firm) -> None:
    assert send(Caller(http, world, firm, "grant_management_query"), receipt("a")).status_code == 403


def test_a_receipt_after_the_person_stopped_is_still_recorded(
    world: World, firm: Firm, caller: Caller, shared: Shared
) -> None:
    jti = pushed(world, firm)
    world.step("withdraw", shared)
    assert results(send(caller, receipt(jti))) == ["recorded"]


def test_asking_for_everything_again_keeps_what_was_applied(
    world: World, firm: Firm, caller: Caller, shared: Shared
) -> None:
    first = pushed(world, firm)
    send(caller, receipt(first))
    world.transact(lambda session: services.send_again(session, person_id=shared.person_id, grant_id=shared.grant_id))
    again = pushed(world, firm)
    assert again != first
    assert results(send(caller, receipt(again))) == ["recorded"]
    assert world.delivery(shared).applied_generation == 2


def test_after_a_rejection_the_next_message_says_everything(
    world: World, firm: Firm, caller: Caller, shared: Shared
) -> None:
    """Or an `applied` for it would say that what was rejected before is used as well."""
    results(send(caller, receipt(pushed(world, firm))))
    results(send(caller, receipt(pushed(world, firm, shared, email__main="new@example.org"), "rejected")))
    jobs.drain()
    assert len(firm.receiver.journal) == 2
    results(send(caller, receipt(pushed(world, firm, shared, name__full="Ada Lovelace"))))
    last = firm.receiver.journal[-1]
    assert last.profile is not None
    assert last.profile["complete"]
    assert {name: value for name, (_version, value) in last.values.items()} == {
        "name.full": "Ada Lovelace",
        "email.main": "new@example.org",
    }
    copy = world.delivery(shared)
    assert (copy.applied_state, copy.applied_sequence, copy.acked_sequence) == ("applied", 3, 3)
