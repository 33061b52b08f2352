"""The accounts behind a test client with form tokens really on, and a mailbox that takes real SMTP."""

from __future__ import annotations

import re
import socket
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.handlers import Message
from rq import Queue, SimpleWorker
from rq.serializers import JSONSerializer

from portal import config, db, queue
from portal.app import create_app
from portal.identity import services

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from email.message import Message as Mail
    from uuid import UUID

    from apiflask import APIFlask
    from flask.testing import FlaskClient
    from werkzeug.test import TestResponse

    from portal.config import Settings
    from portal.vault.keyring import Keyring

PASSWORD = "plinth-otter-kelp-sonnet"


class Mailbox(Message):
    """Keeps what arrives."""

    def __init__(self) -> None:
        super().__init__()
        self.mails: list[Mail] = []
        self.url = ""

    def handle_message(self, message: Mail) -> None:
        self.mails.append(message)

    def text(self) -> str:
        """Return the newest mail's text."""
        body = self.mails[-1].get_payload(decode=True)
        assert isinstance(body, bytes)
        return body.decode()

    def code(self) -> str:
        """Return the code in the newest mail, as it is printed."""
        found = re.search(r"\b\d{3} \d{3}\b", self.text())
        assert found
        return found.group()


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    """A mail server on a free port."""
    handler = Mailbox()
    controller = Controller(handler, hostname="127.0.0.1", port=_free_port())
    controller.start()
    handler.url = f"smtp://127.0.0.1:{controller.port}"
    yield handler
    controller.stop()


@pytest.fixture
def mail_settings(settings: Settings, mailbox: Mailbox) -> Settings:
    return replace(settings, smtp_url=mailbox.url, mail_from="no-reply@portal.example")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def app(settings: Settings) -> APIFlask:
    return create_app(settings)


@pytest.fixture
def client(app: APIFlask) -> FlaskClient:
    return app.test_client()


@pytest.fixture
def password() -> str:
    """The password of `person`."""
    return PASSWORD


@pytest.fixture
def person(settings: Settings, keys: Keyring) -> tuple[UUID, str]:
    """Somebody new with a confirmed address and `PASSWORD`: (person_id, address)."""
    email = f"{db.new_id().hex}@example.org"
    with db.transaction(settings.database_url) as session:
        made = services.register(session, keyring=keys, email=email, now=db.now())
        services.confirm(session, keyring=keys, person_id=made.person_id)
        services.set_password(session, keyring=keys, person_id=made.person_id, password=PASSWORD, now=db.now())
    return made.person_id, email


@pytest.fixture
def send() -> Callable[..., TestResponse]:
    """Fill in a form as a browser does: `send(client, page, fields, to=action)` with the page's form token."""

    def send(client: FlaskClient, at: str, fields: dict[str, str], *, to: str | None = None) -> TestResponse:
        shown = client.get(at)
        token = re.search(r'name="csrf_token"[^>]*value="([^"]+)"', shown.text)
        assert token, shown.status
        return client.post(to or at, data={"csrf_token": token.group(1), **fields})

    return send


@pytest.fixture
def signed_in(client: FlaskClient, person: tuple[UUID, str], send: Callable[..., TestResponse]) -> FlaskClient:
    """A client in which `person` has signed in."""
    send(client, "/account/sign-in", {"email": person[1], "password": PASSWORD})
    return client


@pytest.fixture
def deliver(settings: Settings, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """Run the mail jobs that were rung for, as the worker does; return how many."""
    if "mailbox" in request.fixturenames:
        with_mail = request.getfixturevalue("mail_settings")
        monkeypatch.setattr(config, "current", lambda: with_mail)
    bell = queue.queue(settings.redis_url, queue.MAIL)
    bell.connection.delete(bell.key)

    def deliver() -> int:
        # Job by job: a worker that ends waits for its listener, most of a second.
        worker, done = SimpleWorker([bell], connection=bell.connection, serializer=JSONSerializer), 0
        while found := Queue.dequeue_any([bell], None, connection=bell.connection, serializer=JSONSerializer):
            worker.execute_job(*found)
            done += 1
        return done

    return deliver
