"""Every page that takes a form: who fills it in, and with what.

`needed` are the fields without which, or with damage in which, the page refuses; the others may be left out.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from flask import url_for

from portal import db
from portal.companies import queries as companies
from portal.companies import services as purposes
from portal.sync import services
from tests.sync.receiver import new_key

if TYPE_CHECKING:
    from collections.abc import Callable

    from flask import Flask
    from sqlalchemy.orm import Session
    from werkzeug.routing import Rule

    from tests.bad_input.cast import Cast, Fields, Visitor

PASSWORD = "four words that differ"
SAFE = {"GET", "HEAD", "OPTIONS"}
Arguments = dict[str, Any]


@dataclass(frozen=True)
class Form:
    """One form that is answered with `status` when it is sent as it should be."""

    who: str
    fields: Callable[[Cast], Fields] = lambda _cast: {}
    needed: tuple[str, ...] = ()
    arguments: Callable[[Cast], Arguments] = lambda _cast: {}
    status: int = 303
    optional: tuple[str, ...] = field(default=())

    def visitor(self, cast: Cast) -> Visitor:
        visitor: Visitor = getattr(cast, self.who)
        return visitor


def posts(app: Flask) -> dict[str, Rule]:
    """Return every page's rule that takes a form, by endpoint: found in the application, not listed."""
    machines = {view for view in app.view_functions if app.view_functions[view].__module__.endswith((".api", "_api"))}
    rules = (rule for rule in app.url_map.iter_rules() if (rule.methods or set()) - SAFE)
    return {rule.endpoint: rule for rule in rules if rule.endpoint not in machines}


def path(app: Flask, endpoint: str, arguments: Arguments) -> str:
    with app.test_request_context():
        return url_for(endpoint, **arguments)


def _grant(cast: Cast) -> Arguments:
    return {"grant_id": cast.shared.grant_id}


def _looked_at(cast: Cast) -> Arguments:
    """A consent that the operator has looked at already: that is logged."""
    cast.operator.client.get(f"/ops/consents/{cast.shared.grant_id}")
    return _grant(cast)


def _app(cast: Cast) -> Arguments:
    return {"client_id": cast.firm.client_id}


def _purpose(cast: Cast) -> Arguments:
    found = cast.world.transact(lambda session: companies.purpose(session, cast.firm.purpose_id))
    return _app(cast) | {"code": found.code}


def _spare_purpose(cast: Cast) -> Arguments:
    """A purpose of the app that can be spared."""
    said: dict[str, Any] = {"sentence": f"send letter {uuid4().hex}", "dpv": "PaymentManagement", "mode": "asked"}
    said |= {"required": [("name.full", "To write to you")], "optional": [], "retention_days": 9}
    declare = partial(
        purposes.declare_purpose, client_id=cast.firm.client_id, catalogue={"name.full"}, now=db.now(), **said
    )
    return _app(cast) | {"code": cast.world.transact(declare).code}


def _told_app(cast: Cast) -> Arguments:
    return {"client_id": cast.told.client_id}


def _streaming(cast: Cast) -> Arguments:
    """The app, with a stream that is on."""

    def begin(session: Session) -> None:
        client_id = cast.firm.client_id
        services.make_stream(session, client_id=client_id, stream_id=uuid4(), now=db.now())
        services.open_stream(session, client_id=client_id, method="poll", url=None, now=db.now())

    cast.world.transact(begin)
    return _app(cast)


def _name(_cast: Cast) -> Arguments:
    return {"attribute": "name.full"}


_PURPOSE = {
    "sentence": "send you the right bill", "dpv": "PaymentManagement", "mode": "kept-up-to-date",
    "lawful_basis": "consent",
    "retention_days": "30", "longest_days": "365", "pulls_a_day": "4", "want-name-full": "required",
    "why-name-full": "To write to you",
}  # fmt: skip
_PURPOSE_NEEDED = (
    "sentence", "dpv", "lawful_basis", "mode", "retention_days", "longest_days", "want-name-full", "why-name-full",
)  # fmt: skip
_COMPANY = {
    "legal_name": "Corner Shop Limited", "registration_number": "IE 77", "country": "IE",
    "contact_email": "privacy@corner.example", "privacy_url": "https://corner.example/privacy",
}  # fmt: skip

FORMS = {
    "identity.try_sign_in": Form(
        "stranger", lambda _cast: {"email": "a@example.org", "password": PASSWORD}, ("email", "password"), status=422
    ),
    "identity.try_create": Form("stranger", lambda _cast: {"email": f"{uuid4().hex}@example.org"}, ("email",)),
    "identity.try_code": Form("stranger", lambda _cast: {"code": "123456"}),
    "identity.another_code": Form("stranger"),
    "second_proof.try_confirm": Form("ada", lambda _cast: {"code": "123456"}),
    "second_proof.send_code": Form("ada"),
    "identity.set_password": Form("ada", lambda _cast: {"password": PASSWORD}, ("password",)),
    "identity.end_session": Form("ada", lambda _cast: {"session": "others"}, ("session",)),
    "identity.sign_out": Form("bob"),
    "consumer.change": Form("ada", lambda _cast: {"value": "Ada King"}, ("value",), _name),
    "consumer.confirm": Form("ada", lambda _cast: {"detail": "name.full#1"}, ("detail",), optional=("detail",)),
    "consumer.remove": Form("ada", arguments=_name),
    "consumer.undo": Form("ada", lambda _cast: {"version": "1"}, ("version",), _name),
    "consent.change": Form(
        "ada", lambda _cast: {"duration": "year", "attributes": "email.main"}, ("duration",), _grant,
        optional=("attributes",),
    ),
    "approvals.one": Form(
        "ada", lambda _cast: {"answer": "share", "duration": "year", "attributes": "email.main"}, ("duration",),
        lambda cast: {"request_id": cast.asked()}, optional=("attributes",),
    ),
    "consent.pause": Form("ada", arguments=_grant),
    "consent.resume": Form("ada", arguments=_grant),
    "consent.stop": Form("ada", lambda _cast: {"erase": "1"}, arguments=_grant),
    "deletions.one": Form(
        "staff", lambda _cast: {"answer_0": "held", "reason_0": "accounts", "until_0": "2032-12-31"},
        ("answer_0", "reason_0", "until_0"), lambda cast: {"grant_id": cast.wished()},
    ),
    "deletion_rounds.confirm": Form(
        "staff", lambda cast: {"detail": f"{cast.wished()}~name.full", "state": "open", "sure": "1"},
        optional=("detail",),
    ),
    "company_consents.ask": Form(
        "staff", lambda _cast: {"attributes": "phone.mobile"}, ("attributes",),
        lambda cast: {"grant_id": cast.wished()}, optional=("attributes",),
    ),
    "company_consents.end": Form("staff", arguments=lambda cast: {"grant_id": cast.wished()}),
    "consent.ask_deletion": Form("ada", arguments=_grant, status=409),
    "consent_answers.take_back": Form("ada", arguments=_grant),
    "consent_answers.let_them_ask": Form("ada", arguments=_grant),
    "offers.accept": Form("staff", arguments=lambda cast: _app(cast) | _grant(cast)),
    "offers.decline": Form("staff", arguments=lambda cast: _app(cast) | _grant(cast)),
    "particulars.tell": Form(
        "staff",
        lambda _cast: {
            "address": "1 Main Street", "phone": "+353 1 234 5678", "kind": "ForProfitOrganisation",
            "storage_locations": "IE, DE", "recipients": "Printers Ltd", "authority": "DPC",
        },
    ),
    "check.check": Form("ada", lambda cast: {"keep": str(cast.shared.grant_id)}, optional=("keep",)),
    "again.again": Form("ada", arguments=_grant),
    "freezing.freeze": Form("bob"),
    "freezing.unfreeze": Form(
        "bob", lambda _cast: {"which": "ticked", "resume": str(uuid4())}, optional=("which", "resume")
    ),
    "disputes.question": Form(
        "ada", lambda _cast: {"choice": "else", "words": "What was that?", "pause": "y"}, ("words",),
        lambda cast: {"disclosure_id": cast.disclosure_id},
    ),
    "disputes.settle": Form("ada", arguments=lambda cast: {"disclosure_id": cast.disputed("asked")}),
    "disputes.escalate": Form(
        "ada", lambda _cast: {"words": "That was not it."},
        arguments=lambda cast: {"disclosure_id": cast.disputed("answered")},
    ),
    "dispute_answers.question": Form(
        "staff", lambda _cast: {"explanation": "For your bill."}, ("explanation",),
        lambda cast: {"disclosure_id": cast.disputed("asked")},
    ),
    "dispute_decisions.question": Form(
        "operator", lambda _cast: {"decision": "mend", "days": "7", "reason": "Say which bill."},
        ("decision", "reason"), lambda cast: {"disclosure_id": cast.disputed("escalated")},
    ),
    "dispute_decisions.lift": Form(
        "operator", arguments=lambda cast: {"disclosure_id": cast.disputed("escalated")},
    ),
    "voiding.one": Form(
        "operator", lambda _cast: {"act": "ask", "reason": "Somebody else agreed."}, ("reason",),
        _looked_at, status=200,
    ),
    "oauth.answer": Form(
        "ada",
        lambda cast: {
            "client_id": cast.rival.client_id, "request_uri": cast.pushed(), "answer": "share",
            "attributes": "email.main", "duration": "year",
        },
        ("client_id", "request_uri", "duration"),
        optional=("attributes",),
    ),
    "oauth.sign_out": Form("bob"),
    "companies.switch": Form("staff", lambda cast: {"company": cast.firm.name.lower().replace(" ", "-")}, ("company",)),
    "companies.join": Form(
        "bob", lambda _cast: _COMPANY | {"trading_name": f"Corner {uuid4().hex}"}, (*_COMPANY, "trading_name")
    ),
    "companies.new_app": Form(
        "staff",
        lambda _cast: _PURPOSE | {"name": "Bills", "environment": "test", "redirect_uris": "https://a.example/back"},
        (*_PURPOSE_NEEDED, "name", "redirect_uris"),
    ),
    "purposes.new": Form("staff", lambda _cast: _PURPOSE, _PURPOSE_NEEDED, _app),
    "purposes.change": Form("staff", lambda _cast: _PURPOSE, _PURPOSE_NEEDED, _purpose),
    "purposes.review": Form("staff", lambda _cast: {"act": "take-back"}, ("act",), _purpose),
    "purposes.withdraw": Form("staff", arguments=_spare_purpose),
    "reviews.take_down": Form(
        "operator", lambda _cast: {"act": "ask", "words": "It misleads."}, ("words",),
        lambda cast: {"purpose_id": cast.firm.purpose_id}, status=200,
    ),
    "reviews.one": Form(
        "operator", lambda _cast: {"decision": "back", "words": "Ask for less."}, ("decision", "words"),
        lambda cast: cast.waiting_purpose(),
    ),
    "company_keys.overview": Form("staff", lambda _cast: {"jwks": _jwks(), "group": ""}, ("jwks",), _app),
    "telling.choose": Form("staff", lambda _cast: {"thin": "y"}, arguments=_purpose),
    "companies.end_program": Form("staff", arguments=_app),
    "company_keys.retire": Form("staff", lambda _cast: {"kid": "sig-1"}, ("kid",), _app),
    "companies.app_settings": Form(
        "staff",
        lambda _cast: {
            "name": "Bills", "redirect_uris": "https://example.org/back", "approvals": "off", "userinfo": "plain",
            "introspection": "plain", "post_logout_redirect_uris": "", "notification_endpoint": "",
        },
        ("approvals", "userinfo", "introspection"), _app,
    ),
    "company_keys.prove": Form(
        "staff", lambda cast: {"kid": cast.spare_kid, "act": "challenge", "answer": "x"}, ("kid",), _app, status=200
    ),
    "company_keys.stop": Form("staff", lambda _cast: {"kid": "sig-1", "act": "ask"}, ("kid",), _app, status=200),
    "company_keys.groups": Form(
        "staff", lambda _cast: {"group_0": "spare"},
        arguments=lambda cast: {"client_id": cast.firm.client_id, "code": cast.purpose_code},
    ),
    "company_keys.address": Form("staff", lambda _cast: {"jwks_uri": ""}, arguments=_app),
    "companies.registration_tokens": Form(
        "staff", lambda _cast: {"name": "Pipeline", "environment": "test", "uses": "1", "days": "1"},
        ("name", "uses", "days"), status=200,
    ),
    "companies.end_registration_token": Form("staff", lambda cast: {"token": cast.registration_token_id()}, ("token",)),
    "deliveries.send_again": Form(
        "staff",
        lambda cast: {"sub": cast.shared.sub, "sharing": str(cast.shared.grant_id)},
        ("sub", "sharing"),
    ),
    "replays.begin": Form(
        "staff", lambda _cast: {"scope": "failed", "since": "2026-03-05"}, ("scope",), _told_app
    ),
    "replays.stop": Form("staff", arguments=lambda cast: {"replay_id": cast.replay_id}),
    "health.turn_on": Form("staff", arguments=_told_app),
    "sync.endpoint": Form("staff", lambda cast: {"url": cast.firm.receiver.url}, ("url",), _app),
    "sync.pace": Form(
        "staff", lambda _cast: {"batch": "5", "in_flight": "2", "per_second": "50"},
        ("batch", "in_flight", "per_second"), _streaming,
    ),
    "sync.collect": Form("staff", arguments=_app),
    "sync.status": Form("staff", lambda _cast: {"status": "paused"}, ("status",), _streaming),
}  # fmt: skip


def _jwks() -> str:
    key = new_key(kid=uuid4().hex)
    return json.dumps({"keys": [key.as_dict(private=False)]})
