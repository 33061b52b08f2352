"""The public keys of the records of consents, every one that ever signed, for whoever checks a receipt."""

from __future__ import annotations

from typing import TYPE_CHECKING

from apiflask import APIBlueprint
from flask import jsonify, request

from portal.consent.receipts import KEYS_PATH
from portal.vault import record_keys
from portal.web import context
from portal.web.access import public

if TYPE_CHECKING:
    from flask import Response

api = APIBlueprint("record_keys", __name__)
_SECONDS = 300


@api.get(KEYS_PATH)
@api.doc(hide=True)
@public
def keys() -> Response:
    response = jsonify(record_keys.public_jwks(context.session()))
    response.headers["Cache-Control"] = f"public, max-age={_SECONDS}"
    response.add_etag()
    response.make_conditional(request)
    return response
