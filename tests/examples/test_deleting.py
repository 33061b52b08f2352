"""The demo company deletes what people asked to be deleted, and says so: after a while, once, and never too early."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, cast

import pytest
import requests

from deleting import Deleting
from portal_client import PortalProblemError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from portal_client import PortalClient
    from receiver import Receiver
    from store import Store

    from .conftest import HandMadePortal

WISH = {"grant_id": "grant-1", "requested_at": "2026-11-21T14:50:00Z", "delete_by": "2026-12-21T14:50:00Z"}


class Desk:
    """Where the portal lists wishes and hears what was deleted; it may be away."""

    def __init__(self) -> None:
        self.away, self.refuses = False, False
        self.wishes: list[dict[str, Any]] = []
        self.said: list[tuple[str, list[str]]] = []

    def to_delete(self) -> Iterator[dict[str, Any]]:
        if self.away:
            raise requests.ConnectionError
        yield from list(self.wishes)

    def say_deleted(self, grant_id: str, attributes: list[str]) -> None:
        if self.refuses:
            raise PortalProblemError(409, "deletion-settled", "They share it again.")
        self.said.append((grant_id, attributes))
        self.wishes = [one for one in self.wishes if one["grant_id"] != grant_id]

    def wish(self, *names: str, ago: int = 0, state: str = "asked", grant_id: str = "grant-1") -> None:
        asked_at = (datetime.now(UTC) - timedelta(seconds=ago)).isoformat()
        common = {"state": state, "asked_at": asked_at, "grant_id": grant_id, "sub": "person-1"}
        self.wishes += [common | {"attribute": name} for name in names]


@pytest.fixture
def desk() -> Desk:
    return Desk()


@pytest.fixture
def deleting(desk: Desk, store: Store) -> Deleting:
    return Deleting(cast("PortalClient", desk), store, after=60)


def test_it_is_said_after_a_while_once_and_for_each_consent_in_one_piece(desk: Desk, deleting: Deleting) -> None:
    desk.wish("name.full", "email.main", ago=61)
    desk.wish("name.full", ago=59, grant_id="grant-2")
    desk.wish("phone.mobile", ago=600, state="held", grant_id="grant-3")
    assert [deleting.look(), deleting.look()] == [1, 0]
    assert desk.said == [("grant-1", ["name.full", "email.main"])]


def test_what_is_said_to_be_deleted_is_gone_and_the_page_says_when(
    inbox: Receiver, portal: HandMadePortal, store: Store, desk: Desk, deleting: Deleting
) -> None:
    inbox.take(portal.message({"name.full": (1, "Ada"), "email.main": (1, "a@example.org")}), how="pushed")
    inbox.take(portal.consent("withdrawn", 3, []), how="pushed")
    inbox.take(portal.sign(portal.claims("urn:ucm:event:erasure-requested", WISH, jti="wish")), how="pushed")
    desk.wish("name.full", "email.main", ago=61)
    deleting.look()
    customer = store.customer("person-1")
    assert customer
    assert customer["details"] == []
    assert customer["erasure"]["erased_at"] is not None


def test_what_is_shared_anew_stays(
    inbox: Receiver, portal: HandMadePortal, store: Store, desk: Desk, deleting: Deleting
) -> None:
    inbox.take(portal.message({"name.full": (1, "Ada")}, grant_id="grant-9"), how="pushed")
    desk.wish("name.full", ago=61)
    deleting.look()
    customer = store.customer("person-1")
    assert customer
    assert [detail["value"] for detail in customer["details"]] == ["Ada"]


def test_what_could_not_be_said_is_said_at_the_next_look(desk: Desk, deleting: Deleting) -> None:
    desk.wish("name.full", ago=61)
    for trouble in ("away", "refuses"):
        setattr(desk, trouble, True)
        assert deleting.look() == 0
        setattr(desk, trouble, False)
    assert deleting.look() == 1
    assert desk.said == [("grant-1", ["name.full"])]
