"""Letters that wait: each is sent once, whoever cannot be reached keeps nobody waiting, and a dead server keeps all."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

import pytest

from portal import config, db, queue, tray
from portal.tray import Letter, Tray
from tests.identity.conftest import Mailbox, mail_settings, mailbox

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.orm import Session

    from portal.config import Settings

__all__ = ["mail_settings", "mailbox"]

JOB: Final = "portal.companies.jobs.send_letters"


@pytest.fixture(autouse=True)
def quiet(settings: Settings) -> Iterator[None]:
    """The bell is silent when a test begins, whoever rang it before, and when it ends."""
    valkey = queue.connection(settings.redis_url)
    valkey.delete(queue.bell(JOB))
    yield
    valkey.delete(queue.bell(JOB))


@dataclass
class Table:
    """Stands where a slice has its table: whose letters wait, and what was noted of those that were taken."""

    waiting: list[str]
    taken: list[str] = field(default_factory=list)
    noted: list[tuple[str, bool]] = field(default_factory=list)

    @property
    def tray(self) -> Tray[str]:
        return Tray(job=JOB, about="a letter", pending=self.pending, take=self.take, word=self.word, done=self.done)

    def pending(self, _session: Session) -> bool:
        return bool(self.waiting)

    def take(self, _session: Session) -> str | None:
        if not self.waiting:
            return None
        self.taken.append(self.waiting.pop(0))
        return self.taken[-1]

    def word(self, _session: Session, settings: Settings, name: str) -> Letter | None:
        if name == "nobody":
            return None
        return tray.letter(settings, to=f"{name}@example.org", template="question_news", once=name)

    def done(self, _session: Session, name: str, sent: bool) -> None:  # noqa: FBT001 - as a tray says it
        self.noted.append((name, sent))


def refuse(mailbox: Mailbox, **answers: str) -> None:
    async def answer(_server: object, _session: object, envelope: object, address: str, _options: object) -> str:
        name = address.partition("@")[0]
        if name not in answers:
            envelope.rcpt_tos.append(address)  # type: ignore[attr-defined]
        return answers.get(name, "250 OK")

    mailbox.handle_RCPT = answer  # type: ignore[attr-defined]


def test_each_is_sent_and_noted_once(mail_settings: Settings, mailbox: Mailbox) -> None:
    table = Table(["ada", "nobody", "grace"])
    assert table.tray.empty(mail_settings) == 2
    assert table.noted == [("ada", True), ("nobody", False), ("grace", True)]
    assert [letter["To"] for letter in mailbox.mails] == ["ada@example.org", "grace@example.org"]
    assert mail_settings.url in mailbox.text()


def test_whoever_is_refused_keeps_nobody_waiting(mail_settings: Settings, mailbox: Mailbox) -> None:
    refuse(mailbox, gone="550 no such user", full="450 try later")
    table = Table(["gone", "full", "ada"])
    assert table.tray.empty(mail_settings) == 1
    assert table.noted == [("gone", False), ("ada", True)], "who may be reached later keeps the lease"


def test_a_server_that_is_away_leaves_the_others_untouched(mail_settings: Settings) -> None:
    table = Table(["ada", "grace", "mary"])
    assert table.tray.empty(replace(mail_settings, smtp_url="smtp://127.0.0.1:9")) == 0
    assert (table.taken, table.noted, table.waiting) == (["ada"], [], ["grace", "mary"])


def test_without_a_server_all_wait(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    table, nowhere = Table(["ada"]), replace(settings, smtp_url="")
    monkeypatch.setattr(config, "current", lambda: nowhere)
    assert table.tray.empty(nowhere) == 0
    with db.transaction(settings.database_url) as session:
        table.tray.see_to(session)
    assert table.waiting == ["ada"]
    assert not queue.connection(settings.redis_url).exists(queue.bell(JOB))


def test_the_same_letter_is_the_same_message(mail_settings: Settings, mailbox: Mailbox) -> None:
    for _ in range(2):
        Table(["ada"]).tray.empty(mail_settings)
    Table(["grace"]).tray.empty(mail_settings)
    first, again, other = (letter["Message-ID"] for letter in mailbox.mails)
    assert first == again != other
    assert "ada" not in first


def test_a_letter_that_is_nothing_once_is_another_each_time(mail_settings: Settings, mailbox: Mailbox) -> None:
    for _ in range(2):
        assert tray.send(mail_settings, tray.letter(mail_settings, to="ada@example.org", template="first_use"))
    first, other = (letter["Message-ID"] for letter in mailbox.mails)
    assert first != other


def test_a_job_ends_in_time_and_rings_for_the_rest(
    mail_settings: Settings, mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(config, "current", lambda: mail_settings)
    monkeypatch.setattr(tray, "_LONGEST_SECONDS", 0.2)
    table = Table([f"n{number}" for number in range(10_000)])
    began = time.monotonic()
    table.tray.run()
    assert time.monotonic() - began < 20
    assert len(mailbox.mails) == len(table.taken) > 0
    assert table.waiting
    assert queue.connection(mail_settings.redis_url).exists(queue.bell(JOB))


def test_a_lost_ring_is_made_up_for(mail_settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "current", lambda: mail_settings)
    valkey, table = queue.connection(mail_settings.redis_url), Table([])
    for waits in (False, True):
        table.waiting = ["ada"] * waits
        with db.transaction(mail_settings.database_url) as session:
            table.tray.see_to(session)
        assert bool(valkey.exists(queue.bell(JOB))) == waits
