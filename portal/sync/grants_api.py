"""A company's own consents over HTTP: where each stands, its receipt, and asking once more for what was left out.

Looking at a live one, and ending it, is Grant Management (`oauth.grant_management`); here are all of them, whatever
their state, for whoever keeps books about them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from apiflask import APIBlueprint
from flask import Response, g, url_for

from portal.companies import queries as companies
from portal.consent import approvals, later, of_company, receipts
from portal.consent import queries as consents
from portal.errors import InvalidError, NotFoundError
from portal.oauth.protection import token_required
from portal.sync import grants_schemas, schemas
from portal.sync.bodies import json_body, private, query, tagged
from portal.sync.own_grants import MANAGE, READ, own
from portal.web import context, openapi

if TYPE_CHECKING:
    from portal.companies.queries import PurposeFacts
    from portal.consent.models import Grant, GrantVersion

api = APIBlueprint("grants_api", __name__, url_prefix="/api/v1", tag="Grants")
_NO_GRANT: Final = {404: "No grant of yours has this id."}
_MEND: Final = {422: "A part of the request needs mending; errors[].pointer says which."}
_TAGGED: Final = openapi.headers({"ETag": "What stands for this answer until something of it changes."})
_UNCHANGED: Final = openapi.with_headers("Nothing has changed since the answer with this ETag.", _TAGGED)
_LIST: Final = openapi.answer("Your grants.", openapi.JSON, openapi.shape(grants_schemas.Grants))
_ONE: Final = openapi.answer("One grant.", openapi.JSON, openapi.shape(grants_schemas.GrantStatus)) | {
    "headers": _TAGGED
}
_RECEIPT: Final = openapi.answer(
    "The receipt, as its person has it (ISO/IEC TS 27560).", openapi.JSON, {"type": "object"}
) | {"headers": _TAGGED}
_ASKED: Final = openapi.answer("The question.", openapi.JSON, openapi.shape(grants_schemas.LaterAnswer))


@api.get("/grants")
@token_required(READ)
@api.doc(
    summary="Your grants",
    description="Every consent that was ever given to you, those given first before the others; follow `links.next`.",
    responses={200: _LIST, **openapi.refusals(_MEND)},
    security=openapi.DPOP,
)
@query(api, grants_schemas.GrantsQuery)
def own_grants(*, asked: grants_schemas.GrantsQuery) -> Response:
    session, now = context.session(), context.now()
    person_id = None
    if asked.sub is not None:
        person_id = consents.person_of(session, company_id=g.token.company_id, sub=asked.sub)
        if person_id is None:
            return private({"grants": [], "links": {"next": None}})
    found, last = of_company.page(
        session, client_ids=[g.token.client_id], limit=asked.limit, now=now, wanted=asked.state, person_id=person_id,
        after=_after(asked.after),
    )  # fmt: skip
    subs = consents.subs_of(session, person_ids={one.person_id for one in found}, company_id=g.token.company_id)
    purposes = companies.purposes_at(session, {(one.purpose_id, one.purpose_version) for one in found})
    told = [_told(one, purposes[one.purpose_id, one.purpose_version], subs.get(one.person_id, "")) for one in found]
    onward = asked.model_dump(exclude_none=True, exclude_defaults=True) | {"after": str(last)}
    return private({"grants": told, "links": {"next": url_for("grants_api.own_grants", **onward) if last else None}})


@api.get("/grants/<uuid:grant_id>")
@token_required(READ)
@api.doc(
    summary="One grant",
    description="Its state, its steps, and what you may still ask for.",
    responses={200: _ONE, 304: _UNCHANGED, **openapi.refusals(_NO_GRANT)},
    security=openapi.DPOP,
)
@openapi.noted(api, schemas.Conditional, location="headers")
def one_grant(grant_id: UUID) -> Response:
    held = own(grant_id)
    return tagged(_status(held, _purpose(held)))


@api.get("/grants/<uuid:grant_id>/receipt")
@token_required(READ)
@api.doc(
    summary="The receipt of a grant",
    description="What its person has: who, what for, which details, until when, and every step since.",
    responses={200: _RECEIPT, 304: _UNCHANGED, **openapi.refusals(_NO_GRANT)},
    security=openapi.DPOP,
)
@openapi.noted(api, schemas.Conditional, location="headers")
def receipt(grant_id: UUID) -> Response:
    held = own(grant_id)
    settings, keyring = context.settings(), context.keyring()
    return tagged(receipts.of_grant(context.session(), held, settings=settings, keyring=keyring, now=context.now()))


@api.post("/grants/<uuid:grant_id>/requests")
@token_required(MANAGE)
@api.doc(
    summary="Ask once more for what was left out",
    description="The person answers in the portal. Once in 30 days for a person and purpose; a no stays a no.",
    responses={
        201: _ASKED | {"headers": openapi.headers({"Location": "Where its state is."})},
        **openapi.refusals(
            _NO_GRANT
            | _MEND
            | {
                409: "They do not share now, said no to one of these before, or do not want to be asked.",
                429: "You asked less than 30 days ago, or too many of your questions wait; see `Retry-After`.",
            },
            body=True,
        ),
    },
    security=openapi.DPOP,
)
@json_body(api, grants_schemas.LaterAsk)
def ask(grant_id: UUID, *, body: grants_schemas.LaterAsk) -> Response:
    request_id = later.ask(
        context.session(),
        keyring=context.keyring(),
        client_id=g.token.client_id,
        grant_id=grant_id,
        attributes=body.attributes,
        now=context.now(),
    )
    answer = private(_question(own(grant_id), request_id), status=201)
    answer.headers["Location"] = url_for("grants_api.asked", grant_id=grant_id, request_id=request_id)
    return answer


@api.get("/grants/<uuid:grant_id>/requests/<uuid:request_id>")
@token_required(READ)
@api.doc(
    summary="What became of a question",
    responses={200: _ASKED, **openapi.refusals({404: "You asked no such question, or more than a month ago."})},
    security=openapi.DPOP,
)
def asked(grant_id: UUID, request_id: UUID) -> Response:
    return private(_question(own(grant_id), request_id))


def _after(given: str | None) -> UUID | None:
    try:
        return UUID(given) if given else None
    except ValueError:
        raise InvalidError("Follow links.next as it is.", pointer="/after") from None


def _purpose(held: Grant) -> PurposeFacts:
    found = companies.purpose(context.session(), held.purpose_id, version=held.purpose_version)
    if found is None:
        raise NotFoundError
    return found


def _told(held: Grant, purpose: PurposeFacts, sub: str) -> dict[str, Any]:
    return {
        "grant_id": str(held.grant_id),
        "sub": sub,
        "purpose": purpose.code,
        "state": of_company.state(held, now=context.now()),
        "version": held.version,
        "attributes": list(held.attributes),
        "mode": held.mode,
        "retention_days": held.retention_days,
        "pulls_a_day": held.pulls_a_day,
        "given_at": held.given_at.isoformat(),
        "changed_at": held.changed_at.isoformat(),
        "expires_at": held.expires_at.isoformat() if held.expires_at else None,
        "deletion_asked_at": held.erasure_asked_at.isoformat() if held.erasure_asked_at else None,
    }


def _status(held: Grant, purpose: PurposeFacts) -> dict[str, Any]:
    session, here = context.session(), str(held.grant_id)
    sub = consents.sub_of(session, person_id=held.person_id, company_id=held.company_id) or ""
    told, live = _told(held, purpose, sub), of_company.state(held, now=context.now()) in consents.LIVE
    left_out, again = later.left_out(held, purpose) if live else [], later.next_at(session, held)
    waits = left_out and again is not None and again > context.now()
    deletion = url_for("deletions_api.of_grant", grant_id=here) if held.erasure_asked_at else None
    return told | {
        "left_out": left_out,
        "may_ask_from": again.isoformat() if again and waits else None,
        "steps": [_step(one) for one in consents.versions(session, person_id=held.person_id, grant_id=held.grant_id)],
        "links": {
            "self": url_for("grants_api.one_grant", grant_id=here),
            "receipt": url_for("grants_api.receipt", grant_id=here),
            "deletion": deletion,
        },
    }


def _step(version: GrantVersion) -> dict[str, Any]:
    return {
        "version": version.version,
        "at": version.at.isoformat(),
        "step": version.step,
        "actor": version.actor,
        "state": version.state,
        "hash": version.hash.hex(),
    }


def _question(held: Grant, request_id: UUID) -> dict[str, Any]:
    row = approvals.find(context.session(), person_id=held.person_id, request_id=request_id)
    if row is None or later.grant_of(row) != held.grant_id:
        raise NotFoundError
    over = row.state == approvals.WAITING and row.expires_at <= context.now()
    attributes = later.asked_for(row)
    return {
        "request_id": str(request_id),
        "grant_id": str(held.grant_id),
        "state": approvals.EXPIRED if over else row.state,
        "attributes": attributes,
        "shared": [name for name in attributes if name in held.attributes] if row.state == approvals.APPROVED else [],
        "asked_at": row.asked_at.isoformat(),
        "expires_at": row.expires_at.isoformat(),
        "answered_at": row.answered_at.isoformat() if row.answered_at else None,
    }
