"""A company's own management of its stream, over the API (OpenID Shared Signals 1.0 sections 7 and 8)."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import select

from portal import db
from portal.sync import jobs, messages, push_header, services, streams
from portal.sync.models import Delivery, StreamEvent
from portal.sync.outbox import Sent
from portal.sync.rules import judge
from tests.sync.caller import Caller
from tests.sync.outbox_steps import claim, finish
from tests.sync.receiver import CONSENT, PROFILE

if TYPE_CHECKING:
    from collections.abc import Callable

    from flask.testing import FlaskClient
    from sqlalchemy.orm import Session
    from werkzeug.test import TestResponse

    from tests.sync.cast import Firm, World

HERE = streams.CONFIGURATION


@pytest.fixture
def firm(world: World) -> Firm:
    return world.firm(enabled=False)


@pytest.fixture
def caller(http: FlaskClient, world: World, firm: Firm) -> Caller:
    return Caller(http, world, firm, scope=streams.SCOPE)


def push(firm: Firm, **more: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    return {"method": streams.PUSH, "endpoint_url": firm.receiver.url, **more}


def make(caller: Caller, **body: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    answer = caller.post(HERE, json=body)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.get_json()
    return made


def send(caller: Caller, method: str, body: dict[str, Any], path: str = HERE) -> TestResponse:
    return caller.http.open(path, method=method, json=body, headers=caller.headers(method, path))


def refused(answer: TestResponse) -> tuple[int, str]:
    return answer.status_code, str(answer.get_json()["type"]).rpartition("/")[2]


def events_of(world: World, firm: Firm) -> list[tuple[str, dict[str, Any]]]:
    mine = select(StreamEvent).where(StreamEvent.client_id == firm.client_id).order_by(StreamEvent.created_at)
    found: list[StreamEvent] = world.transact(lambda session: session.scalars(mine).all())
    return [(each.kind, each.payload) for each in found]


def test_the_transmitter_says_where_everything_is(http: FlaskClient, world: World) -> None:
    """Section 7.1: subjects follow from consent, so nothing adds or removes any."""
    said = http.get("/.well-known/ssf-configuration").get_json()
    issuer = world.settings.issuer
    assert said["issuer"] == issuer
    assert said["spec_version"] == "1_0"
    assert said["delivery_methods_supported"] == list(streams.METHODS)
    assert said["default_subjects"] == "ALL"
    assert {"add_subject_endpoint", "remove_subject_endpoint"}.isdisjoint(said)
    assert http.get(said["jwks_uri"].removeprefix(issuer)).get_json()["keys"]


def test_without_a_stream_the_list_is_empty(caller: Caller) -> None:
    """Section 8.1.1.2."""
    answer = caller.get(HERE)
    assert (answer.status_code, answer.get_json()) == (200, [])


def test_a_stream_is_polled_unless_it_says_otherwise(caller: Caller, world: World, firm: Firm) -> None:
    made = make(caller)
    assert made["aud"] == firm.client_id
    assert made["iss"] == world.settings.issuer
    assert made["delivery"] == {"method": streams.POLL, "endpoint_url": world.settings.issuer + streams.EVENTS}
    assert made["events_supported"] == made["events_delivered"] == list(messages.EVENTS)
    assert "events_requested" not in made
    assert caller.get(HERE).get_json() == [made]
    assert caller.get(f"{HERE}?stream_id={made['stream_id']}").get_json() == made


def test_a_second_stream_is_refused(caller: Caller) -> None:
    make(caller)
    assert refused(caller.post(HERE, json={})) == (409, "stream-exists")


def test_a_pushed_stream_proves_itself_first(caller: Caller, world: World, firm: Firm) -> None:
    shared = world.share(world.person(), firm)
    firm.receiver.behave = lambda _number: (200, {}, b"{}")
    assert refused(caller.post(HERE, json={"delivery": push(firm)})) == (422, "endpoint-not-proven")
    assert world.endpoint(firm) is None
    firm.receiver.behave = None
    made = make(caller, delivery=push(firm, in_flight=2, per_second=50))
    assert made["delivery"] == push(firm, in_flight=2, per_second=50)
    [challenge] = firm.receiver.journal
    assert challenge.claims["sub_id"] == {"format": "opaque", "id": made["stream_id"]}
    jobs.drain()
    assert firm.receiver.newest(shared.sub)["name.full"] == (1, "Ada Byrne")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"delivery": {"method": streams.PUSH}}, "no-endpoint"),
        ({"delivery": {"method": streams.PUSH, "endpoint_url": "https://127.0.0.1/"}}, "unsafe-address"),
        ({"delivery": {"method": "urn:example:pigeon"}}, "invalid"),
        ({"delivery": {"method": streams.PUSH, "batch": 5}}, "invalid"),
        ({"delivery": {"method": streams.PUSH_MANY, "batch": 101}}, "invalid"),
        ({"delivery": {"method": streams.PUSH, "authorization_header": "a\r\nb: c"}}, "invalid"),
        ({"description": "a\u0000b"}, "invalid"),
        ({"events_requested": "all"}, "invalid"),
        ({"format": "email"}, "invalid"),
    ],
)
def test_what_cannot_be_used_makes_nothing(
    caller: Caller, world: World, firm: Firm, body: dict[str, Any], code: str
) -> None:
    assert refused(caller.post(HERE, json=body)) == (422, code)
    assert world.endpoint(firm) is None


def test_a_header_is_sent_with_the_proof_kept_wrapped_and_never_shown(caller: Caller, world: World, firm: Firm) -> None:
    made = make(caller, delivery=push(firm, authorization_header="Bearer secret-of-theirs"))
    assert "secret-of-theirs" not in str(made)
    row = world.endpoint(firm)
    assert row.wrapped_authorization is not None
    assert b"secret-of-theirs" not in row.wrapped_authorization
    opened = push_header.unwrap(
        world.keyring, client_id=firm.client_id, version=row.authorization_version, wrapped=row.wrapped_authorization
    )
    assert opened == "Bearer secret-of-theirs"
    # What is sent back as it was read changes nothing; what replaces all of it ends the header too.
    send(caller, "PATCH", made)
    assert world.endpoint(firm).wrapped_authorization is not None
    send(caller, "PUT", {"stream_id": made["stream_id"], "delivery": push(firm)})
    assert world.endpoint(firm).wrapped_authorization is None


def test_a_header_goes_nowhere_else(caller: Caller, world: World, firm: Firm) -> None:
    other = world.firm(enabled=False)
    made = make(caller, delivery=push(firm, authorization_header="Bearer secret-of-theirs"))
    moved = send(caller, "PATCH", {"stream_id": made["stream_id"], "delivery": push(other)})
    assert moved.status_code == 200
    assert world.endpoint(firm).wrapped_authorization is None


def test_an_endpoint_that_does_not_prove_itself_leaves_the_old_one(caller: Caller, world: World, firm: Firm) -> None:
    other = world.firm(enabled=False)
    made = make(caller, delivery=push(firm))
    other.receiver.behave = lambda _number: (500, {}, b"")
    body = {"stream_id": made["stream_id"], "delivery": push(other), "description": "new"}
    assert refused(send(caller, "PATCH", body)) == (422, "endpoint-not-proven")
    assert caller.get(HERE).get_json() == [made]
    assert world.endpoint(firm).url == firm.receiver.url


def meanwhile(firm: Firm, act: Callable[[], object]) -> None:
    """Have this done while the endpoint proves itself, once."""

    def behave(_number: int) -> None:
        firm.receiver.behave = None
        act()

    firm.receiver.behave = behave


def test_what_another_says_while_an_endpoint_proves_itself_stands(caller: Caller, world: World, firm: Firm) -> None:
    other = world.firm(enabled=False)
    made = make(caller, delivery=push(firm), description="first")
    meanwhile(other, lambda: world.set_stream(firm, description="second", per_second=7))
    patched = send(caller, "PATCH", {"stream_id": made["stream_id"], "delivery": push(other)}).get_json()
    assert (patched["description"], patched["delivery"]["per_second"]) == ("second", 7)
    assert patched["delivery"]["endpoint_url"] == other.receiver.url


def ended_and_begun(world: World, firm: Firm) -> None:
    def act(session: Session) -> None:
        streams.end(session, client_id=firm.client_id)
        services.begin_stream(
            session, client_id=firm.client_id, stream_id=db.new_id(), method="poll", url=None, now=db.now()
        )

    world.transact(act)


@pytest.mark.parametrize(
    ("body", "act", "code"),
    [
        (lambda _other: {"delivery": {"method": streams.PUSH, "authorization_header": "Bearer x"}},
         lambda world, firm, other: world.set_stream(firm, url=other.receiver.url), "stream-changed"),
        (lambda _other: {"delivery": {"method": streams.PUSH, "authorization_header": "Bearer x"}},
         lambda world, firm, _other: world.set_stream(firm, method="poll", url=None), "no-endpoint"),
        (lambda other: {"delivery": push(other)},
         lambda world, firm, _other: ended_and_begun(world, firm), "stream-changed"),
        (lambda other: {"delivery": push(other)},
         lambda world, firm, _other: world.transact(lambda session: streams.end(session, client_id=firm.client_id)),
         "not-found"),
    ],
    ids=["moved", "polled", "made anew", "ended"],
)  # fmt: skip
def test_a_proof_that_is_not_of_what_stands_now_counts_for_nothing(
    *,
    caller: Caller,
    world: World,
    firm: Firm,
    body: Callable[[Firm], dict[str, Any]],
    act: Callable[[World, Firm, Firm], object],
    code: str,
) -> None:
    other = world.firm(enabled=False)
    made = make(caller, delivery=push(firm))
    proves = other if "endpoint_url" in body(other)["delivery"] else firm
    meanwhile(proves, lambda: act(world, firm, other))
    answer = send(caller, "PATCH", {"stream_id": made["stream_id"], **body(other)})
    assert refused(answer) == (404 if code == "not-found" else 422 if code == "no-endpoint" else 409, code)


def test_one_that_is_turned_off_as_it_is_changed_is_not_on_without_a_proof(
    world: World, caller: Caller, firm: Firm
) -> None:
    make(caller, delivery=push(firm))
    world.set_stream(firm, state="disabled", disabled_at=db.now())
    for step in (
        lambda session: streams.change(
            session, keyring=world.keyring, client_id=firm.client_id, wish=streams.wish_of, now=db.now()
        ),
        lambda session: streams.set_status(
            session, client_id=firm.client_id, status="enabled", reason="", now=db.now()
        ),
    ):
        with pytest.raises(streams.ChangedMeanwhileError):
            world.transact(step)
    assert world.endpoint(firm).state == "disabled"


def test_a_patch_changes_what_it_names_and_a_put_all(caller: Caller) -> None:
    made = make(caller, description="first", events_requested=[PROFILE])
    patched = send(caller, "PATCH", {"stream_id": made["stream_id"], "description": "second"}).get_json()
    assert patched == made | {"description": "second"}
    put_ = send(caller, "PUT", {"stream_id": made["stream_id"], "delivery": {"method": streams.POLL}}).get_json()
    assert (put_["description"], "events_requested" in put_) == ("", False)


def test_what_is_for_us_to_say_may_be_sent_back_but_not_changed(caller: Caller) -> None:
    """Section 8.1.1.3."""
    made = make(caller)
    assert send(caller, "PATCH", made).status_code == 200
    assert refused(send(caller, "PATCH", made | {"iss": "https://evil.example"})) == (400, "stream-member-not-yours")
    assert refused(send(caller, "PUT", made | {"events_delivered": []})) == (400, "stream-member-not-yours")


def test_events_that_nobody_asked_for_are_left_out_but_never_a_consent(
    caller: Caller, world: World, firm: Firm
) -> None:
    made = make(caller, delivery=push(firm), events_requested=["urn:example:other"])
    assert made["events_delivered"] == list(messages.ALWAYS)
    shared = world.share(world.person(), firm)
    jobs.drain()
    world.step("withdraw", shared)
    jobs.drain()
    told = [message for message in firm.receiver.journal if message.consent]
    assert [message.consent["state"] for message in told if message.consent] == ["active", "withdrawn"]
    assert not any(message.profile for message in firm.receiver.journal)


def test_what_is_asked_for_again_is_told_in_full(caller: Caller, world: World, firm: Firm) -> None:
    made = make(caller, delivery=push(firm), events_requested=[CONSENT])
    shared = world.share(world.person(), firm)
    jobs.drain()
    assert firm.receiver.newest(shared.sub) == {}
    send(caller, "PATCH", {"stream_id": made["stream_id"], "events_requested": [CONSENT, PROFILE]})
    jobs.drain()
    assert firm.receiver.newest(shared.sub).keys() == {"name.full", "email.main"}


def test_what_was_left_out_is_told_by_the_next_stream(caller: Caller, world: World, firm: Firm) -> None:
    made = make(caller, delivery=push(firm), events_requested=[CONSENT])
    shared = world.share(world.person(), firm)
    jobs.drain()
    caller.http.delete(
        streams.CONFIGURATION,
        query_string={"stream_id": made["stream_id"]},
        headers=caller.headers("DELETE", streams.CONFIGURATION),
    )
    make(caller, delivery=push(firm))
    jobs.drain()
    assert firm.receiver.newest(shared.sub).keys() == {"name.full", "email.main"}


def test_an_acknowledgement_of_what_left_it_out_does_not_count_for_it(caller: Caller, world: World, firm: Firm) -> None:
    made = make(caller, delivery=push(firm), events_requested=[CONSENT])
    shared = world.share(world.person(), firm)
    parcels = claim(world)
    send(caller, "PATCH", {"stream_id": made["stream_id"], "events_requested": [CONSENT, PROFILE]})
    finish(world, [Sent(parcel, judge(202, milliseconds=1)) for parcel in parcels])
    jobs.drain()
    assert firm.receiver.newest(shared.sub).keys() == {"name.full", "email.main"}


@pytest.mark.parametrize("status", ["paused", "disabled"])
def test_while_it_rests_nothing_is_sent_and_nothing_is_lost(
    caller: Caller, world: World, firm: Firm, status: str
) -> None:
    made = make(caller, delivery=push(firm))
    shared = world.share(world.person(), firm)
    jobs.drain()
    body = {"stream_id": made["stream_id"], "status": status, "reason": "we move house"}
    said = send(caller, "POST", body, streams.STATUS).get_json()
    assert said == body
    assert caller.get(f"{streams.STATUS}?stream_id={made['stream_id']}").get_json() == said
    world.save(shared.person_id, email__main="one@example.org")
    world.save(shared.person_id, email__main="two@example.org")
    jobs.drain()
    assert firm.receiver.newest(shared.sub)["email.main"][1] == "ada@example.org"
    [row] = world.transact(
        lambda session: session.scalars(select(Delivery).where(Delivery.client_id == firm.client_id)).all()
    )
    assert row.generation > row.acked_generation
    send(caller, "POST", {"stream_id": made["stream_id"], "status": "enabled"}, streams.STATUS)
    jobs.drain()
    assert firm.receiver.newest(shared.sub)["email.main"][1] == "two@example.org"
    assert events_of(world, firm)[-1] == (messages.STREAM_UPDATED, {"status": "enabled"})


def test_a_stream_that_rests_still_does_when_its_endpoint_moved(caller: Caller, world: World, firm: Firm) -> None:
    other = world.firm(enabled=False)
    made = make(caller, delivery=push(firm))
    send(caller, "POST", {"stream_id": made["stream_id"], "status": "paused"}, streams.STATUS)
    send(caller, "PATCH", {"stream_id": made["stream_id"], "delivery": push(other)})
    assert (world.endpoint(firm).state, world.endpoint(firm).url) == ("paused", other.receiver.url)
    assert events_of(world, firm) == [(messages.STREAM_UPDATED, {"status": "paused"})]


def test_one_that_was_turned_off_because_it_failed_shows_that_it_is_back(
    caller: Caller, world: World, firm: Firm
) -> None:
    made = make(caller, delivery=push(firm))
    world.set_stream(firm, state="disabled", disabled_at=db.now(), reason="It answered 410.")
    firm.receiver.behave = lambda _number: (410, {}, b"")
    body = {"stream_id": made["stream_id"], "status": "enabled"}
    assert refused(send(caller, "POST", body, streams.STATUS)) == (422, "endpoint-not-proven")
    firm.receiver.behave = None
    assert send(caller, "POST", body, streams.STATUS).get_json()["status"] == "enabled"
    assert world.endpoint(firm).disabled_at is None


def test_a_verification_event_is_owed_once_a_minute(caller: Caller, world: World, firm: Firm) -> None:
    """Section 8.1.4.2."""
    made = make(caller)
    body = {"stream_id": made["stream_id"], "state": "what we gave"}
    assert send(caller, "POST", body, streams.VERIFICATION).status_code == 204
    again = send(caller, "POST", body, streams.VERIFICATION)
    assert refused(again) == (429, "verification-too-soon")
    assert int(again.headers["Retry-After"]) <= made["min_verification_interval"]
    world.set_stream(firm, verification_asked_at=db.now() - timedelta(seconds=61))
    assert send(caller, "POST", {"stream_id": made["stream_id"]}, streams.VERIFICATION).status_code == 204
    assert events_of(world, firm) == [(messages.VERIFICATION, {"state": "what we gave"}), (messages.VERIFICATION, {})]


def test_a_stream_that_is_gone_is_told_nothing_and_the_next_one_what_it_missed(
    caller: Caller, world: World, firm: Firm
) -> None:
    made = make(caller, delivery=push(firm))
    stays, stops = (world.share(world.person(), firm) for _ in range(2))
    jobs.drain()
    path = f"{HERE}?stream_id={made['stream_id']}"
    assert caller.http.delete(path, headers=caller.headers("DELETE", HERE)).status_code == 204
    world.save(stays.person_id, email__main="new@example.org")
    world.step("withdraw", stops)
    jobs.drain()
    before = len(firm.receiver.journal)
    again = make(caller, delivery=push(firm))
    assert again["stream_id"] != made["stream_id"]
    jobs.drain()
    told = firm.receiver.journal[before + 1 :]
    assert {message.claims["sub_id"]["sub"] for message in told} == {stays.sub, stops.sub}
    assert firm.receiver.newest(stays.sub)["email.main"] == (2, "new@example.org")
    assert [message.consent["state"] for message in told if message.consent] == ["withdrawn"]


@pytest.mark.parametrize(
    ("call", "more"),
    [
        (("PATCH", HERE), {}),
        (("PUT", HERE), {"delivery": {"method": streams.POLL}}),
        (("POST", streams.STATUS), {"status": "paused"}),
        (("POST", streams.VERIFICATION), {}),
    ],
)
def test_another_companys_stream_does_not_exist(
    caller: Caller, http: FlaskClient, world: World, call: tuple[str, str], more: dict[str, Any]
) -> None:
    theirs = make(Caller(http, world, world.firm(enabled=False), scope=streams.SCOPE))
    make(caller)
    method, path = call
    assert send(caller, method, {"stream_id": theirs["stream_id"], **more}, path).status_code == 404
    query = f"?stream_id={theirs['stream_id']}"
    assert caller.get(HERE + query).status_code == 404
    assert caller.get(streams.STATUS + query).status_code == 404
    assert caller.http.delete(HERE + query, headers=caller.headers("DELETE", HERE)).status_code == 404


def test_a_token_without_the_scope_is_refused(http: FlaskClient, world: World, firm: Firm) -> None:
    answer = Caller(http, world, firm).get(HERE)
    assert answer.status_code == 403
    assert 'scope="streams:manage"' in answer.headers["WWW-Authenticate"]
