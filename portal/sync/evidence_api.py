"""That a message stands in the log that anyone can check, over HTTP: what `logged_by` in each message promises."""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from apiflask import APIBlueprint
from flask import g
from pydantic import BaseModel, Field

from portal.consent import queries as consent
from portal.errors import NotFoundError
from portal.ledger import evidence, published
from portal.oauth.protection import token_required
from portal.sync import pulls
from portal.web import context, openapi

if TYPE_CHECKING:
    from collections.abc import Mapping

api = APIBlueprint("evidence_api", __name__, url_prefix="/api/v1", tag="Log")
# As those of our own are: nothing else is looked for.
_JTI: Final = re.compile(r"[\x21-\x7e]{1,255}")


class NotLoggedError(NotFoundError):
    code = "message-not-in-log"
    headers: Mapping[str, str] = MappingProxyType({"Retry-After": "2"})
    public = "The signed log has no message of this jti to your app about this person."


class EvidenceOut(BaseModel):
    """One entry of the log about the message: that it was sent, or what became of it."""

    said: dict[str, Any] = Field(description="What the entry says.")
    blind: str = Field(description="What hides it: 32 bytes, base64.")
    place: str = Field(description="The hidden hash of its place among the person's entries: 32 bytes, base64.")
    proof: str = Field(description="That the log has it (C2SP tlog-proof), with the newest checkpoint.")


class EvidenceList(BaseModel):
    """The log's key, and its entries about one message in their order."""

    verifier: str = Field(description="The key that checkpoints are checked with (C2SP signed-note).")
    entries: list[EvidenceOut]


@api.get("/people/<sub>/messages/<jti>/log")
@token_required(pulls.SCOPE)
@api.output(EvidenceList)
@api.doc(
    summary="Prove that a message is in the log",
    description="Each message says by `logged_by` when it is in the log at the latest. This shows that it is, so that "
    "you need not believe it.",
    responses={
        200: openapi.answer("The entries and their proofs.", openapi.JSON, openapi.shape(EvidenceList)),
        **openapi.refusals({404: "The signed log has no such message to you; just sent, it is there in seconds."}),
    },
    security=openapi.DPOP,
)
def of_message(sub: str, jti: str) -> dict[str, Any]:
    session = context.session()
    log = published.newest(session)
    person_id = consent.person_of(session, company_id=g.token.company_id, sub=sub)
    if log is None or person_id is None or not _JTI.fullmatch(jti):
        raise NotLoggedError
    found = evidence.of_message(session, log, person_id=person_id, client_id=g.token.client_id, message_id=jti)
    if not found:
        raise NotLoggedError
    return {"verifier": str(log.verifier), "entries": [each._asdict() for each in found]}
