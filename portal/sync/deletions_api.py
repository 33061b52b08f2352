"""What a company was asked to delete, over HTTP: the list, one consent's details, and what it says of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from apiflask import APIBlueprint
from flask import Response, g, url_for

from portal.consent import deletion_rules as rules
from portal.consent import deletions
from portal.consent import queries as consents
from portal.errors import NotFoundError
from portal.oauth.protection import token_required
from portal.sync import grants_schemas, schemas
from portal.sync.bodies import json_body, private, query, tagged
from portal.sync.own_grants import MANAGE, READ, own
from portal.web import context, openapi

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from portal.consent.models import Deletion, Grant
    from portal.sync.grants_schemas import DetailSaid

api = APIBlueprint("deletions_api", __name__, url_prefix="/api/v1", tag="Deletions")
_NOT_ASKED: Final = {404: "No grant of yours has this id, or nobody asked for anything of it to be deleted."}
_MEND: Final = {422: "A part of the request needs mending; errors[].pointer says which."}
_TAGGED: Final = openapi.headers({"ETag": "What stands for this answer until something of it changes."})
_ONE: Final = openapi.answer("Each detail.", openapi.JSON, openapi.shape(grants_schemas.DeletionOut))
_LIST: Final = openapi.answer("Details to delete.", openapi.JSON, openapi.shape(grants_schemas.Deletions))


@api.get("/deletions")
@token_required(READ)
@api.doc(
    summary="What you are to delete",
    description="Details of people who stopped and asked for it, by the day on which they are due.",
    responses={200: _LIST, **openapi.refusals(_MEND)},
    security=openapi.DPOP,
)
@query(api, grants_schemas.DeletionsQuery)
def all_deletions(*, asked: grants_schemas.DeletionsQuery) -> Response:
    session = context.session()
    found, behind = deletions.of_clients(
        session, client_ids=[g.token.client_id], wanted=asked.state, limit=asked.limit, now=context.now(),
        after=deletions.Cursor.read(asked.after or ""),
    )  # fmt: skip
    subs = consents.subs_of(session, person_ids={one.person_id for one in found}, company_id=g.token.company_id)
    onward: dict[str, Any] = {"state": asked.state, "limit": asked.limit, "after": str(behind)}
    told = [_listed(one, subs.get(one.person_id, "")) for one in found]
    following = url_for("deletions_api.all_deletions", **onward) if behind else None
    return private({"details": told, "links": {"next": following}})


@api.get("/grants/<uuid:grant_id>/deletion")
@token_required(READ)
@api.doc(
    summary="What you are to delete of one grant",
    responses={
        200: _ONE | {"headers": _TAGGED},
        304: openapi.with_headers("Nothing has changed since the answer with this ETag.", _TAGGED),
        **openapi.refusals(_NOT_ASKED),
    },
    security=openapi.DPOP,
)
@openapi.noted(api, schemas.Conditional, location="headers")
def of_grant(grant_id: UUID) -> Response:
    held = own(grant_id)
    found = deletions.of_grant(context.session(), person_id=held.person_id, grant_id=grant_id)
    if not found:
        raise NotFoundError
    return tagged(_told(held, found))


@api.post("/grants/<uuid:grant_id>/deletion")
@token_required(MANAGE)
@api.doc(
    summary="Say what you deleted, or must keep",
    description="All of what you send is kept, or none; what you said already changes nothing. Its person reads it.",
    responses={
        200: _ONE,
        **openapi.refusals(
            _MEND
            | {
                404: "No grant of yours has this id.",
                409: "Nobody asked for it, or you hold what you said is deleted, or what is shared with you again.",
                429: "You said ten times within a day what you must keep of it.",
            },
            body=True,
        ),
    },
    security=openapi.DPOP,
)
@json_body(api, grants_schemas.DeletionSaid)
def say(grant_id: UUID, *, body: grants_schemas.DeletionSaid) -> Response:
    held = own(grant_id)
    found = deletions.answer(
        context.session(),
        person_id=held.person_id,
        grant_id=grant_id,
        said=[_said(each) for each in body.details],
        channel="api",
        now=context.now(),
    )
    return private(_told(held, found))


def _said(given: DetailSaid) -> deletions.Said:
    return deletions.Said(
        attribute=given.attribute,
        deleted=given.status == "deleted",
        reason=given.reason or "",
        until=given.until,
        words=given.words or "",
    )


def _told(held: Grant, found: Sequence[Deletion]) -> dict[str, Any]:
    session = context.session()
    return {
        "grant_id": str(held.grant_id),
        "sub": consents.sub_of(session, person_id=held.person_id, company_id=held.company_id) or "",
        "asked_at": min(one.asked_at for one in found).isoformat(),
        "details": [_detail(one) for one in found],
    }


def _listed(row: Deletion, sub: str) -> dict[str, Any]:
    return _detail(row) | {"grant_id": str(row.grant_id), "sub": sub, "asked_at": row.asked_at.isoformat()}


def _detail(row: Deletion) -> dict[str, Any]:
    return {
        "attribute": row.attribute,
        "state": row.state,
        "due_at": row.due_at.isoformat(),
        "overdue": rules.overdue(state=row.state, due_at=row.due_at, now=context.now()),
        "changed_at": row.changed_at.isoformat(),
        "reason": row.reason or None,
        "words": row.words or None,
    }
