from __future__ import annotations

import smtplib
from email.message import EmailMessage
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from urllib.request import urlopen

import pytest

from portal.demo.mailbox import Mailbox
from portal.demo.steps import answers

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    box = Mailbox(page_port=0)
    box.start()
    yield box
    box.stop()


def _send(box: Mailbox, subject: str, body: str) -> None:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "portal@localhost", "robin@people.example.org", subject
    message.set_content(body)
    parts = urlsplit(box.smtp_url)
    with smtplib.SMTP(parts.hostname or "", parts.port or 0) as server:
        server.send_message(message)


def _read(box: Mailbox) -> str:
    with urlopen(box.url) as answer:  # noqa: S310 - the test's own server
        body: bytes = answer.read()
    return body.decode()


def test_a_mail_is_on_the_page(mailbox: Mailbox) -> None:
    assert "No mail yet" in _read(mailbox)
    _send(mailbox, "Your code — Grüße", "It is 123 456.\n")
    page = _read(mailbox)
    assert "Your code — Grüße" in page
    assert "It is 123 456." in page
    assert "robin@people.example.org" in page


def test_a_mail_cannot_put_markup_on_the_page(mailbox: Mailbox) -> None:
    _send(mailbox, "<script>alert(1)</script>", "<img src=x>")
    assert "<script>" not in _read(mailbox)
    assert "<img" not in _read(mailbox)


def test_only_the_last_mails_are_kept(mailbox: Mailbox) -> None:
    for number in range(55):
        _send(mailbox, f"Mail number {number:02}", "text")
    page = _read(mailbox)
    assert "Mail number 54" in page
    assert "Mail number 04" not in page


def test_a_stopped_mailbox_answers_nobody() -> None:
    box = Mailbox(page_port=0)
    box.start()
    assert answers(box.url)
    box.stop()
    assert not box.alive
    assert not answers(box.url)
