"""The one place where slices meet: every edge is registered here, slots are filled."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from apiflask import APIFlask
from flask_wtf import CSRFProtect
from werkzeug.middleware.proxy_fix import ProxyFix

from portal import config, wiring
from portal.companies import keys_web, particulars_web, purposes_web, reviews_web, telling_web
from portal.companies import web as companies_web
from portal.config import asset_folder
from portal.consent import (
    again_web,
    answers_web,
    approvals_web,
    check_web,
    deletion_rounds_web,
    deletions_web,
    freezing_web,
    holders_web,
    of_company_web,
    offers_web,
    record_keys_api,
    slots_web,
    voiding_web,
)
from portal.consent import web as consent_web
from portal.consumer import web as consumer_web
from portal.consumer.catalogue import CATALOGUE, label
from portal.disputes import answers_web as dispute_answers_web
from portal.disputes import decisions_web as dispute_decisions_web
from portal.disputes import web as disputes_web
from portal.identity import browser, operators_web, second_proof
from portal.identity import web as identity_web
from portal.ledger import api as log_api
from portal.ledger import web as ledger_web
from portal.oauth import api as oauth_api
from portal.oauth import web as oauth_web
from portal.sync import api as sync_api
from portal.sync import (
    away_web,
    conduct_web,
    deletions_api,
    deliveries_web,
    drift_api,
    event_schemas,
    events_api,
    evidence_api,
    grants_api,
    health_web,
    holding_web,
    in_flight_web,
    keys_api,
    nights_web,
    offers_api,
    purposes_api,
    questions_api,
    receipts_api,
    replays_web,
    streams_api,
    today_web,
    updates_web,
)
from portal.sync import web as sync_web
from portal.sync.counter import Counter
from portal.vault import keyring as keyrings
from portal.vault.keyring import SESSION
from portal.web import context, cookie, front, guide, limits, openapi, pages, problems, reference, security, slots

if TYPE_CHECKING:
    from collections.abc import Callable

    from portal.config import Settings

_BODY_BYTES = 256 * 1024
_FORM_FIELD_BYTES = 64 * 1024
_FORM_FIELDS = 500

PAGES = (
    deletions_web, deletion_rounds_web, of_company_web,
    front, guide, reference, identity_web, second_proof, consumer_web, companies_web, keys_web, telling_web,
    consent_web, ledger_web, oauth_web, sync_web, updates_web, in_flight_web, deliveries_web, replays_web, health_web,
    disputes_web, dispute_answers_web, dispute_decisions_web,
    purposes_web, reviews_web, voiding_web,
    nights_web,
    operators_web, freezing_web, holders_web, check_web, again_web, answers_web, approvals_web,
    offers_web, particulars_web,
)  # fmt: skip
APIS = (
    purposes_api,
    log_api, oauth_api, sync_api, keys_api, streams_api, receipts_api, drift_api, events_api, evidence_api,
    grants_api, deletions_api, offers_api, record_keys_api, questions_api,
)  # fmt: skip


class _Portal(APIFlask):
    # No view here is a coroutine: Flask would look for one ten times in every request.

    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        return func


def create_app(settings: Settings | None = None) -> APIFlask:
    """Return the portal as a WSGI application (PEP 3333)."""
    settings = settings or config.current()
    wiring.wire()
    app = _Portal(
        __name__,
        title=settings.service_name,
        version="1",
        template_folder=str(asset_folder("templates")),
        static_folder=str(asset_folder("static")),
        spec_path="/api/v1/openapi.json",
        docs_path=None,
        json_errors=False,
    )
    _configure(app, settings)
    for part in (problems, security, cookie, pages, browser, openapi):
        part.init_app(app)
    keyring = keyrings.load(settings.keyring_file)
    context.init_app(app, settings, keyring)
    limits.init_app(app, settings, key=keyring.derive(SESSION, b"limits"))
    _register(app)
    app.wsgi_app = Counter(app.wsgi_app, settings=settings, keyring=keyring, limits=limits.of(app))  # type: ignore[method-assign]
    if settings.trusted_proxies:
        # Anyone may write an address into the header: only what our own proxies added to it is believed.
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=settings.trusted_proxies, x_proto=0)  # type: ignore[method-assign]
    return app


def _configure(app: APIFlask, settings: Settings) -> None:
    app.secret_key = keyrings.load(settings.keyring_file).derive(SESSION, b"flask")
    app.config.update(
        SESSION_COOKIE_NAME="__Host-form" if settings.secure else "form",
        SESSION_COOKIE_SECURE=settings.secure,
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Lax",
        MAX_CONTENT_LENGTH=_BODY_BYTES,
        MAX_FORM_MEMORY_SIZE=_FORM_FIELD_BYTES,
        MAX_FORM_PARTS=_FORM_FIELDS,
        WTF_CSRF_TIME_LIMIT=None,
        WTF_CSRF_SSL_STRICT=True,
    )
    app.jinja_env.filters["attribute_label"] = label
    app.jinja_env.trim_blocks = True
    app.jinja_env.lstrip_blocks = True


def _register(app: APIFlask) -> None:
    csrf = CSRFProtect(app)
    for module in PAGES:
        app.register_blueprint(module.pages)
    for module in APIS:
        csrf.exempt(module.api)
        app.register_blueprint(module.api)
    # Companies and the record are of one layer: the names of its details are handed over here.
    app.extensions["portal_catalogue"] = tuple((entry.name, entry.label) for entry in CATALOGUE.values())
    openapi.told("message", event_schemas.webhook())
    slots.fill(app, "needs_attention", slots_web.needs_attention_slot)
    slots.fill(app, "sharing_summary", slots_web.sharing_summary_slot)
    slots.fill(app, "frozen", freezing_web.frozen_slot)
    slots.fill(app, "recent_uses", ledger_web.recent_uses_slot)
    slots.fill(app, "shared_with", slots_web.shared_with_slot)
    slots.fill(app, "recipients", updates_web.recipients_slot)
    slots.fill(app, "after_change", updates_web.after_change_slot)
    slots.fill(app, "follow_up", updates_web.follow_up_slot)
    slots.fill(app, "receipt", updates_web.receipt_slot)
    slots.fill(app, "answer_again", answers_web.answer_again_slot)
    slots.fill(app, "offers", offers_web.offers_slot)
    slots.fill(app, "away", away_web.away_slot)
    slots.fill(app, "dispute", disputes_web.mark_slot)
    slots.fill(app, "disputes_answered", disputes_web.answered_slot)
    slots.fill(app, "dispute_list", disputes_web.list_slot)
    slots.fill(app, "dispute_thread", disputes_web.thread_slot)
    slots.fill(app, "disputes_waiting", dispute_answers_web.waiting_slot)
    slots.fill(app, "disputes_escalated", dispute_decisions_web.waiting_slot)
    slots.fill(app, "away_of_sharing", away_web.away_of_sharing_slot)
    slots.fill(app, "in_flight", in_flight_web.in_flight_slot)
    slots.fill(app, "today", today_web.today_slot)
    slots.fill(app, "copy_note", holding_web.copy_note_slot)
    slots.fill(app, "deletion", deletions_web.deletion_slot)
    slots.fill(app, "deletions_due", deletions_web.deletions_due_slot)
    slots.fill(app, "late_deletions", deletions_web.late_deletions_slot)
    slots.fill(app, "conduct", conduct_web.conduct_slot)
    slots.fill(app, "company_link", companies_web.company_link_slot)
    slots.fill(app, "log_wrong", nights_web.log_wrong_slot)
    slots.fill(app, "purpose_shared", slots_web.purpose_shared_slot)
    slots.fill(app, "find_consent", voiding_web.find_slot)
    slots.fill(app, "purposes_waiting", reviews_web.purposes_waiting_slot)
    slots.fill(app, "endpoint_status", sync_web.endpoint_status_slot)
    slots.fill(app, "endpoints_away", health_web.endpoints_away_slot)
