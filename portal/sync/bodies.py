"""What a company's server sends, parsed by a model or refused with a pointer at what to mend; and JSON back to it."""

from __future__ import annotations

from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar, cast

from flask import jsonify, request
from pydantic import ValidationError

from portal.errors import PortalError
from portal.oauth import compact
from portal.web import context
from portal.web.problems import problem

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from apiflask import APIBlueprint
    from flask import Response
    from flask.typing import ResponseReturnValue
    from pydantic import BaseModel

View = TypeVar("View", bound="Callable[..., Any]")
_MOST_ERRORS = 20


class MalformedBodyError(PortalError):
    code = "malformed-body"
    status = 400
    public = "The body must be one JSON object in UTF-8."


class WrongTypeError(PortalError):
    code = "wrong-media-type"
    status = 415
    public = "Send application/json."


def json_body(api: APIBlueprint, model: type[BaseModel]) -> Callable[[View], View]:
    """Hand the view its parsed body, or answer with a problem that points at what to mend.

    The wrapper carries what `api.input` notes for OpenAPI; the parsing is our own because a body that is no
    UTF-8, no JSON or nested without end has to be answered like any other mistake.
    """
    known = _members(model)

    def guard(view: View) -> View:
        @wraps(api.input(model)(view))
        def parsed(*args: object, **kwargs: object) -> ResponseReturnValue:
            try:
                body = model.model_validate(_json_object())
            except ValidationError as error:
                return _invalid(error, known)
            return cast("ResponseReturnValue", view(*args, body=body, **kwargs))

        return cast("View", parsed)

    return guard


def query(api: APIBlueprint, model: type[BaseModel]) -> Callable[[View], View]:
    """Hand the view what the address asks for, or answer with a problem that points at the parameter to mend."""
    known = _members(model)

    def guard(view: View) -> View:
        @wraps(api.input(model, location="query")(view))
        def parsed(*args: object, **kwargs: object) -> ResponseReturnValue:
            try:
                asked = model.model_validate(_each_once())
            except ValidationError as error:
                return _invalid(error, known)
            return cast("ResponseReturnValue", view(*args, asked=asked, **kwargs))

        return cast("View", parsed)

    return guard


def private(told: object, *, status: int = 200) -> Response:
    """Return an answer in JSON that nobody between may keep: what a company is told is for it alone."""
    response = jsonify(told)
    response.status_code = status
    response.headers["Cache-Control"] = "no-store"
    return response


def tagged(told: Mapping[str, Any]) -> Response:
    """Return an answer with a tag of its content, or 304 for who has it already (RFC 9110 section 13.1.2)."""
    answer = private(told)
    answer.add_etag()
    answer.make_conditional(request)
    return answer


def _each_once() -> dict[str, Any]:
    # A parameter that stands there twice is no text, which the model then says.
    given = request.args.to_dict(flat=False)
    return {name: values[0] if len(values) == 1 else values for name, values in given.items()}


def _members(model: type[BaseModel]) -> frozenset[str]:
    schema = model.model_json_schema()
    objects = (schema, *schema.get("$defs", {}).values())
    return frozenset(name for each in objects for name in each.get("properties", {}))


def _json_object() -> dict[str, Any]:
    if request.mimetype != "application/json":
        raise WrongTypeError
    try:
        parsed = compact.read_json(request.get_data().decode())
    except ValueError as error:
        raise MalformedBodyError(private=type(error).__name__) from error
    if not isinstance(parsed, dict):
        raise MalformedBodyError
    return parsed


def _invalid(error: ValidationError, known: Collection[str]) -> Response:
    # A pointer may only name members that exist here: what was sent is not sent back.
    context.fail()
    found = {
        _pointer(each["loc"], known): _sentence(each["type"], each["msg"]) for each in error.errors()[:_MOST_ERRORS]
    }
    errors = [{"pointer": pointer, "detail": detail} for pointer, detail in found.items()]
    return problem(422, "invalid", "Something in it needs mending.", errors=errors)


def _pointer(location: tuple[int | str, ...], known: Collection[str]) -> str:
    parts = [str(part) for part in location if isinstance(part, int) or part in known]
    return "/" + "/".join(parts)


def _sentence(kind: str, words: str) -> str:
    return "There is no such member." if kind == "extra_forbidden" else words.removeprefix("Value error, ") + "."
