"""Asking for approval away from the browser: a client that may, a person it knows, and the page they answer on."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from sqlalchemy import select, update

from portal import db
from portal.companies import queries as companies
from portal.companies.metadata import CIBA
from portal.companies.models import Client
from portal.consent import services as consent
from portal.consent.models import ApprovalRequest
from portal.oauth import tokens
from portal.oauth.models import BackchannelRequest
from tests.oauth.conftest import make_rp
from tests.oauth.rp import csrf

if TYPE_CHECKING:
    from uuid import UUID

    from flask.testing import FlaskClient

    from portal.config import Settings
    from tests.oauth.conftest import Person
    from tests.oauth.rp import Answer, RelyingParty

GRANTS = ["authorization_code", "refresh_token", "client_credentials", CIBA]
NOTIFICATION = "n0t1fy-me.with/this+token~0123456789abcdef="


@dataclass
class Afar:
    """A client that may ask from afar, somebody it knows as `sub`, and what the test needs of both."""

    settings: Settings
    rp: RelyingParty
    person: Person
    sub: str

    def ask(self, **changes: str | None) -> Answer:
        return self.rp.ask(**{"login_hint": self.sub, **changes})

    def asked(self, **changes: str | None) -> str:
        answer = self.ask(**changes)
        assert answer.status_code == 200, answer.text
        return str(answer.json["auth_req_id"])

    def row(self, auth_req_id: str) -> BackchannelRequest:
        with db.transaction(self.settings.database_url) as session:
            found = select(BackchannelRequest).where(BackchannelRequest.request_hash == tokens.hash_of(auth_req_id))
            return session.scalars(found).one()

    def question(self, auth_req_id: str) -> ApprovalRequest:
        with db.transaction(self.settings.database_url) as session:
            row = self.row(auth_req_id)
            return session.get_one(ApprovalRequest, (row.person_id, row.request_id))

    def set(self, auth_req_id: str, **columns: Any) -> None:  # noqa: ANN401 - columns of either table
        """Put what is kept of a request where the test needs it."""
        row = self.row(auth_req_id)
        with db.transaction(self.settings.database_url) as session:
            session.execute(
                update(BackchannelRequest).where(BackchannelRequest.request_hash == row.request_hash).values(**columns)
            )
            if "expires_at" in columns:
                mine = update(ApprovalRequest).where(ApprovalRequest.request_id == row.request_id)
                session.execute(mine.values(expires_at=columns["expires_at"]))

    def page(self, auth_req_id: str) -> str:
        return f"/sharing/requests/{self.row(auth_req_id).request_id}"

    def answer(self, auth_req_id: str, answer: str = "share", **fields: Any) -> Answer:  # noqa: ANN401 - form fields
        return press(self.person.browser, self.page(auth_req_id), answer, **fields)


def press(browser: FlaskClient, page: str, answer: str, **fields: Any) -> Answer:  # noqa: ANN401 - form fields
    """Open the page as the person and press one of its buttons."""
    shown = browser.get(page)
    assert shown.status_code == 200, shown.text
    return cast("Answer", browser.post(page, data=filled(shown.text, answer) | fields))


def filled(html: str, answer: str) -> dict[str, Any]:
    """Return what the form on the page sends when one of its buttons is pressed."""
    seen = re.search(r'name="seen"[^>]*value="([^"]+)"', html)
    fields = {"csrf_token": csrf(html), "answer": answer}
    fields |= {"seen": seen[1]} if seen else {}
    return fields | ({"duration": "year"} if 'name="duration"' in html else {})


def make(http: FlaskClient, settings: Settings, person: Person, mode: str = "poll", **metadata: Any) -> Afar:  # noqa: ANN401 - members of client metadata
    rp = make_rp(http, settings)
    set_metadata(settings, rp.client_id, grant_types=GRANTS, backchannel_token_delivery_mode=mode, **metadata)
    return Afar(settings, rp, person, known(settings, rp.client_id, person.person_id))


def known(settings: Settings, client_id: str, person_id: UUID) -> str:
    """Return by what the client's company knows the person, from now on."""
    with db.transaction(settings.database_url) as session:
        client = companies.client(session, client_id)
        assert client
        return consent.subject(session, person_id=person_id, company_id=client.company_id)


def set_metadata(settings: Settings, client_id: str, **members: Any) -> None:  # noqa: ANN401 - members of client metadata
    with db.transaction(settings.database_url) as session:
        client = session.scalars(select(Client).where(Client.client_id == client_id)).one()
        client.settings = {**client.settings, **members}
