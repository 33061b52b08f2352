"""Streams over HTTP: what the transmitter says of itself, and its management API (OpenID Shared Signals 1.0)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from apiflask import APIBlueprint
from flask import Response, g, jsonify, request

from portal.errors import TooManyError
from portal.oauth.protection import token_required
from portal.sync import proving, queries, services, stream_schemas, streams
from portal.sync.bodies import json_body, private
from portal.sync.stream_schemas import (
    StatusRequest,
    StreamReplacement,
    StreamRequest,
    StreamUpdate,
    VerificationRequest,
)
from portal.web import context, limits, openapi
from portal.web.access import public

if TYPE_CHECKING:
    from collections.abc import Callable

    from portal.sync.models import Stream
    from portal.sync.stream_schemas import Delivery
    from portal.sync.streams import Wish

api = APIBlueprint("streams_api", __name__, tag="Streams")
_NO_STREAM: Final = {404: "You have no stream of this `stream_id`."}
_MEND: Final = {422: "A part of the request needs mending, or the endpoint did not prove itself."}
_CHANGED: Final = {409: "Your stream changed while its endpoint proved itself. Read it, and ask again."}
_DONE: Final[openapi.Answers] = {204: {"description": "It is done."}}
_ONE: Final = openapi.answer("The stream.", openapi.JSON, openapi.shape(stream_schemas.StreamConfiguration))
_STATUS: Final = openapi.answer("Its status.", openapi.JSON, openapi.shape(stream_schemas.StreamStatus))
_LIST: Final = {"type": "array", "items": openapi.shape(stream_schemas.StreamConfiguration)}
_ONE_OR_ALL: Final = openapi.answer(
    "The stream of this `stream_id`, or a list of all that you have.",
    openapi.JSON,
    {"anyOf": [openapi.shape(stream_schemas.StreamConfiguration), _LIST]},
)
# What is changed may make all of a client's people due anew.
_CHANGES = limits.Rate("stream-change", 30, 600)


class TooManyChangesError(TooManyError):
    """A change may owe the client everything about everybody once more, each with a row in the log."""

    public = "You changed your stream thirty times within ten minutes. Wait a few minutes."


@api.get("/.well-known/ssf-configuration")
@api.doc(hide=True)
@public
def describe() -> Response:
    return jsonify(streams.metadata(context.settings().issuer))


@api.post(streams.CONFIGURATION)
@token_required(streams.SCOPE)
@api.doc(
    summary="Make your stream",
    description="Section 8.1.1.1. A pushed stream's endpoint proves itself first: it echoes a verification event.",
    responses={201: _ONE, **openapi.refusals({**_MEND, 409: "You have a stream already."}, body=True)},
    security=openapi.DPOP,
)
@json_body(api, StreamRequest)
def create(*, body: StreamRequest) -> Response:
    if queries.stream_of(context.session(), client_id=g.token.client_id):
        raise streams.StreamExistsError
    _count_change()
    wish = _described(_delivered(streams.Wish(method="poll"), body.delivery), body)
    proved = _prove(wish, None)
    made = streams.create(
        context.session(),
        keyring=context.keyring(), client_id=g.token.client_id, wish=wish, proved=proved, now=context.now(),
    )  # fmt: skip
    return _shown(made, status=201)


@api.get(streams.CONFIGURATION)
@token_required(streams.SCOPE)
@api.doc(
    summary="Read your streams",
    description="Section 8.1.1.2.",
    responses={200: _ONE_OR_ALL, **openapi.refusals(_NO_STREAM)},
    security=openapi.DPOP,
)
@openapi.noted(api, stream_schemas.StreamQuery, location="query")
def read() -> Response:
    if "stream_id" in request.args:
        return _shown(_stream(request.args["stream_id"]))
    found = queries.stream_of(context.session(), client_id=g.token.client_id)
    return private([streams.configuration(found, issuer=context.settings().issuer)] if found else [])


@api.patch(streams.CONFIGURATION)
@token_required(streams.SCOPE)
@api.doc(
    summary="Change your stream",
    description="Section 8.1.1.3. What is left out stays. A new endpoint that does not prove itself changes nothing.",
    responses={200: _ONE, **openapi.refusals({**_MEND, **_NO_STREAM, **_CHANGED}, body=True)},
    security=openapi.DPOP,
)
@json_body(api, StreamUpdate)
def update(*, body: StreamUpdate) -> Response:
    stream = _stream(body.stream_id)
    return _change(stream, lambda known: _described(_redelivered(known, body.delivery), body), body)


@api.put(streams.CONFIGURATION)
@token_required(streams.SCOPE)
@api.doc(
    summary="Replace your stream's configuration",
    description="Section 8.1.1.4. What is left out is as at the beginning, the header of your pushes too.",
    responses={200: _ONE, **openapi.refusals({**_MEND, **_NO_STREAM, **_CHANGED}, body=True)},
    security=openapi.DPOP,
)
@json_body(api, StreamReplacement)
def replace_all(*, body: StreamReplacement) -> Response:
    stream = _stream(body.stream_id)
    wish = _described(_delivered(streams.Wish(method="poll"), body.delivery), body)
    return _change(stream, lambda _known: wish, body)


@api.delete(streams.CONFIGURATION)
@token_required(streams.SCOPE)
@api.doc(
    summary="Delete your stream",
    description="Section 8.1.1.5. You are told nothing more; what you had received is remembered for your next one.",
    responses={**_DONE, **openapi.refusals(_NO_STREAM)},
    security=openapi.DPOP,
)
@openapi.noted(api, stream_schemas.StreamQuery, location="query")
def end() -> Response:
    _stream(request.args.get("stream_id", ""))
    _count_change()
    streams.end(context.session(), client_id=g.token.client_id)
    return Response(status=204)


@api.get(streams.STATUS)
@token_required(streams.SCOPE)
@api.doc(
    summary="Read your stream's status",
    description="Section 8.1.2.1.",
    responses={200: _STATUS, **openapi.refusals(_NO_STREAM)},
    security=openapi.DPOP,
)
@openapi.noted(api, stream_schemas.StreamQuery, location="query")
def status() -> Response:
    return _status(_stream(request.args.get("stream_id", "")))


@api.post(streams.STATUS)
@token_required(streams.SCOPE)
@api.doc(
    summary="Pause your stream, or turn it off or on",
    description="Section 8.1.2.2. While it is not enabled nothing is sent or handed out, and nothing is lost.",
    responses={200: _STATUS, **openapi.refusals({**_MEND, **_NO_STREAM, **_CHANGED}, body=True)},
    security=openapi.DPOP,
)
@json_body(api, StatusRequest)
def set_status(*, body: StatusRequest) -> Response:
    stream = _stream(body.stream_id)
    _count_change()
    proved = None
    if body.status == "enabled":
        # One that was turned off because it failed shows that it is back.
        proved = _prove(streams.wish_of(stream), stream)
    changed = streams.set_status(
        context.session(),
        client_id=stream.client_id, status=body.status, reason=body.reason, proved=proved, now=context.now(),
    )  # fmt: skip
    return _status(changed)


@api.post(streams.VERIFICATION)
@token_required(streams.SCOPE)
@api.doc(
    summary="Ask for a verification event",
    description="Section 8.1.4.2. It comes the way everything else comes, with the `state` you give here.",
    responses={
        **_DONE,
        **openapi.refusals({**_MEND, **_NO_STREAM, 429: "Not more than once a minute."}, body=True),
    },
    security=openapi.DPOP,
)
@json_body(api, VerificationRequest)
def verify(*, body: VerificationRequest) -> Response:
    stream = _stream(body.stream_id)
    streams.verify(context.session(), client_id=stream.client_id, state=body.state, now=context.now())
    return Response(status=204)


def _stream(stream_id: str) -> Stream:
    return streams.of_client(context.session(), client_id=g.token.client_id, stream_id=stream_id)


def _change(stream: Stream, wish: Callable[[Stream], Wish], body: StreamUpdate | StreamReplacement) -> Response:
    given = body.model_dump(exclude_unset=True)
    streams.check_ours(given, stream, issuer=context.settings().issuer)
    _count_change()
    proved = _prove(wish(stream), stream)
    changed = streams.change(
        context.session(),
        keyring=context.keyring(), client_id=stream.client_id, wish=wish, proved=proved, now=context.now(),
    )  # fmt: skip
    return _shown(changed)


def _count_change() -> None:
    if wait := limits.spend(_CHANGES, g.token.client_id):
        raise TooManyChangesError(wait)


def _prove(wish: Wish, stream: Stream | None) -> services.Challenge | None:
    session = context.session()
    asked = streams.ask_proof(
        session, keyring=context.keyring(), client_id=g.token.client_id, wish=wish, stream=stream, now=context.now()
    )
    if asked is None:
        return None
    proving.prove(asked, company_id=g.token.company_id)
    return asked


def _redelivered(stream: Stream, delivery: Delivery | None) -> Wish:
    known = streams.wish_of(stream)
    if delivery is None:
        return known
    # The header belongs to the address that it was given for.
    moved = delivery.endpoint_url not in {None, stream.url}
    kept = replace(known, keep_header=not moved, batch=1 if delivery.method == streams.PUSH else known.batch)
    return _delivered(kept, delivery)


def _delivered(wish: Wish, delivery: Delivery) -> Wish:
    several = delivery.method == streams.PUSH_MANY
    given = delivery.model_dump(include={"batch", "in_flight", "per_second"}, exclude_none=True)
    if several and wish.batch == 1:
        given.setdefault("batch", streams.BATCH)
    return replace(
        wish,
        method="poll" if delivery.method == streams.POLL else "push",
        url=None if delivery.method == streams.POLL else delivery.endpoint_url or wish.url,
        authorization=delivery.authorization_header,
        **given,
    )


def _described(wish: Wish, body: StreamRequest | StreamReplacement | StreamUpdate) -> Wish:
    if not isinstance(body, StreamUpdate) or "events_requested" in body.model_fields_set:
        wish = replace(wish, events=body.events_requested)
    return wish if body.description is None else replace(wish, description=body.description)


def _shown(stream: Stream, *, status: int = 200) -> Response:
    return private(streams.configuration(stream, issuer=context.settings().issuer), status=status)


def _status(stream: Stream) -> Response:
    told: dict[str, Any] = {"stream_id": str(stream.stream_id), "status": stream.state}
    return private(told | ({"reason": stream.reason} if stream.reason else {}))
