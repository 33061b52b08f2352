"""How the published OpenAPI document describes each endpoint of the authorization server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from portal.oauth import introspection, schemas, userinfo
from portal.web import openapi

if TYPE_CHECKING:
    from pydantic import BaseModel

Operation = dict[str, Any]
_TAGS: Final = ["Authorization server"]
_JWT: Final = {"type": "string", "pattern": r"^[\w-]+(\.[\w-]*){2,4}$"}
_CONSOLE: Final[list[str | dict[str, list[Any]]]] = [{"registrationToken": []}]
_BUSY: Final = {503: "Your key set is being fetched for somebody else: come back soon."}
_NO_GRANT: Final = {404: "No live grant of yours has this id."}


def _operation(
    summary: str, description: str, good: tuple[int, openapi.Answer], refused: openapi.Answers, **more: object
) -> Operation:
    answers = {good[0]: good[1], **refused}
    return {"tags": _TAGS, "summary": summary, "description": description, "responses": answers, **more}


def _json(words: str, model: type[BaseModel], **also: dict[str, Any]) -> openapi.Answer:
    told = {openapi.JSON: {"schema": openapi.shape(model)}}
    return {"description": words, "content": told | {kind: {"schema": schema} for kind, schema in also.items()}}


PUSH: Final = _operation(
    "Push an authorization request",
    "RFC 9126. The only way to ask: `/oauth/authorize` takes nothing but the name this answers with.",
    (201, _json("Send the person to `/oauth/authorize` with it within a minute.", schemas.Pushed)),
    openapi.oauth_refusals({}),
)
ASK_FROM_AFAR: Final = _operation(
    "Ask for approval away from the browser",
    "CIBA Core 1.0 section 7. The person answers in the portal; fetch the answer at the token endpoint.",
    (200, _json("The person is asked.", schemas.Waiting)),
    openapi.oauth_refusals({403: "Too many requests wait for this person."}),
)
TOKEN: Final = _operation(
    "Get a token",
    "RFC 6749 section 3.2, with a DPoP proof (RFC 9449 section 5) in the header `DPoP`.",
    (200, _json("A token bound to the key of the proof.", schemas.Tokens)),
    openapi.oauth_refusals({}),
)
REVOKE: Final = _operation(
    "End a token",
    "RFC 7009. Never ends the consent behind it: that is `DELETE /oauth/grants/{grant_id}`.",
    (200, openapi.answer("It is over, if it was yours.", openapi.JSON, {"type": "object"})),
    openapi.oauth_refusals({}),
)
INTROSPECT: Final = _operation(
    "Ask what a token of yours is good for",
    "RFC 7662; signed (RFC 9701) when `Accept` names it.",
    (
        200,
        _json(
            "What it is good for; `active` alone when it is over, unknown or not yours.",
            schemas.Introspected,
            **{introspection.MEDIA_TYPE: _JWT},
        ),
    ),
    openapi.oauth_refusals({}),
)
USERINFO: Final = _operation(
    "The claims behind a token",
    "OpenID Connect Core section 5.3; signed or encrypted when the client is registered so.",
    (200, _json("What the person shares of what the scopes name.", schemas.Claims, **{userinfo.MEDIA_TYPE: _JWT})),
    openapi.refusals(
        {
            403: "The person does not share this, or the token lacks `openid`.",
            409: "You asked for encryption and have no key.",
        }
    ),
    security=openapi.DPOP,
)
REGISTER: Final = _operation(
    "Register a client",
    "RFC 7591, with an initial access token of the company console.",
    (201, _json("The client as it is registered.", schemas.Registered)),
    openapi.oauth_refusals(_BUSY),
    security=_CONSOLE,
)
REGISTERED: Final = _operation(
    "Read a client's registration",
    "RFC 7592 section 2.1.",
    (200, _json("The client as it is registered.", schemas.Registered)),
    openapi.oauth_refusals({}),
    security=_CONSOLE,
)
REPLACE_REGISTERED: Final = _operation(
    "Replace a client's registration",
    "RFC 7592 section 2.2: what is left out is back to where every client begins.",
    (200, _json("The client as it is registered now.", schemas.Registered)),
    openapi.oauth_refusals(_BUSY),
    security=_CONSOLE,
)
END_REGISTERED: Final = _operation(
    "End a client",
    "RFC 7592 section 2.3: its tokens die, and its grants end as ended by the company.",
    (204, {"description": "It is over."}),
    openapi.oauth_refusals({}),
    security=_CONSOLE,
)
GRANT: Final = _operation(
    "Look at a grant",
    "Grant Management for OAuth 2.0 section 6.4, with scope `grant_management_query`.",
    (200, _json("What the person grants now.", schemas.GrantState)),
    openapi.refusals(_NO_GRANT),
    security=openapi.DPOP,
)
END_GRANT: Final = _operation(
    "End a grant",
    "Section 6.5, with scope `grant_management_revoke`: every token of it dies at once, and the person sees it.",
    (204, {"description": "It is over."}),
    openapi.refusals(_NO_GRANT),
    security=openapi.DPOP,
)
