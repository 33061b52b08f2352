"""A client's own purposes over HTTP: declared by a program as by the console, and judged by the same rules."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from apiflask import APIBlueprint
from flask import Response, g
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints

from portal.companies import purpose_queries, queries, rules, services, versions, withdrawing
from portal.companies.ceilings import Beyond
from portal.companies.declared import OverAskingError
from portal.companies.purposes import BASES, PURPOSES, USES
from portal.consumer.catalogue import CATALOGUE
from portal.errors import InvalidError, NotFoundError
from portal.oauth.protection import token_required
from portal.sync.bodies import json_body, private
from portal.web import context, openapi
from portal.web.problems import problem

if TYPE_CHECKING:
    from portal.companies.purpose_queries import VersionFacts

api = APIBlueprint("purposes_api", __name__, url_prefix="/api/v1", tag="Purposes")
SCOPE: Final = "purposes:manage"
_Text = Annotated[str, StringConstraints(strict=True, max_length=400)]
_Days = Annotated[int, Field(strict=True, ge=0, le=100_000)]
_NO_PURPOSE: Final = {404: "No purpose of yours has this code."}


class Asked(BaseModel):
    """A detail, and why you ask for it, in words that people understand."""

    model_config = ConfigDict(extra="forbid")

    attribute: _Text
    reason: _Text


class Declaration(BaseModel):
    """What you want details for; each kind of purpose has a ceiling (`/docs/companies/purposes`)."""

    model_config = ConfigDict(extra="forbid")

    sentence: _Text = Field(description='Verb first, as it follows "so they can": "send bills to the right address".')
    dpv: Literal[tuple(PURPOSES)] = Field(description="A purpose of the Data Privacy Vocabulary (W3C DPV 2).")  # type: ignore[valid-type]
    lawful_basis: Literal[tuple(BASES)] = Field(description="Article 6(1) of the GDPR.")  # type: ignore[valid-type]
    mode: Literal[tuple(USES)]  # type: ignore[valid-type]
    required: Annotated[list[Asked], Field(max_length=len(CATALOGUE))]
    optional: Annotated[list[Asked], Field(max_length=len(CATALOGUE))] = []
    retention_days: _Days = Field(description="How long you keep details after somebody stops.")
    longest_days: _Days = Field(365, description="After how many days you ask again at the latest.")
    pulls_a_day: _Days | None = Field(None, description="How often at most you look at one person's details in a day.")


class Version(Declaration):
    """One version; people are asked under the one that is `in_use`."""

    version: int
    state: Literal["draft", "waiting", "live", "sent-back", "replaced"]
    in_use: bool
    drafted_at: AwareDatetime
    sent_at: AwareDatetime | None
    decided_at: AwareDatetime | None
    words: str = Field(description="What the operator said of it.")


class Purpose(BaseModel):
    """A purpose of yours, the newest version first."""

    code: str
    versions: list[Version]


class Purposes(BaseModel):
    """Your purposes, those that are withdrawn left out."""

    purposes: list[Purpose]


_ALL: Final = openapi.answer("Your purposes.", openapi.JSON, openapi.shape(Purposes))
_ONE: Final = openapi.answer("The newest version.", openapi.JSON, openapi.shape(Version))
_WITHDRAWN: Final[openapi.Answers] = {204: {"description": "It is withdrawn."}}
_MADE: Final = openapi.answer("The first version of a new purpose.", openapi.JSON, openapi.shape(Version))


@api.get("/purposes")
@token_required(SCOPE)
@api.doc(summary="Your purposes", responses={200: _ALL, **openapi.refusals({})}, security=openapi.DPOP)
def own_purposes() -> Response:
    found = purpose_queries.of_client(context.session(), g.token.client_id)
    return private(
        {"purposes": [{"code": code, "versions": [_shown(one) for one in each]} for code, each in found.items()]}
    )


@api.put("/purposes/<code>")
@token_required(SCOPE)
@api.doc(
    summary="Declare or change a purpose",
    description=(
        "Makes a version where it says something new, and none where it says the same. A test app asks under it at "
        "once; a live one once an operator has put it live. Whoever agreed to an earlier version keeps it."
    ),
    responses={
        200: _ONE,
        201: _MADE,
        **openapi.refusals(
            {422: "It cannot be kept, or asks for more than its kind may; `errors` points at each part.",
             404: "A purpose cannot be called so.",
             409: "The app has fifty purposes."},
            body=True,
        ),
    },
    security=openapi.DPOP,
)  # fmt: skip
@json_body(api, Declaration)
def declare(*, code: str, body: Declaration) -> Response:
    session, client_id, now = context.session(), g.token.client_id, context.now()
    _check_code(code)
    said = _said(body)
    try:
        if queries.is_declared(session, client_id, code):
            return private(_shown(versions.revise(session, client_id=client_id, code=code, now=now, **said)))
        services.declare_purpose(session, client_id=client_id, code=code, now=now, **said)
    except rules.PurposeError as error:
        return _unfit(error, body)
    [made] = purpose_queries.of_purpose(session, client_id=client_id, code=code)
    return private(_shown(made), status=201)


@api.post("/purposes/<code>/review")
@token_required(SCOPE)
@api.doc(
    summary="Send a purpose for review",
    description="The newest version, if it is a draft of a live app's.",
    responses={
        200: _ONE,
        **openapi.refusals(
            _NO_PURPOSE
            | {409: "There is no draft, or the app is a test app, which needs no review.",
               422: "The ceiling of its kind is lower than it was."}
        ),
    },
    security=openapi.DPOP,
)  # fmt: skip
def review(*, code: str) -> Response:
    sent = versions.send(context.session(), client_id=g.token.client_id, code=code, now=context.now())
    return private(_shown(sent))


@api.delete("/purposes/<code>")
@token_required(SCOPE)
@api.doc(
    summary="Withdraw a purpose",
    description=(
        "For good: from this moment nobody is asked for it and nothing leaves under it, and what people share for it "
        "is ended."
    ),
    responses={**_WITHDRAWN, **openapi.refusals(_NO_PURPOSE)},
    security=openapi.DPOP,
)
def withdraw(*, code: str) -> Response:
    withdrawing.withdraw(context.session(), client_id=g.token.client_id, code=code, by=None, now=context.now())
    return Response(status=204, headers={"Cache-Control": "no-store"})


def _check_code(code: str) -> None:
    # Codes are as the console makes them of a sentence: they stand in requests, messages and addresses.
    try:
        fine = rules.slug(code) == code
    except InvalidError:
        fine = False
    if not fine:
        raise NotFoundError("A purpose has a code of small letters, digits and hyphens, at most 60 of them.")


def _unfit(error: rules.PurposeError, body: Declaration) -> Response:
    context.fail()
    found: tuple[Beyond, ...] = (Beyond(error.pointer, error.public),)
    title = error.public
    if isinstance(error, OverAskingError):
        found, title = error.found, "This purpose asks for more than its kind may."
    errors = [{"pointer": _pointer(one.pointer, body), "detail": one.sentence} for one in found]
    return problem(error.status, error.code, title, errors=errors)


def _said(body: Declaration) -> dict[str, Any]:
    said = body.model_dump() | {"catalogue": CATALOGUE}
    for name in ("required", "optional"):
        said[name] = [(one["attribute"], one["reason"]) for one in said[name]]
    return said


def _shown(one: VersionFacts) -> dict[str, Any]:
    purpose = one.purpose
    said = {
        "sentence": purpose.sentence, "dpv": purpose.dpv, "lawful_basis": purpose.lawful_basis, "mode": purpose.use,
        "required": _items(purpose.required), "optional": _items(purpose.optional),
        "retention_days": purpose.retention_days, "longest_days": purpose.longest_days,
        "pulls_a_day": purpose.pulls_a_day,
    }  # fmt: skip
    moments = {"drafted_at": one.drafted_at, "sent_at": one.sent_at, "decided_at": one.decided_at}
    return {
        **said,
        "version": purpose.version,
        "state": one.state,
        "in_use": one.in_use,
        **{name: at.isoformat() if at else None for name, at in moments.items()},
        "words": one.words,
    }


def _items(items: tuple[tuple[str, str], ...]) -> list[dict[str, str]]:
    return [{"attribute": attribute, "reason": reason} for attribute, reason in items]


def _pointer(pointer: str, body: Declaration) -> str:
    """Return where in the body a detail stands that a rule names by itself."""
    start, _, attribute = pointer.rpartition("/")
    if start != "/attributes":
        return pointer
    for name, items in (("required", body.required), ("optional", body.optional)):
        for position, item in enumerate(items):
            if item.attribute == attribute:
                return f"/{name}/{position}"
    return pointer
