"""A client's own keys over HTTP: what state each is in, proving those it has to open, and stopping one at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from apiflask import APIBlueprint
from flask import Response, g
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints

from portal.companies import client_keys, proofs, queries
from portal.companies.key_states import State
from portal.oauth.protection import token_required
from portal.sync.bodies import json_body, private
from portal.web import context, openapi
from portal.web.problems import problem

if TYPE_CHECKING:
    from portal.companies.queries import KeyFacts

api = APIBlueprint("keys_api", __name__, url_prefix="/api/v1", tag="Keys")
SCOPE: Final = "keys:manage"
_NO_KEY: Final = {404: "No key of yours has this kid, or it needs no proof."}


class Proof(BaseModel):
    """The text that was in the newest challenge."""

    model_config = ConfigDict(extra="forbid")

    nonce: Annotated[str, StringConstraints(strict=True, min_length=1, max_length=128)]


class Challenge(BaseModel):
    """A compact JWE (RFC 7516) to the key, `ECDH-ES+A256KW` and `A256GCM`; send back the text inside."""

    jwe: str
    expires_at: AwareDatetime


class Key(BaseModel):
    """A key of yours: `unproved` ones have a challenge, `held` ones are used from `active_from` on."""

    kid: str
    use: Literal["sig", "enc"]
    group: str = Field(description="The department it belongs to; empty for none.")
    thumbprint: str
    state: State
    added_at: AwareDatetime
    active_from: AwareDatetime | None = None
    challenge: Challenge | None = None


class Keys(BaseModel):
    """Your keys, those that are retired or stopped included."""

    keys: list[Key]


_ONE: Final = openapi.answer("The key, proved.", openapi.JSON, openapi.shape(Key))
_STOPPED: Final[openapi.Answers] = {204: {"description": "It is used no more."}}
_ALL: Final = openapi.answer("Your keys.", openapi.JSON, openapi.shape(Keys))


@api.get("/keys")
@token_required(SCOPE)
@api.doc(
    summary="Your keys",
    description="Each encryption key that is not proved yet comes with a new challenge; the one before is void.",
    responses={200: _ALL, **openapi.refusals({})},
    security=openapi.DPOP,
)
def own_keys() -> Response:
    session, client_id, now = context.session(), g.token.client_id, context.now()
    facts = queries.key_list(session, client_id, now=now)
    unproved = any(each.state is State.UNPROVED for each in facts)
    asked = proofs.challenges(session, client_id=client_id, now=now) if unproved else {}
    return private({"keys": [_shown(each) | _challenge(asked.get(each.kid)) for each in facts]})


@api.post("/keys/<path:kid>/proof")
@token_required(SCOPE)
@api.doc(
    summary="Prove a key",
    responses={
        200: _ONE,
        **openapi.refusals(
            _NO_KEY | {409: "The challenge is over: ask for your keys again.", 422: "This is not what was in it."},
            body=True,
        ),
    },
    security=openapi.DPOP,
)
@json_body(api, Proof)
def prove(*, kid: str, body: Proof) -> Response:
    session, client_id, now = context.session(), g.token.client_id, context.now()
    if not proofs.prove(session, client_id=client_id, kid=kid, answer=body.nonce, now=now):
        # Not raised: that a try was made is kept.
        wrong = proofs.ProofWrongError
        return problem(422, wrong.code, wrong.public, errors=[{"pointer": "/nonce", "detail": wrong.public}])
    found = queries.key_list(session, client_id, now=now)
    return private(next(_shown(each) for each in found if each.kid == kid))


@api.delete("/keys/<path:kid>")
@token_required(SCOPE)
@api.doc(
    summary="Stop a key at once",
    description="For a key that others may have: it is never used again. What is owed waits for another one.",
    responses=_STOPPED | openapi.refusals(_NO_KEY),
    security=openapi.DPOP,
)
def stop(kid: str) -> Response:
    client_keys.stop(context.session(), client_id=g.token.client_id, kid=kid, now=context.now())
    return Response(status=204, headers={"Cache-Control": "no-store"})


def _shown(key: KeyFacts) -> dict[str, Any]:
    return {
        "kid": key.kid,
        "use": key.use,
        "group": key.group,
        "thumbprint": key.thumbprint,
        "state": str(key.state),
        "added_at": key.added_at.isoformat(),
        "active_from": key.active_from.isoformat() if key.active_from and key.live else None,
    }


def _challenge(made: proofs.Challenge | None) -> dict[str, Any]:
    return {"challenge": {"jwe": made.text, "expires_at": made.expires_at.isoformat()}} if made else {}
