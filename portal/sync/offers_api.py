"""Offers of less, answered by the company over HTTP: what waits is in the list of grants as `countered`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from apiflask import APIBlueprint
from flask import Response, g

from portal.consent import counters
from portal.oauth.protection import token_required
from portal.sync.own_grants import MANAGE
from portal.web import context, openapi

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

    from portal.consent.models import Grant

api = APIBlueprint("offers_api", __name__, url_prefix="/api/v1", tag="Grants")
_REFUSALS: Final[dict[int | str, Any]] = openapi.refusals(
    {
        404: "No grant of yours has this id.",
        409: "The offer was settled or has lapsed, your purpose has changed, or the person froze all sharing.",
    }
)


@api.post("/grants/<uuid:grant_id>/acceptance")
@token_required(MANAGE)
@api.doc(
    summary="Accept an offer of less",
    description="Sharing begins, as the person offered it: `attributes`, `mode` and `expires_at` of the grant.",
    responses={204: {"description": "Sharing has begun."}, **_REFUSALS},
    security=openapi.DPOP,
)
def accept(grant_id: UUID) -> Response:
    return _answer(counters.accept, grant_id)


@api.post("/grants/<uuid:grant_id>/refusal")
@token_required(MANAGE)
@api.doc(
    summary="Decline an offer of less",
    description="Nothing was shared, and nothing is. The person reads that you declined.",
    responses={204: {"description": "The offer is closed."}, **_REFUSALS},
    security=openapi.DPOP,
)
def decline(grant_id: UUID) -> Response:
    return _answer(counters.decline, grant_id)


def _answer(act: Callable[..., Grant], grant_id: UUID) -> Response:
    act(context.session(), client_id=g.token.client_id, grant_id=grant_id, now=context.now())
    return Response(status=204, headers={"Cache-Control": "no-store"})
