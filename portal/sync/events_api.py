"""Fetching instead of being told (RFC 8936), and looking again at whom one was told about."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from apiflask import APIBlueprint
from flask import Response, g, json, request

from portal.oauth.protection import token_required
from portal.sync import changes, messages, polling, pulls, stream_schemas, streams
from portal.sync.bodies import json_body, private
from portal.sync.stream_schemas import PollRequest
from portal.web import context, openapi

if TYPE_CHECKING:
    from portal.sync.polling import Answer

api = APIBlueprint("events_api", __name__, tag="Streams")
_NO_STREAM: Final = {404: "You have no stream yet."}
_SETS: Final = openapi.answer(
    "Signed messages (RFC 8417) by their `jti`.", openapi.JSON, openapi.shape(stream_schemas.PollAnswer)
)
_CHANGES: Final = openapi.answer("Whom you were told about.", openapi.JSON, openapi.shape(stream_schemas.Changes))


@api.post(streams.EVENTS)
@token_required(pulls.SCOPE)
@api.doc(
    summary="Poll for messages",
    description="RFC 8936: `ack` what you have, report what you could not use, get what waits.",
    responses={200: _SETS, **openapi.refusals({**_NO_STREAM, 422: "A part of the request needs mending."}, body=True)},
    security=openapi.DPOP,
)
@json_body(api, PollRequest)
def poll(*, body: PollRequest) -> Response:
    asked = polling.Asked(
        most=min(body.max_events, polling.MOST),
        at_once=body.return_immediately,
        acknowledged=[jti for jti in body.ack if messages.JTI.fullmatch(jti)],
        errors={jti: error.err for jti, error in body.set_errs.items() if messages.JTI.fullmatch(jti)},
    )
    # The look at the token is committed by itself, and no transaction of the request's own is open while it waits.
    context.session().commit()
    return _answer(
        polling.poll(context.settings(), keyring=context.keyring(), client_id=g.token.client_id, asked=asked)
    )


@api.get(streams.EVENTS)
@token_required(pulls.SCOPE)
@api.doc(
    summary="Whom you were told about",
    description="Names people, no details: pull those whose details you lost. Nothing is acknowledged by it.",
    responses={200: _CHANGES, **openapi.refusals({**_NO_STREAM, 422: "The cursor is not of your stream."})},
    security=openapi.DPOP,
)
@openapi.noted(api, stream_schemas.ChangesQuery, location="query")
def changed() -> Response:
    found = changes.since(context.session(), client_id=g.token.client_id, after=request.args.get("after"))
    told = [{"sub": change.sub, "grant_id": str(change.grant_id)} for change in found.found]
    return private({"changes": told, "after": found.after, "moreAvailable": found.more})


def _answer(found: Answer) -> Response:
    # In the order of the stream, which a sorting encoder would lose.
    body = json.dumps({"sets": found.sets, "moreAvailable": found.more}, sort_keys=False)
    return Response(body, content_type=openapi.JSON, headers={"Cache-Control": "no-store"})
