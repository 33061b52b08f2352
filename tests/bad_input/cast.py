"""Who is in front of the portal in these tests, and what each of them has."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from joserfc.jwk import ECKey
from sqlalchemy import update

from portal import db
from portal.companies import client_keys, registration, versions
from portal.companies import queries as company_queries
from portal.companies import services as companies
from portal.companies.models import Client
from portal.consent.models import ApprovalRequest, Deletion
from portal.disputes import services as disputes
from portal.identity import levels
from portal.identity.models import BrowserSession, Operator
from portal.ledger import queries as ledger
from portal.ledger import services as ledger_services
from portal.oauth import tokens
from portal.oauth.models import PushedRequest
from portal.sync import batch_requests
from portal.sync.models import Attempt, Replay, Stream
from tests.consent.browser import Browser
from tests.sync.caller import Caller
from tests.sync.cast import World

if TYPE_CHECKING:
    from collections.abc import Iterable
    from uuid import UUID

    from flask import Flask
    from flask.testing import FlaskClient
    from sqlalchemy.orm import Session
    from werkzeug.test import TestResponse

    from portal.config import Settings
    from portal.ledger.queries import Entry
    from portal.vault.keyring import Keyring
    from tests.sync.cast import Firm, Shared

FORM = "application/x-www-form-urlencoded"
RECORD = {"name.full": "Ada Byrne", "email.main": "ada@example.org"}
REDIRECT = "https://example.org/back"
Fields = dict[str, str]


@dataclass
class Visitor:
    """A browser; `person_id` is whose, None for a stranger."""

    client: FlaskClient = field(repr=False)
    person_id: UUID | None = None
    _token: str = field(default="", repr=False)

    def csrf(self) -> str:
        """Return the form token of this browser; it stays the same until somebody signs in or out."""
        self._token = self._token or self._read_token()
        return self._token

    def _read_token(self) -> str:
        found = re.search(r'name="csrf_token"[^>]*value="([^"]+)"', self.client.get("/account/sign-in?again=1").text)
        assert found
        return found.group(1)

    def post(self, path: str, body: bytes, kind: str = FORM) -> TestResponse:
        return self.client.post(path, data=body, content_type=kind)

    def send(self, path: str, fields: Iterable[tuple[str, str]]) -> TestResponse:
        return self.post(path, urlencode([*fields, ("csrf_token", self.csrf())]).encode())


@dataclass
class Cast:
    """One company that Ada shares with, one she does not, and everybody who might look where they should not."""

    world: World
    http: FlaskClient
    firm: Firm
    rival: Firm
    shared: Shared
    disclosure_id: UUID
    pull_id: UUID
    ada: Visitor
    bob: Visitor
    staff: Visitor
    rival_staff: Visitor
    stranger: Visitor
    operator: Visitor
    question_id: UUID = field(init=False)
    told: Firm = field(init=False)
    replay_id: UUID = field(init=False)
    jti: str = "0123456789abcdef"
    spare_kid: str = "spare"
    purpose_code: str = field(init=False)
    reviewed: dict[str, Any] = field(init=False)
    disputes: dict[str, UUID] = field(default_factory=dict)
    wished_id: UUID = field(init=False)

    def __post_init__(self) -> None:
        self.question_id = self.asked()
        self.wished_id = self.wished()
        self._be_told()
        self._add_key()
        self.reviewed = self.waiting_purpose()

    def close(self) -> None:
        self.world.close()

    def registration_token_id(self) -> str:
        """Return what a page calls a new registration token of the firm by."""
        assert self.staff.person_id
        arguments: dict[str, Any] = {"company_id": self.firm.company_id, "made_by": self.staff.person_id}
        arguments |= {"name": "Pipeline", "environment": "test", "uses": 1, "days": 1, "now": db.now()}
        token = self.world.transact(lambda session: registration.make_token(session, **arguments))
        self.world.transact(lambda session: registration.use_token(session, token, now=db.now()))
        return registration.hash_of(token).hex()

    def disputed(self, state: str) -> UUID:
        """Return the row that a question of Ada's in this state is about; who is to read it has read it already."""
        if state not in self.disputes:
            self.disputes[state] = self.world.transact(partial(_dispute, cast=self, state=state))
            self.staff.client.get(f"/org/questions/{self.disputes[state]}")
            self.operator.client.get(f"/ops/questions/{self.disputes[state]}")
        return self.disputes[state]

    def caller(self, firm: Firm, scope: str = "people:read") -> Caller:
        return Caller(self.http, self.world, firm, scope)

    def waiting_purpose(self) -> dict[str, Any]:
        """Return what names a new purpose of a live app of the rival's, which waits for an operator."""

        def send(session: Session) -> dict[str, Any]:
            client_id = companies.create_client(
                session, company_id=self.rival.company_id, name="Live", redirect_uris=[REDIRECT], environment="live",
                now=db.now(),
            )  # fmt: skip
            made = companies.declare_purpose(
                session, client_id=client_id, sentence="send bills", dpv="PaymentManagement", mode="asked",
                required=[("name.full", "To address you")], optional=[], retention_days=9, catalogue={"name.full"},
                now=db.now(),
            )  # fmt: skip
            versions.send(session, client_id=client_id, code=made.code, now=db.now())
            return {"purpose_id": made.purpose_id, "version": made.version}

        found: dict[str, Any] = self.world.transact(send)
        return found

    def _add_key(self) -> None:
        """Give the firm a key that nobody has proved yet."""
        jwk = ECKey.generate_key("P-256", {"kid": self.spare_kid, "use": "enc"}).as_dict(private=False)
        arguments: dict[str, Any] = {"client_id": self.firm.client_id, "jwks": jwk, "group": "spare", "now": db.now()}
        self.world.transact(lambda session: client_keys.add(session, **arguments))
        found = self.world.transact(lambda session: company_queries.purpose(session, self.firm.purpose_id))
        self.purpose_code = found.code

    def _be_told(self) -> None:
        """Give the staff's company another app: its endpoint was turned off, and what failed was sent again."""
        self.told, self.replay_id = self.world.firm(enabled=False), db.new_id()
        move = update(Client).where(Client.client_id == self.told.client_id).values(company_id=self.firm.company_id)
        past = db.now() - timedelta(days=1)
        rows: list[Any] = [
            Stream(client_id=self.told.client_id, url="https://example.org/in", state="disabled", created_at=past,
                   verified_at=past, disabled_at=past),
            Replay(replay_id=self.replay_id, client_id=self.told.client_id, scope="failed", since=past, total=1,
                   asked_at=past, state="done", finished_at=past),
            Attempt(client_id=self.told.client_id, at=past, attempt_id=db.new_id(), jti=self.jti, channel="push",
                    kinds=[], outcome="failed", status=503, milliseconds=3, detail="", payload="{}"),
        ]  # fmt: skip
        self.world.transact(lambda session: session.execute(move))
        self.world.transact(lambda session: session.add_all(rows))

    def asked(self) -> UUID:
        """Return a new question of the rival's to Ada, as it waits when it was asked away from the browser."""
        assert self.ada.person_id
        wanted = {"attributes": ["name.full", "email.main"], "mode": "kept-up-to-date", "retention_days": 30}
        row = ApprovalRequest(
            person_id=self.ada.person_id, request_id=db.new_id(), company_id=self.rival.company_id,
            client_id=self.rival.client_id, purpose_id=self.rival.purpose_id,
            asked=wanted | {"longest_days": 365, "open_ended": True, "level": 1},
            asked_at=db.now(), expires_at=db.now() + timedelta(hours=1),
        )  # fmt: skip
        self.world.transact(lambda session: session.add(row))
        return row.request_id

    def wished(self) -> UUID:
        """Return a new person's consent to the firm, without their phone, of which one detail is to be deleted."""
        shared = self.world.share(self.world.person(), self.firm, attributes=("name.full", "email.main"))
        row = Deletion(
            person_id=shared.person_id, grant_id=shared.grant_id, attribute="name.full", client_id=self.firm.client_id,
            state="asked", asked_at=db.now(), due_at=db.now() + timedelta(days=30), changed_at=db.now(),
        )  # fmt: skip
        self.world.transact(lambda session: session.add(row))
        return shared.grant_id

    def pushed(self) -> str:
        """Return the request URI of a new request of the firm, as its server would have pushed it."""
        uri = "urn:ietf:params:oauth:request_uri:" + secrets.token_urlsafe(32)
        parameters = {
            "redirect_uri": REDIRECT, "state": "st", "nonce": None, "scope": "openid", "code_challenge": "c" * 43,
            "purpose_id": str(self.rival.purpose_id), "attributes": ["name.full", "email.main"],
            "mode": "kept-up-to-date", "retention_days": 30, "longest_days": 365, "open_ended": True,
            "response_mode": "query", "prompt": [], "max_age": None, "level": None, "sub": None,
        }  # fmt: skip
        row = PushedRequest(
            uri_hash=tokens.hash_of(uri), client_id=self.rival.client_id, parameters=parameters,
            expires_at=db.now() + timedelta(minutes=1), opened_at=db.now(),
        )  # fmt: skip
        self.world.transact(lambda session: session.add(row))
        return uri


def make(app: Flask, settings: Settings, keys: Keyring) -> Cast:
    world = World(settings, keys)
    firm, rival = world.firm(enabled=False), world.firm(enabled=False)
    ada, bob, staff, rival_staff, operator = (_visitor(app, settings, keys) for _ in range(5))
    assert ada.person_id
    world.transact(partial(_make_operator, visitor=operator))
    shared = world.share(ada.person_id, firm)
    for company, person in ((firm, staff), (rival, rival_staff)):
        world.transact(partial(_employ, firm=company, visitor=person))
    (entry,) = world.transact(lambda session: ledger.of_person(session, person_id=shared.person_id))
    pull = world.transact(
        lambda session: batch_requests.request_pull(
            session, client_id=firm.client_id, subjects=[shared.sub], attributes=(), now=db.now()
        )
    )
    return Cast(
        world, _client(app, settings, cookies=False), firm, rival, shared, entry.disclosure_id, pull.pull_id,
        ada, bob, staff, rival_staff, Visitor(_client(app, settings)), operator,
    )  # fmt: skip


def _dispute(session: Session, *, cast: Cast, state: str) -> UUID:
    consented = ledger.one(session, person_id=cast.shared.person_id, disclosure_id=cast.disclosure_id)
    assert consented
    row = replace(consented, at=db.now(), disclosure_id=db.new_id(), channel="pull")
    ledger_services.record(session, _logged(session, row))
    asked: dict[str, Any] = {"keyring": cast.world.keyring, "now": db.now()}
    disputes.ask(session, entry=row, choice="", words="What was that?", pause=False, **asked)
    which: dict[str, Any] = {"disclosure_id": row.disclosure_id, "words": "For your bill."}
    if state != "asked":
        disputes.answer(session, company_id=row.company_id, **which, **asked)
    if state == "escalated":
        disputes.escalate(session, person_id=row.person_id, **which, **asked)
    return row.disclosure_id


def _logged(session: Session, row: Entry) -> ledger_services.NewDisclosure:
    context_id = ledger_services.context(
        session, company_id=row.company_id, client_id=row.client_id, company_name=row.company_name, purpose=row.purpose
    )
    return ledger_services.NewDisclosure(
        person_id=row.person_id, at=row.at, context_id=context_id, channel=row.channel, outcome=row.outcome,
        asked=row.asked, given=row.given, disclosure_id=row.disclosure_id,
    )  # fmt: skip


def _employ(session: Session, *, firm: Firm, visitor: Visitor) -> None:
    assert visitor.person_id
    companies.add_staff(session, company_id=firm.company_id, person_id=visitor.person_id)


def _make_operator(session: Session, *, visitor: Visitor) -> None:
    """Let somebody look after the portal, with both proofs given."""
    assert visitor.person_id
    session.add(Operator(person_id=visitor.person_id, added_at=db.now()))
    theirs = update(BrowserSession).where(BrowserSession.person_id == visitor.person_id)
    session.execute(theirs.values(level=levels.TWO_PROOFS))


def _visitor(app: Flask, settings: Settings, keys: Keyring) -> Visitor:
    browser = Browser(app, settings, keys, RECORD)
    return Visitor(browser.client, browser.person_id)


def _client(app: Flask, settings: Settings, *, cookies: bool = True) -> FlaskClient:
    client = app.test_client(use_cookies=cookies)
    client.environ_base["HTTP_HOST"] = settings.url.partition("//")[2]
    return client
