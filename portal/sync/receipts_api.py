"""Receipts over HTTP: a company says what it has done with the messages it got."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from apiflask import APIBlueprint
from flask import g
from pydantic import (
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    field_validator,
    model_validator,
)

from portal.oauth.protection import token_required
from portal.sync import pulls, receipts
from portal.sync.bodies import json_body
from portal.sync.receipts import NewReceipt, Noted, Status
from portal.web import context, openapi

api = APIBlueprint("receipts_api", __name__, url_prefix="/api/v1", tag="Receipts")
# Room for a few words, and for no address, number or date.
_WORDS = r"^[^\W\d_]+(?:[ ,.()'-]+[^\W\d_]+)*[.)]*$"


def _written(given: object) -> object:
    # A number would be read as seconds, which nobody means.
    if not isinstance(given, str):
        raise ValueError("a date and time of RFC 3339")  # noqa: TRY004 - this one becomes a pointer
    return given


class ReceiptIn(BaseModel):
    """What was done with one message; a rejected one has a reason, and words of your own if you like."""

    model_config = ConfigDict(extra="forbid")

    jti: Annotated[str, StringConstraints(strict=True, min_length=1, max_length=255, pattern=r"^[\x21-\x7e]+$")]
    status: Literal["applied", "rejected", "superseded"]
    reason: Literal["invalid", "not-a-customer", "needs-review", "not-kept", "failed", "other"] | None = None
    words: Annotated[str, StringConstraints(strict=True, max_length=80, pattern=_WORDS)] | None = Field(
        default=None, description="Letters only, never somebody's details."
    )
    applied_at: Annotated[AwareDatetime, BeforeValidator(_written)] | None = Field(
        default=None, description="When you did it; left out, now."
    )

    @model_validator(mode="after")
    def _says_why(self) -> ReceiptIn:
        if (self.status == "rejected") != (self.reason is not None):
            raise ValueError("a reason with rejected, and with nothing else")
        if self.words and self.reason is None:
            raise ValueError("words only beside a reason")
        return self


class Receipts(BaseModel):
    """Up to 500 receipts, each message once."""

    model_config = ConfigDict(extra="forbid")

    receipts: list[ReceiptIn] = Field(min_length=1, max_length=receipts.MOST)

    @field_validator("receipts")
    @classmethod
    def _each_once(cls, given: list[ReceiptIn]) -> list[ReceiptIn]:
        if len({each.jti for each in given}) != len(given):
            raise ValueError("each jti once")
        return given


class ReceiptOut(BaseModel):
    """What became of a receipt."""

    jti: str
    result: Literal["recorded", "already-recorded", "conflict", "unknown", "wrong-time"]


class ReceiptsNoted(BaseModel):
    """What became of each receipt, in the order they came."""

    results: list[ReceiptOut]


@api.post("/receipts")
@token_required(pulls.SCOPE)
@api.output(ReceiptsNoted)
@api.doc(
    summary="Say what you did with messages",
    description="People then read when you updated their details. The same receipt may come twice.",
    responses=openapi.refusals({422: "A part of the request needs mending; errors[].pointer says which."}, body=True),
    security=openapi.DPOP,
)
@json_body(api, Receipts)
def note(*, body: Receipts) -> dict[str, Any]:
    noted = receipts.note(
        context.session(),
        company_id=g.token.company_id,
        client_id=g.token.client_id,
        receipts=[_new(each) for each in body.receipts],
        now=context.now(),
    )
    return {"results": [_out(each, result) for each, result in zip(body.receipts, noted, strict=True)]}


def _new(given: ReceiptIn) -> NewReceipt:
    return NewReceipt(
        jti=given.jti,
        status=Status(given.status),
        applied_at=given.applied_at or context.now(),
        reason=given.reason or "",
        words=given.words or "",
    )


def _out(given: ReceiptIn, result: Noted) -> dict[str, str]:
    return {"jti": given.jti, "result": result}
