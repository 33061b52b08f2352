"""What the demo company makes of what it is told besides values: still right, something new, delete it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import receiver
import wording

if TYPE_CHECKING:
    from flask.testing import FlaskClient

    from receiver import Receiver
    from store import Store

    from .conftest import HandMadePortal

NAME = "name.full"
WISH = {
    "grant_id": "grant-1", "attributes": [NAME], "requested_at": "2026-11-22T10:00:00+00:00",
    "delete_by": "2026-12-22T10:00:00+00:00",
}  # fmt: skip


def push(endpoint: FlaskClient, message: str) -> int:
    return endpoint.post("/events", data=message, content_type="application/secevent+jwt").status_code


def tell(endpoint: FlaskClient, portal: HandMadePortal, event: str, content: dict[str, Any], jti: str) -> int:
    return push(endpoint, portal.sign(portal.claims(event, content, jti=jti)))


def customer(store: Store) -> dict[str, Any]:
    found = store.customer("person-1")
    assert found is not None
    return found


@pytest.mark.parametrize(("version", "shown"), [(1, "22 November 2026"), (2, "")])
def test_still_right_is_noted_of_the_version_it_was_said_of(
    endpoint: FlaskClient, portal: HandMadePortal, store: Store, version: int, shown: str
) -> None:
    push(endpoint, portal.message({NAME: (1, "Aoife")}))
    mark = {"version": version, "confirmed_at": "2026-11-22T10:00:00+00:00"}
    content = {"grant_id": "grant-1", "purpose": "bills", "sequence": 2, "attributes": {NAME: mark}}
    assert tell(endpoint, portal, receiver.CONFIRMED, content, "b") == 202
    [detail] = customer(store)["details"]
    assert (detail["value"], wording.still_right(detail)) == ("Aoife", shown)


def test_a_wish_to_delete_deletes_and_says_until_when(
    endpoint: FlaskClient, portal: HandMadePortal, store: Store
) -> None:
    push(endpoint, portal.message({NAME: (1, "Aoife")}))
    assert tell(endpoint, portal, receiver.ERASURE, WISH, "b") == 202
    person = customer(store)
    assert person["details"] == []
    assert wording.day(person["erasure"]["delete_by"]) == "22 December 2026"
    assert store.journal()[0]["kind"] == "erasure"


def test_a_wish_about_an_old_sharing_leaves_a_new_one_alone(
    endpoint: FlaskClient, portal: HandMadePortal, store: Store
) -> None:
    push(endpoint, portal.message({NAME: (1, "Aoife")}, grant_id="grant-2"))
    tell(endpoint, portal, receiver.ERASURE, WISH, "b")
    person = customer(store)
    assert ([detail["value"] for detail in person["details"]], person["erasure"]) == (["Aoife"], None)


def test_a_notice_is_taken_and_what_it_names_is_fetched(
    endpoint: FlaskClient, portal: HandMadePortal, inbox: Receiver, store: Store
) -> None:
    fetched: list[str] = []
    inbox.on_notice = fetched.append
    push(endpoint, portal.message({NAME: (1, "Aoife")}))
    mark = {"version": 2, "changed_at": "2026-11-22T10:00:00+00:00", "confirmed_at": None}
    content = {
        "grant_id": "grant-1", "purpose": "bills", "sequence": 2, "complete": False, "thin": True,
        "attributes": {NAME: mark},
    }  # fmt: skip
    assert tell(endpoint, portal, receiver.PROFILE, content, "b") == 202
    assert fetched == ["person-1"]
    assert [detail["value"] for detail in customer(store)["details"]] == ["Aoife"]


@pytest.mark.parametrize("event", [receiver.CONFIRMED, receiver.ERASURE])
def test_an_incomplete_event_is_refused(endpoint: FlaskClient, portal: HandMadePortal, event: str) -> None:
    assert tell(endpoint, portal, event, {"attributes": {NAME: {}}}, "b") == 400
