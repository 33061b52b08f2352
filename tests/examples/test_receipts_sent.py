"""What the demo company tells the portal of its messages: each once, and what could not be sent later."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import pytest
import requests

from receipts import Receipts

if TYPE_CHECKING:
    from portal_client import PortalClient
    from receiver import Receiver
    from store import Store

    from .conftest import HandMadePortal


class Desk:
    """Where the portal takes receipts; it may be away."""

    def __init__(self) -> None:
        self.away = False
        self.got: list[dict[str, Any]] = []

    def send_receipts(self, receipts: list[dict[str, Any]]) -> dict[str, str]:
        if self.away:
            raise requests.ConnectionError
        self.got += receipts
        return {each["jti"]: "recorded" for each in receipts}


@pytest.fixture
def desk() -> Desk:
    return Desk()


@pytest.fixture
def sending(desk: Desk, store: Store) -> Receipts:
    return Receipts(cast("PortalClient", desk), store)


def test_each_message_is_receipted_once(inbox: Receiver, portal: HandMadePortal, desk: Desk, sending: Receipts) -> None:
    for _ in range(2):
        inbox.take(portal.message({"name.full": (1, "Ada")}, jti="one"), how="pushed")
    assert sending.send()
    assert not sending.send()
    assert [(each["jti"], each["status"]) for each in desk.got] == [("one", "applied")]


def test_a_message_that_came_too_late_is_superseded(
    inbox: Receiver, portal: HandMadePortal, desk: Desk, sending: Receipts
) -> None:
    inbox.take(portal.consent("withdrawn", 3, []), how="pushed")
    inbox.take(portal.consent("active", 2, ["name.full"]), how="pushed")
    sending.send()
    assert [each["status"] for each in desk.got] == ["applied", "superseded"]


def test_what_could_not_be_sent_is_sent_later(
    inbox: Receiver, portal: HandMadePortal, desk: Desk, sending: Receipts
) -> None:
    desk.away = True
    inbox.take(portal.message({"name.full": (1, "Ada")}, jti="one"), how="pushed")
    assert not sending.send()
    desk.away = False
    assert sending.send()
    assert [each["jti"] for each in desk.got] == ["one"]
