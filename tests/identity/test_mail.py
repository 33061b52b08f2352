"""Mail out: what it refuses, and what it keeps to itself."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from portal import mail

if TYPE_CHECKING:
    from portal.config import Settings

    from .conftest import Mailbox


def test_a_message_arrives(mailbox: Mailbox, settings: Settings, mail_settings: Settings) -> None:
    assert settings.smtp_url == ""
    assert mail.send(mail_settings, to="wren@example.org", subject="Zażółć", body="gęślą\n")
    assert mailbox.mails[-1]["To"] == "wren@example.org"
    assert mailbox.text().strip() == "gęślą"


@pytest.mark.parametrize("field", ["to", "subject"])
def test_a_header_cannot_be_added(mailbox: Mailbox, mail_settings: Settings, field: str) -> None:
    message = {"to": "wren@example.org", "subject": "Hello", "body": ""}
    with pytest.raises(mail.MailNotSentError):
        mail.send(mail_settings, **message | {field: "wren@example.org\r\nBcc: sky@example.org"})
    assert mailbox.mails == []


def test_without_a_server_the_log_says_so_and_no_more(settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    assert not mail.send(settings, to="wren@example.org", subject="Hello", body="")
    assert "SMTP_URL" in caplog.text
    assert "wren" not in caplog.text


def test_a_failure_names_no_address(settings: Settings) -> None:
    away = replace(settings, smtp_url="smtp://127.0.0.1:9")
    with pytest.raises(mail.MailNotSentError) as failure:
        mail.send(away, to="wren@example.org", subject="Hello", body="")
    assert "wren" not in f"{failure.value!r} {failure.value.private}"


@pytest.mark.parametrize("name", ["code", "joining", "known", "password_changed"])
def test_each_mail_has_a_subject_of_one_line_and_no_acting_link(name: str) -> None:
    subject, body = mail.compose(name, service_name="Keeper\nBcc: x", url="https://portal.example", code="123 456")
    assert "\n" not in subject
    assert "Keeper" in subject
    assert "?" not in "".join(word for word in body.split() if word.startswith("https:"))
