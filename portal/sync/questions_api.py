"""What people ask about uses they do not recognise, over HTTP: which questions are open, and answering one.

What a person wrote is theirs, and leaves sealed or not at all: it is read in the console.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final, Literal
from uuid import UUID

from apiflask import APIBlueprint
from flask import g
from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

from portal.consent import queries as consents
from portal.consumer import text
from portal.disputes import queries, rules
from portal.disputes import services as disputes
from portal.errors import NotFoundError
from portal.ledger import queries as ledger
from portal.oauth.protection import token_required
from portal.sync import pulls
from portal.sync.bodies import json_body
from portal.web import context, openapi

if TYPE_CHECKING:
    from collections.abc import Sequence

    from portal.disputes.models import Dispute

api = APIBlueprint("questions_api", __name__, url_prefix="/api/v1", tag="Questions")
_NONE: Final = {404: "Nobody asks your app about this."}


def _clean(given: object) -> object:
    try:
        return (
            text.clean(given, what="The explanation", longest=rules.LONGEST, lines=True)
            if isinstance(given, str)
            else given
        )
    except text.InvalidValueError as error:
        raise ValueError(error.errors["value"]) from None


class Explanation(BaseModel):
    """What you did with the details, why, and how you came to ask; the person reads it."""

    model_config = ConfigDict(extra="forbid")

    explanation: Annotated[
        str, StringConstraints(strict=True, min_length=1, max_length=rules.LONGEST), BeforeValidator(_clean)
    ]


class QuestionOut(BaseModel):
    """One question, and the entry of the log that it is about."""

    id: UUID = Field(description="Of the entry of the log, which is what the question is known by.")
    sub: str | None
    state: Literal["asked", "answered", "escalated", "mending", "settled", "decided"]
    may_answer: bool
    asked_at: AwareDatetime
    due_at: AwareDatetime | None = Field(description="By when to answer, or to mend; null where no time runs.")
    at: AwareDatetime = Field(description="When what it is about happened.")
    channel: str
    outcome: str
    reason: str | None
    asked: list[str] = Field(description="The attributes that were asked for.")
    given: dict[str, int] = Field(description="The attributes that were sent, and the version of each.")
    purpose: str
    grant_id: UUID | None
    grant_version: int | None
    jti: str | None = Field(description="The message it was, if it was one.")
    sealed_to: list[str] | None = Field(description="The `kid` of each key that its values were sealed to.")


class QuestionList(BaseModel):
    """Up to fifty questions that are open, the most pressing first."""

    questions: list[QuestionOut]


@api.get("/questions")
@token_required(pulls.SCOPE)
@api.output(QuestionList)
@api.doc(
    summary="Open questions",
    description="What people ask about uses of their details by this app that they do not recognise. Their words are "
    "in the console under Questions.",
    responses=openapi.refusals({}),
    security=openapi.DPOP,
)
def questions() -> dict[str, Any]:
    found = queries.open_of_company(context.session(), company_id=g.token.company_id, client_id=g.token.client_id)
    return {"questions": _shown(found)}


@api.get("/questions/<uuid:disclosure_id>")
@token_required(pulls.SCOPE)
@api.output(QuestionOut)
@api.doc(summary="One question", responses=openapi.refusals(_NONE), security=openapi.DPOP)
def question(disclosure_id: UUID) -> dict[str, Any]:
    return _shown([_own(disclosure_id)])[0]


@api.post("/questions/<uuid:disclosure_id>/answer")
@token_required(pulls.SCOPE)
@api.output(QuestionOut)
@api.doc(
    summary="Answer a question",
    description="Once each time it is asked of you. It cannot be changed afterwards, and stands beside the entry.",
    responses=openapi.refusals(
        _NONE | {409: "It is answered, settled or decided.", 422: "A part needs mending; errors[].pointer says which."},
        body=True,
    ),
    security=openapi.DPOP,
)
@json_body(api, Explanation)
def answer(*, disclosure_id: UUID, body: Explanation) -> dict[str, Any]:
    _own(disclosure_id)
    held = disputes.answer(
        context.session(),
        keyring=context.keyring(),
        company_id=g.token.company_id,
        disclosure_id=disclosure_id,
        words=body.explanation,
        now=context.now(),
    )
    return _shown([held])[0]


def _own(disclosure_id: UUID) -> Dispute:
    held = queries.by_row(context.session(), disclosure_id=disclosure_id, company_id=g.token.company_id)
    if held is None or held.client_id != g.token.client_id:
        raise NotFoundError
    return held


def _shown(found: Sequence[Dispute]) -> list[dict[str, Any]]:
    people = {held.person_id for held in found}
    subs = consents.subs_of(context.session(), person_ids=people, company_id=g.token.company_id)
    return [_facts(held, subs.get(held.person_id)) for held in found]


def _facts(held: Dispute, sub: str | None) -> dict[str, Any]:
    entry = ledger.one(context.session(), person_id=held.person_id, disclosure_id=held.disclosure_id)
    if entry is None:
        raise NotFoundError
    return {
        "id": held.disclosure_id,
        "sub": sub,
        "state": held.state,
        "may_answer": rules.after(rules.ANSWERED, state=held.state, last_step=held.last_step) is not None,
        "asked_at": held.opened_at,
        "due_at": held.due_at if held.state in rules.OPEN else None,
        "at": entry.at,
        "channel": entry.channel,
        "outcome": entry.outcome,
        "reason": entry.reason,
        "asked": entry.asked,
        "given": entry.given,
        "purpose": entry.purpose,
        "grant_id": entry.grant_id,
        "grant_version": entry.grant_version,
        "jti": entry.message_id,
        "sealed_to": entry.sealed_to,
    }
