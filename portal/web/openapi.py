"""The published OpenAPI document (3.1.0): every machine endpoint's answers, refusals in their true shape.

APIFlask gathers operations from the views; what it would assume about errors is replaced by what is answered here.
"""

from __future__ import annotations

from functools import wraps
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from apiflask import APIBlueprint, APIFlask
    from pydantic import BaseModel

View = TypeVar("View", bound="Callable[..., Any]")

# An OpenAPI Response Object, and an operation's by status.
Answer = dict[str, str | dict[str, dict[str, Any]]]
Answers = dict[int | str, Answer]
JSON: Final = "application/json"
PROBLEM: Final = "application/problem+json"
# A call to the API needs both: the token, and a proof of the key it is bound to (RFC 9449 section 7.1).
DPOP: Final[list[str | dict[str, list[Any]]]] = [{"accessToken": [], "dpopProof": []}]
_SCHEMES: Final = {
    "accessToken": {
        "type": "http",
        "scheme": "DPoP",
        "description": "An access token of `/oauth/token`, sent as `Authorization: DPoP …`.",
    },
    "dpopProof": {
        "type": "apiKey",
        "in": "header",
        "name": "DPoP",
        "description": "A fresh proof for this request (RFC 9449 section 4.2), with `ath` of the token.",
    },
    "registrationToken": {
        "type": "http",
        "scheme": "Bearer",
        "description": "An initial access token of the company console, or the registration access token of a client.",
    },
}
_POINTED: Final = {
    "type": "object",
    "properties": {
        "pointer": {"type": "string", "description": "Which part (RFC 6901)."},
        "detail": {"type": "string", "description": "How to mend it."},
    },
    "required": ["pointer", "detail"],
    "additionalProperties": False,
}
_PROBLEM: Final = {
    "type": "object",
    "description": "A refusal (RFC 9457); its `type` is explained at that address.",
    "properties": {
        "type": {"type": "string", "format": "uri"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "instance": {"type": "string"},
        "request_id": {"type": "string"},
        "errors": {"type": "array", "items": _POINTED},
    },
    "required": ["type", "title", "status", "instance", "request_id"],
}
_OAUTH_ERROR: Final = {
    "type": "object",
    "description": "A refusal of the authorization server (RFC 6749 section 5.2).",
    "properties": {
        "error": {"type": "string"},
        "error_description": {"type": "string"},
        "offer": {"type": "string", "description": "The grant that a person offers instead of what was asked."},
    },
    "required": ["error", "error_description"],
    "additionalProperties": False,
}
_HEADERS: Final[dict[int, dict[str, dict[str, Any]]]] = {
    401: {"WWW-Authenticate": {"description": "What is missing (RFC 9449 section 7.1).", "schema": {"type": "string"}}},
    429: {"Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer"}}},
}
# Whatever is asked, this can be the answer.
_ALWAYS: Final = {
    400: "The request cannot be read.",
    401: "The access token or the proof is not good; `WWW-Authenticate` says why.",
    403: "The token does not allow this.",
    405: "This address does not take that method.",
    429: "Too many requests that failed; `Retry-After` says when to come back.",
    500: "Something went wrong on our side; it is in our log under the `request_id`.",
}
_ALWAYS_OAUTH: Final = {
    400: "A part of the request cannot be used; `error` is the code of the document that describes the endpoint.",
    401: "The client, or its token, is not who it says.",
    413: "The body is too large.",
    429: _ALWAYS[429],
}
_WITH_BODY: Final = {413: "The body is too large.", 415: "The body is of another media type."}


_MODELS: Final[dict[str, type[BaseModel]]] = {}
_WEBHOOKS: Final[dict[str, dict[str, Any]]] = {}


def init_app(app: APIFlask) -> None:
    app.config.update(AUTO_404_RESPONSE=False, AUTO_AUTH_ERROR_RESPONSE=False, AUTO_VALIDATION_ERROR_RESPONSE=False)
    app.security_schemes = dict(_SCHEMES)
    app.spec_processor(_complete)


def refusals(more: Mapping[int, str], *, body: bool = False) -> Answers:
    """Return the refusals of an operation of the API: what every one has, and `more`, by status."""
    told = {**_ALWAYS, **(_WITH_BODY if body else {}), **more}
    return {status: _refusal(status, words, PROBLEM, "Problem") for status, words in sorted(told.items())}


def oauth_refusals(more: Mapping[int, str]) -> Answers:
    """Return the refusals of an endpoint of the authorization server, in the shape of RFC 6749 section 5.2."""
    told = _ALWAYS_OAUTH | dict(more)
    refused: Answers = {status: _refusal(status, words, JSON, "OAuthError") for status, words in sorted(told.items())}
    # Refused before the endpoint is reached.
    return refused | {status: _refusal(status, _ALWAYS[status], PROBLEM, "Problem") for status in (405, 500)}


def shape(model: type[BaseModel]) -> dict[str, Any]:
    """Return a reference to the model, which the document then holds among its schemas."""
    _MODELS[model.__name__] = model
    return {"$ref": f"#/components/schemas/{model.__name__}"}


def told(name: str, path_item: dict[str, Any]) -> None:
    """Say in the document what is posted to whoever reads it (OpenAPI 3.1, `webhooks`)."""
    _WEBHOOKS[name] = path_item


def noted(api: APIBlueprint, model: type[BaseModel], *, location: str) -> Callable[[View], View]:
    """Note what a view takes (`form`, `query` or `json`); the view reads it itself, by stricter rules."""

    def note(view: View) -> View:
        @wraps(api.input(model, location=location)(view))
        def unchanged(*args: object, **kwargs: object) -> object:
            return view(*args, **kwargs)

        return cast("View", unchanged)

    return note


def answer(words: str, media_type: str, schema: dict[str, Any]) -> Answer:
    """Return one answer: what it says, and in which form."""
    return {"description": words, "content": {media_type: {"schema": schema}}}


def headers(words: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Return headers of an answer, each with what it says."""
    return {name: {"description": said, "schema": {"type": "string"}} for name, said in words.items()}


def with_headers(words: str, told: dict[str, dict[str, Any]]) -> Answer:
    """Return an answer that tells by its headers, whatever its body is."""
    return {"description": words, "headers": told}


def _refusal(status: int, words: str, media_type: str, schema: str) -> Answer:
    told = answer(words, media_type, {"$ref": f"#/components/schemas/{schema}"})
    return told if status not in _HEADERS else told | {"headers": _HEADERS[status]}


def _complete(spec: dict[Any, Any] | str) -> dict[Any, Any] | str:
    if isinstance(spec, dict):
        schemas = spec.setdefault("components", {}).setdefault("schemas", {})
        schemas |= {"Problem": _PROBLEM, "OAuthError": _OAUTH_ERROR}
        schemas |= {name: model.model_json_schema() for name, model in _MODELS.items()}
        spec["webhooks"] = dict(_WEBHOOKS)
    return spec
