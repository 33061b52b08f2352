"""Others sign the log as well: what they sign is kept once it is proved, and whatever they say against it is told."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import psycopg
import pytest
from sqlalchemy import text

from examples.witness import witness as program
from portal import db
from portal.app import create_app
from portal.egress.client import Client
from portal.ledger import published, publisher, witnessing
from portal.ledger.witnessing import Witness, WitnessesUnreadableError
from portal.vault import notes
from portal.vault.notes import WITNESS, Signer, Verifier
from tests.ledger.log_place import ORIGIN, Place

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from portal.config import Settings
    from portal.embedded.postgres import Postgres
    from portal.ledger.witnessing import Standing

SIGNER = Signer(ORIGIN, bytes(range(32)))
NGO = Signer("ngo.example/witness", bytes(range(3, 35)))
SIZE = "text/x.tlog.size"
Answer = tuple[int, str, str]


class Others:
    """A witness's server on loopback, which answers as it is told to and keeps what it was asked."""

    def __init__(self, answer: Callable[[bytes], Answer]) -> None:
        self.answer, self.asked = answer, list[bytes]()
        others = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                others.asked.append(body)
                status, kind, said = others.answer(body)
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(said.encode())))
                self.end_headers()
                self.wfile.write(said.encode())

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server.server_port}"

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


class Log:
    """A log in a database of its own, which is signed as it grows, and its one witness."""

    def __init__(self, place: Place, settings: Settings, head: Path, others: Others, verifier: Verifier) -> None:
        self.place, self._head = place, head
        self._settings = replace(settings, database_url=place.url)
        self.others, self.witness = others, Witness(verifier, f"http://{others.address}")

    def grow(self, rows: int = 1) -> None:
        self.place.log(*(self.place.new() for _ in range(rows)))
        self.place.grow()
        with db.transaction(self.place.url) as session:
            publisher.publish(session, signer=SIGNER, head=self._head, now=db.now())

    def ask(self) -> Standing:
        """Have it signed, as when there was enough time since the last try."""
        with db.transaction(self.place.url) as session:
            session.execute(text("UPDATE log_witness SET asked_at = asked_at - interval '1 day'"))
        witnessing.ask(self._settings, self.witness, client=Client(allow=frozenset({self.others.address})))
        with db.transaction(self.place.url) as session:
            [found] = witnessing.standings(session, _newest(session))
        return found

    def shown(self) -> tuple[str, str | None]:
        with db.transaction(self.place.url) as session:
            log = _newest(session)
            return witnessing.cosigned(session, log), witnessing.witnessed(session, log)

    def due(self, *, later: timedelta = timedelta()) -> bool:
        with db.transaction(self.place.url) as session:
            return bool(witnessing.due(session, [self.witness], now=db.now() + later))


def _newest(session: object) -> published.PublishedLog:
    found = published.newest(session)  # type: ignore[arg-type]
    assert found
    return found


@pytest.fixture
def ngo(tmp_path: Path) -> program.Witness:
    """The witness that anybody can run, without its process."""
    (tmp_path / "key").touch(0o600)
    (tmp_path / "key").unlink()
    key = program.Key.make("ngo.example/witness", tmp_path / "key")
    known = [program.Verifier.read(str(SIGNER.verifier()))]
    return program.Witness(key, program.State(tmp_path / "state"), known)


@pytest.fixture
def log(place: Place, settings: Settings, tmp_path: Path, ngo: program.Witness) -> Iterator[Log]:
    def answer(body: bytes) -> Answer:
        said = ngo.add_checkpoint(body)
        return said.status, said.kind, said.body

    others = Others(answer)
    yield Log(place, settings, tmp_path / "head", others, Verifier.read(str(ngo.key.verifier)))
    others.close()


def by_witness(log: Log, note: str | None) -> bool:
    assert note
    return {each.kind for each in notes.opened(note, SIGNER.verifier(), log.witness.verifier).signed_by} == {1, 4}


def test_what_a_witness_signs_stands_beside_the_logs_own_signature(log: Log) -> None:
    for rows in (3, 1, 40, 0):
        log.grow(rows)
        assert (log.ask().size, log.ask().problem) == (int(log.shown()[0].split("\n")[1]), "")
        newest, witnessed = log.shown()
        assert by_witness(log, newest)
        assert newest == witnessed


def test_until_it_has_signed_the_newest_the_one_before_is_shown_with_its_signature(log: Log) -> None:
    log.grow(3)
    log.ask()
    before = log.shown()[1]
    log.grow(3)
    newest, witnessed = log.shown()
    assert len(notes.opened(newest, SIGNER.verifier(), log.witness.verifier).signed_by) == 1
    assert witnessed == before
    assert by_witness(log, witnessed)


def test_anybody_reads_what_witnesses_have_signed(log: Log) -> None:
    client = create_app(log._settings).test_client()  # noqa: SLF001 - its database
    log.grow(3)
    assert client.get("/log/witnessed").status_code == 404
    log.ask()
    assert client.get("/log/checkpoint").text == client.get("/log/witnessed").text == log.shown()[0]
    log.grow()
    assert by_witness(log, client.get("/log/witnessed").text)
    assert client.get("/log/checkpoint").text.count("\n— ") == 1


def test_it_is_asked_when_there_is_more_and_once_an_hour(log: Log) -> None:
    log.grow()
    assert log.due()
    log.ask()
    assert not log.due(later=timedelta(minutes=59))
    assert log.due(later=timedelta(minutes=61))
    log.grow()
    assert not log.due()
    assert log.due(later=timedelta(seconds=11))


def test_of_two_who_ask_at_the_same_moment_one_does(log: Log) -> None:
    log.grow()
    log.ask()
    asked = len(log.others.asked)
    witnessing.ask(log._settings, log.witness, client=Client(allow=frozenset({log.others.address})))  # noqa: SLF001 - once more
    assert len(log.others.asked) == asked


def test_an_empty_log_is_shown_to_nobody(log: Log) -> None:
    log.grow(0)
    assert not log.due()


def test_a_witness_that_was_asked_by_another_before_is_asked_from_where_it_is(log: Log) -> None:
    log.grow(5)
    log.ask()
    log.grow(5)
    with db.transaction(log.place.url) as session:
        session.execute(text("UPDATE log_witness SET size = 0, line = NULL"))
    assert (log.ask().size, log.ask().problem) == (10, "")


def test_a_database_that_was_restored_is_told_by_whoever_has_seen_more(log: Log, postgres: Postgres) -> None:
    log.grow(5)
    log.ask()
    other = Place(postgres)
    restored = Log(other, log._settings, log._head.with_name("head-2"), log.others, log.witness.verifier)  # noqa: SLF001 - its parts
    restored.grow(3)
    assert restored.ask().problem == witnessing.WitnessAheadError.public
    restored.grow(2)
    assert restored.ask().problem == witnessing.WitnessDisagreesError.public
    restored.grow(2)
    assert restored.ask().problem == witnessing._TOLD[422]  # noqa: SLF001 - the words
    assert restored.shown()[1] is None
    other.close()


def _line(signer: Signer, note: str) -> str:
    return signer.cosign(notes.opened(note, SIGNER.verifier()).text, at=db.now())


def cosigned(body: bytes) -> str:
    """Return the signature that a witness answers with which believes everything."""
    return _line(NGO, _note(body))


def _note(body: bytes) -> str:
    return body.decode().partition("\n\n")[2]


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (lambda body: (200, "text/plain", _line(NGO, _note(body))), ""),
        (lambda body: (200, "text/plain", _line(Signer("a", bytes(32)), _note(body)) + _line(NGO, _note(body))), ""),
        (lambda body: (200, "text/plain", _line(Signer(NGO.name, bytes(32)), _note(body))), "bears no signature"),
        (lambda body: (200, "text/plain", _line(NGO, _note(body)).replace("A", "B")), "bears no signature"),
        (lambda body: (200, "text/plain", NGO.sign(notes.opened(_note(body), SIGNER.verifier()).text)), "no signature"),
        (lambda _: (200, "text/plain", ""), "bears no signature"),
        (lambda _: (200, "text/plain", "\x00" * 60_000), "bears no signature"),
        (lambda _: (200, "text/plain", "x" * 70_000), "longer than 64 KiB"),
        (lambda _: (403, "text/plain", ""), "does not accept the log's key"),
        (lambda _: (404, "text/plain", ""), "does not know the log"),
        (lambda _: (422, "text/plain", ""), "does not accept the proof"),
        (lambda _: (500, "text/plain", ""), "answered 500"),
        (lambda _: (302, "text/plain", ""), "answered 302"),
        (lambda _: (409, SIZE, "0\n"), "not one of the protocol"),
        (lambda _: (409, SIZE, "2\n"), "not one of the protocol"),
        (lambda _: (409, SIZE, "99\n"), "restored to an earlier state"),
        (lambda _: (409, SIZE, "-1\n"), "not one of the protocol"),
        (lambda _: (409, SIZE, "9" * 30 + "\n"), "not one of the protocol"),
        (lambda _: (409, "text/plain", "2\n"), "not one of the protocol"),
    ],
)
def test_what_comes_back_is_believed_only_if_it_is_signed(
    place: Place, settings: Settings, tmp_path: Path, answer: Callable[[bytes], Answer], problem: str
) -> None:
    others = Others(answer)
    log = Log(place, settings, tmp_path / "head", others, NGO.verifier(WITNESS))
    log.grow(4)
    stands = log.ask()
    others.close()
    assert (problem in stands.problem) if problem else (stands.problem == "")
    assert (stands.signed_at is None) == bool(problem)
    assert len(others.asked) <= 2
    assert (log.shown()[1] is None) == bool(problem)


def test_who_does_not_answer_is_not_waited_for(
    place: Place, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(witnessing, "_SECONDS", 0.2)
    over = threading.Event()
    others = Others(lambda _: ((over.wait(5) and 200) or 200, "text/plain", ""))
    log = Log(place, settings, tmp_path / "head", others, NGO.verifier(WITNESS))
    log.grow()
    assert log.ask().problem == "It did not answer in time."
    over.set()
    others.close()


def test_no_transaction_is_open_while_a_witness_is_asked(
    place: Place, settings: Settings, tmp_path: Path, postgres: Postgres
) -> None:
    seen: list[int] = []

    def answer(body: bytes) -> Answer:
        with psycopg.connect(postgres.url("portal_owner")) as owner:
            name = place.url.rpartition("/")[2].partition("?")[0]
            open_now = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND state LIKE 'idle in transaction%%'"
            seen.extend(owner.execute(open_now, [name]).fetchone() or ())
        return 200, "text/plain", _line(NGO, _note(body))

    others = Others(answer)
    log = Log(place, settings, tmp_path / "head", others, NGO.verifier(WITNESS))
    log.grow()
    assert (log.ask().problem, seen) == ("", [0])
    others.close()


GOOD = f"witness ngo {NGO.verifier(WITNESS)} https://witness.example/log/"


def test_witnesses_are_named_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "witnesses"
    file.write_text(f"# who watches\n\n{GOOD}\n")
    assert witnessing.read(file) == [Witness(NGO.verifier(WITNESS), "https://witness.example/log")]
    assert witnessing.read(None) == []


@pytest.mark.parametrize(
    "content",
    [
        b"witness",
        b"\xff",
        GOOD.replace("https", "ftp").encode(),
        GOOD.replace(str(NGO.verifier(WITNESS)), str(NGO.verifier())).encode(),
        GOOD.replace("+", "-").encode(),
        f"{GOOD}\n{GOOD}".encode(),
        f"{GOOD}\nquorum ngo".encode(),
        "\n".join(
            f"witness w {Signer('w', bytes([n] * 32)).verifier(WITNESS)} https://w.example" for n in range(17)
        ).encode(),
    ],
)
def test_a_file_that_names_them_otherwise_is_not_read(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "witnesses"
    file.write_bytes(content)
    with pytest.raises(WitnessesUnreadableError):
        witnessing.read(file)


def test_a_file_that_is_not_there_is_no_empty_one(tmp_path: Path) -> None:
    with pytest.raises(WitnessesUnreadableError):
        witnessing.read(tmp_path / "witnesses")
