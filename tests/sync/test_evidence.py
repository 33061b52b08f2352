"""A company proves that what it was sent is in the log, and learns nothing else from it."""

from __future__ import annotations

import json
import time
from base64 import b64decode
from hashlib import sha256
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from portal import db
from portal.ledger import publisher, sequencer
from portal.ledger.checkpoints import Checkpoint, Proof
from portal.sync import jobs
from portal.vault import notes
from portal.vault.notes import Signer, Verifier
from tests.ledger import second_verifier
from tests.sync.caller import Caller

if TYPE_CHECKING:
    from pathlib import Path

    from apiflask import APIFlask
    from werkzeug.test import TestResponse

    from tests.sync.cast import Firm, Shared, World


class Scene:
    """A person who shares with two companies, and a log that is signed when it is told to be."""

    def __init__(self, app: APIFlask, world: World, folder: Path) -> None:
        self.app, self.world, self.head = app, world, folder / "head"
        self.signer = Signer(f"example.org/{uuid4()}", bytes(range(32)))
        self.person_id = world.person()
        self.firms = [world.firm(), world.firm()]
        self.shares = [world.share(self.person_id, firm) for firm in self.firms]

    def sign(self) -> None:
        url = self.world.settings.database_url
        with db.sessions(url).begin() as session:
            sequencer.grow(session, origin=self.signer.name, now=db.now())
        with db.transaction(url) as session:
            publisher.publish(session, signer=self.signer, head=self.head, now=db.now())

    def ask(self, firm: Firm, shared: Shared, jti: str) -> TestResponse:
        caller = Caller(self.app.test_client(), self.world, firm)
        return caller.get(f"/api/v1/people/{shared.sub}/messages/{jti}/log")

    def proved(self, answer: TestResponse) -> list[dict[str, Any]]:
        """Check each entry by hand, without the code that made it."""
        body = answer.get_json()
        verifier = Verifier.read(body["verifier"])
        assert verifier == self.signer.verifier()
        for each in body["entries"]:
            written = json.dumps(each["said"], sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
            said = sha256(b64decode(each["blind"]) + written).digest()
            inner = b"ucm-disclosure-v1\0" + sha256(said + b64decode(each["place"])).digest()
            leaf, proof = sha256(b"\0" + inner).digest(), Proof.read(each["proof"])
            tree = Checkpoint.read(notes.opened(proof.note, verifier).text)
            assert second_verifier.proves_inclusion(leaf, proof.index, tree.size, tree.root, list(proof.path))
        return [each["said"] for each in body["entries"]]


@pytest.fixture
def scene(app: APIFlask, world: World, tmp_path: Path) -> Scene:
    made = Scene(app, world, tmp_path)
    jobs.drain()
    made.sign()
    return made


def test_each_message_promises_to_be_in_the_log_and_is(scene: Scene) -> None:
    for firm, shared in zip(scene.firms, scene.shares, strict=True):
        [message] = firm.receiver.journal
        assert message.claims["logged_by"] == message.claims["iat"] + 60
        sent, received = scene.proved(scene.ask(firm, shared, message.jti))
        assert (sent["message_id"], sent["channel"], sent["client_id"]) == (message.jti, "push", firm.client_id)
        assert set(sent["given"]) == set(message.values)
        assert received["outcome"] == "completed"
        assert received["disclosure_id"] == sent["disclosure_id"]


def test_a_pull_is_in_the_log(scene: Scene) -> None:
    firm, shared = scene.firms[0], scene.shares[0]
    answer = Caller(scene.app.test_client(), scene.world, firm).get(f"/api/v1/people/{shared.sub}")
    claims = json.loads(b64decode(answer.text.split(".")[1] + "==", altchars=b"-_"))
    assert claims["logged_by"] >= time.time()
    assert scene.ask(firm, shared, claims["jti"]).status_code == 404
    scene.sign()
    [said] = scene.proved(scene.ask(firm, shared, claims["jti"]))
    assert (said["message_id"], said["channel"], said["outcome"]) == (claims["jti"], "pull", "completed")


def test_what_it_is_shown_says_nothing_of_the_person_elsewhere(scene: Scene) -> None:
    [first] = scene.firms[0].receiver.journal
    shown = scene.ask(scene.firms[0], scene.shares[0], first.jti).text
    assert str(scene.person_id) not in shown
    assert scene.firms[1].client_id not in shown


def test_the_same_person_elsewhere_has_another_company(scene: Scene) -> None:
    """Neither by its own name for the person nor by the other's does a company reach the other's message."""
    [others] = scene.firms[1].receiver.journal
    for shared in scene.shares:
        answer = scene.ask(scene.firms[0], shared, others.jti)
        assert (answer.status_code, answer.get_json()["type"].rsplit("/", 1)[1]) == (404, "message-not-in-log")
        assert answer.headers["Retry-After"] == "2"


@pytest.mark.parametrize("jti", ["none", "%00", "a%20b", "%C3%A9", "x" * 300])
def test_a_message_that_never_was_is_not_found(scene: Scene, jti: str) -> None:
    assert scene.ask(scene.firms[0], scene.shares[0], jti).status_code == 404


def test_without_a_token_nothing_is_shown(scene: Scene) -> None:
    [message] = scene.firms[0].receiver.journal
    address = f"/api/v1/people/{scene.shares[0].sub}/messages/{message.jti}/log"
    assert scene.app.test_client().get(address).status_code == 401
