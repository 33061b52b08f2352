"""Drift checks over HTTP: a company learns whether its copies are up to date, and not what they should be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from apiflask import APIBlueprint
from flask import g
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator

from portal.consumer.catalogue import CATALOGUE
from portal.errors import InvalidError
from portal.oauth.protection import token_required
from portal.sync import drift, pulls, schemas
from portal.sync.bodies import json_body, private
from portal.vault import base64url
from portal.web import context, limits, openapi
from portal.web.problems import problem

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flask import Response

    from portal.sync.drift import Compared

api = APIBlueprint("drift_api", __name__, url_prefix="/api/v1", tag="Drift checks")
# Thirty-two bytes: RFC 4648 section 5 without padding, in the one spelling that section 3.5 asks for.
_BYTES = Annotated[str, StringConstraints(strict=True, pattern=r"^[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]$")]


class GuessableError(InvalidError):
    code = "attribute-guessable"
    public = "This detail is too easily guessed to be compared. Ask for it instead."


class DriftSubject(BaseModel):
    """One person, and a digest of each detail you hold of them."""

    model_config = ConfigDict(extra="forbid")

    sub: schemas.Sub
    attributes: dict[str, _BYTES] = Field(min_length=1, max_length=100)

    @field_validator("attributes")
    @classmethod
    def _known(cls, attributes: dict[str, str]) -> dict[str, str]:
        if schemas.unknown_attributes(attributes):
            raise ValueError("names of the catalogue only")
        return attributes


class DriftCheck(BaseModel):
    """A key of 32 random bytes for this request alone, and whom it is about."""

    model_config = ConfigDict(extra="forbid")

    key: _BYTES
    subjects: list[DriftSubject] = Field(min_length=1, max_length=drift.MOST)

    @field_validator("subjects")
    @classmethod
    def _each_once(cls, subjects: list[DriftSubject]) -> list[DriftSubject]:
        if len({each.sub for each in subjects}) != len(subjects):
            raise ValueError("each sub once")
        return subjects


class DriftAnswer(BaseModel):
    """One person: an answer for each detail that they share with you, or the problem type's last part."""

    sub: str
    attributes: dict[str, Literal["same", "stale", "unknown"]] = Field(default_factory=dict)
    problem: str = ""
    retry_after: int = Field(default=0, description="Seconds to wait, beside `too-often`.")


class DriftAnswers(BaseModel):
    """What became of each person, in the order they came."""

    results: list[DriftAnswer]


@api.post("/drift")
@token_required(pulls.SCOPE)
@api.output(DriftAnswers)
@api.doc(
    summary="Check whether your copies are up to date",
    description="By keyed digests: no detail leaves, and the person reads that you checked.",
    responses=openapi.refusals(
        {
            422: "A part of the request needs mending; errors[].pointer says which.",
            429: "You have checked these people as often as you may; `Retry-After` says when to come back.",
        },
        body=True,
    ),
    security=openapi.DPOP,
)
@json_body(api, DriftCheck)
def check(*, body: DriftCheck) -> Response:
    _refuse_guessable(body)
    compared = drift.check(
        context.session(),
        keyring=context.keyring(),
        client_id=g.token.client_id,
        key=base64url.decode(body.key),
        subjects=[drift.Asked(sub=each.sub, digests=each.attributes) for each in body.subjects],
        now=context.now(),
    )
    if all(each.problem == drift.TOO_OFTEN for each in compared):
        return _too_often(compared)
    return private({"results": [_told(each) for each in compared]})


def _refuse_guessable(body: DriftCheck) -> None:
    for position, subject in enumerate(body.subjects):
        if any(CATALOGUE[name].guessable for name in subject.attributes):
            raise GuessableError(pointer=f"/subjects/{position}/attributes")


def _too_often(compared: Sequence[Compared]) -> Response:
    words = "You have checked these people as often as you may for now."
    return limits.waits(problem(429, drift.TOO_OFTEN, words), min(each.wait for each in compared))


def _told(compared: Compared) -> dict[str, Any]:
    if not compared.problem:
        return {"sub": compared.sub, "attributes": compared.answers}
    late = {"retry_after": compared.wait} if compared.wait else {}
    return {"sub": compared.sub, "problem": compared.problem, **late}
