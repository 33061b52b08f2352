"""Pulls over HTTP: one person answered at once, many by a job (RFC 9449 on every call, RFC 9457 when refused)."""

from __future__ import annotations

import json
import re
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, TypeVar

from apiflask import APIBlueprint
from flask import Response, g, request, url_for

from portal.errors import InvalidError, NotFoundError, PortalError
from portal.oauth import dpop, protection
from portal.oauth.errors import OAuthError
from portal.oauth.protection import token_required
from portal.sync import batch_requests, batches, idempotency, messages, pulls, queries, schemas
from portal.sync.bodies import json_body
from portal.sync.counter import conditional
from portal.sync.pulls import Question
from portal.web import context, limits, openapi
from portal.web.access import marked

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from uuid import UUID

    from flask.typing import ResponseReturnValue

    from portal.sync.models import BatchPull

api = APIBlueprint("sync_api", __name__, url_prefix="/api/v1", tag="Pulls")
View = TypeVar("View", bound="Callable[..., Any]")
_LONGEST_SUB = 255
_POSITION = re.compile(r"[0-9]{1,4}", re.ASCII)
_A_SECOND = 200
# A page holds a thousand people, and each of them is decided on again: it costs what a hundred calls cost.
_PAGES: Final = limits.Rate("pull-pages", 60, 60)
_MESSAGE = openapi.answer(
    "The details, each sealed to your encryption key, in a signed message (RFC 8417).",
    messages.MEDIA_TYPE,
    {"type": "string", "pattern": r"^[\w-]+\.[\w-]+\.[\w-]+$"},
)
_TOLD = openapi.headers(
    {
        "ETag": "What stands for this answer until something of it changes; send it as If-None-Match.",
        "RateLimit-Policy": "How often you may look at this person in a day (draft-ietf-httpapi-ratelimit-headers).",
        "RateLimit": "How many looks are left, and in how many seconds the day ends.",
    }
)
_PROGRESS = openapi.headers({"Retry-After": "Seconds after which to look again; absent when the pull is done."})
_BEGUN = _PROGRESS | openapi.headers({"Location": "Where its state is, as links.self."})
_NO_PULL = {404: "No pull of yours has this id."}


class UnknownAttributeError(InvalidError):
    code = "unknown-attribute"
    public = "There is no detail of this name."


class NotReadyError(PortalError):
    code = "pull-not-done"
    status = 409
    headers: Mapping[str, str] = MappingProxyType({"Retry-After": "1"})
    public = "The pull is not done yet."


class ResultGoneError(PortalError):
    code = "pull-expired"
    status = 410
    public = "The result is no longer kept. Ask again."


def own_checks(view: View) -> View:
    """Mark the one machine route whose statement checks the token itself."""
    return marked(view, "token:own")


@api.get("/people/<sub>")
@own_checks
@api.doc(
    summary="Pull one person",
    description="Answers with a Security Event Token (RFC 8417) whose values are sealed to your encryption key, and "
    "once more to the public key `epk` (a JWK) where it is among the claims of the DPoP proof.",
    responses={
        200: _MESSAGE | {"headers": _TOLD},
        304: openapi.with_headers("Nothing has changed since the answer with this ETag.", _TOLD),
        **openapi.refusals(
            {
                403: "The person does not share this; the problem's type says why.",
                404: "No person you know has this sub.",
                409: "The consent changed at this moment, or there is no key that may be sealed to.",
                422: "A part of the request needs mending; errors[].pointer says which.",
                429: "You have looked as often as you may in a day, or call too often; `Retry-After` says when again.",
            }
        ),
    },
    security=openapi.DPOP,
)
@openapi.noted(api, schemas.PullQuery, location="query")
@openapi.noted(api, schemas.Conditional, location="headers")
def person(sub: str) -> Response:
    try:
        return _pulled(sub)
    except OAuthError as error:
        return protection.challenge(error, pulls.SCOPE)


@api.post("/pulls")
@token_required(pulls.SCOPE)
@api.output(schemas.PullState, 202)
@api.doc(
    summary="Pull many people",
    description="What is sealed to your keys is sealed once more to the public key `epk` (a JWK) of the proof, if any.",
    responses={
        202: openapi.with_headers("It is being answered.", _BEGUN),
        **openapi.refusals(
            {
                422: "A part needs mending, as errors[].pointer says, or the Idempotency-Key is another request's.",
                429: "Ten of your pulls wait, too many results are kept, or you call too often; see `Retry-After`.",
            },
            body=True,
        ),
    },
    security=openapi.DPOP,
)
@openapi.noted(api, schemas.Repeatable, location="headers")
@json_body(api, schemas.PullRequest)
def start_pull(*, body: schemas.PullRequest) -> ResponseReturnValue:
    try:
        epk = dpop.one_time_key(g.token.proof)
    except OAuthError as error:
        return protection.challenge(error, pulls.SCOPE)
    asked = {"subjects": body.subjects, "attributes": body.attributes, "epk": epk and epk["kid"]}
    pull = batch_requests.request_pull(
        context.session(),
        client_id=g.token.client_id,
        subjects=body.subjects,
        attributes=body.attributes or (),
        now=context.now(),
        epk=epk,
        key=idempotency.read(request.headers.get("Idempotency-Key"), asked),
    )
    state = _state(pull)
    return state, 202, {"Location": state["links"]["self"], **_patience(state)}


@api.get("/pulls/<uuid:pull_id>")
@token_required(pulls.SCOPE)
@api.output(schemas.PullState)
@api.doc(
    summary="How far a pull is",
    responses={200: openapi.with_headers("How far it is.", _PROGRESS), **openapi.refusals(_NO_PULL)},
    security=openapi.DPOP,
)
def pull_state(pull_id: UUID) -> ResponseReturnValue:
    state = _state(_own_pull(pull_id))
    return state, 200, _patience(state)


@api.get("/pulls/<uuid:pull_id>/result")
@token_required(pulls.SCOPE)
@api.output(schemas.PullResult)
@api.doc(
    summary="The answers of a pull",
    responses=openapi.refusals(
        _NO_PULL
        | {
            409: "The pull is not done yet.",
            410: "The result is no longer kept.",
            422: "`after` is not as `links.next` has it.",
        }
    ),
    security=openapi.DPOP,
)
@openapi.noted(api, schemas.ResultQuery, location="query")
def pull_result(pull_id: UUID) -> Response:
    pull = _own_pull(pull_id)
    if pull.state == "expired" or pull.expires_at <= context.now():
        raise ResultGoneError
    if pull.state != "done":
        raise NotReadyError
    if wait := limits.spend(_PAGES, g.token.client_id):
        return limits.too_many(wait)
    page = batches.results(context.session(), pull=pull, after=_after(), now=context.now())
    told = {"id": str(pull_id), "results": page.results, "links": {"next": _following(pull_id, page.following)}}
    return _private(json.dumps(told), "application/json")


def _pulled(sub: str) -> Response:
    credentials = protection.credentials()
    requested = _requested()
    if len(sub) > _LONGEST_SUB or "\x00" in sub:
        raise NotFoundError
    question = Question(
        credentials=credentials, sub=sub, requested=requested, held=conditional(request.headers.get("If-None-Match")),
        now=context.now(),
    )  # fmt: skip
    told = pulls.pull(context.settings(), question, keyring=context.keyring(), pace=limits.pace_api)
    if told.message is None:
        answer = Response(status=304, headers={"Cache-Control": "no-store"})
    else:
        answer = _private(told.message, messages.MEDIA_TYPE)
    answer.headers.update(told.headers)
    return answer


def _requested() -> Sequence[str] | None:
    if not request.query_string:
        return None
    if set(request.args) - {"attributes"}:
        raise InvalidError("The only parameter is attributes.", pointer="/")
    given = request.args.getlist("attributes")
    if not given:
        return None
    names = sorted({name.strip() for part in given for name in part.split(",")})
    if schemas.unknown_attributes(names):
        raise UnknownAttributeError(pointer="/attributes")
    return names


def _following(pull_id: UUID, position: int | None) -> str | None:
    return None if position is None else url_for("sync_api.pull_result", pull_id=pull_id, after=position)


def _after() -> int:
    if set(request.args) - {"after"}:
        raise InvalidError("The only parameter is after.", pointer="/")
    given = request.args.get("after", "-1")
    if given != "-1" and not _POSITION.fullmatch(given):
        raise InvalidError("Follow links.next as it is.", pointer="/after")
    return int(given)


def _patience(state: Mapping[str, Any]) -> dict[str, str]:
    # A worker answers a few hundred people in a second.
    if state["state"] not in {"queued", "running"}:
        return {}
    left = state["total"] - state["answered"] - state["refused"]
    return {"Retry-After": str(1 + left // _A_SECOND)}


def _own_pull(pull_id: UUID) -> BatchPull:
    pull = queries.pull_of(context.session(), pull_id=pull_id, client_id=g.token.client_id)
    if pull is None:
        raise NotFoundError
    return pull


def _state(pull: BatchPull) -> dict[str, Any]:
    counts = batches.counts(context.session(), pull_id=pull.pull_id)
    here = url_for("sync_api.pull_state", pull_id=pull.pull_id)
    result = url_for("sync_api.pull_result", pull_id=pull.pull_id) if pull.state == "done" else None
    return {
        "id": pull.pull_id,
        "state": pull.state,
        "total": pull.total,
        "answered": counts.answered,
        "refused": counts.refused,
        "requested_at": pull.requested_at,
        "expires_at": pull.expires_at,
        "links": {"self": here, "result": result},
    }


def _private(body: str, content_type: str) -> Response:
    return Response(body, content_type=content_type, headers={"Cache-Control": "no-store"})
