"""The shape of each event that a company is told of a person, as JSON Schema 2020-12 for the OpenAPI document."""

from __future__ import annotations

from typing import Any, Final

from portal.sync import messages

_Schema = dict[str, Any]
_NAME: Final = {"type": "string", "description": "An attribute of the catalogue, such as `address.home`."}
_MOMENT: Final = {"type": "string", "format": "date-time"}
_GRANT: Final = {"type": "string", "format": "uuid", "description": "The consent it is under."}
_PURPOSE: Final = {"type": "string", "description": "The code of your purpose."}
_SEQUENCE: Final = {"type": "integer", "minimum": 1, "description": "The person's record as a whole: higher is newer."}
_VERSION: Final = {"type": "integer", "minimum": 1}
_JWE: Final = {"type": "string", "description": "A compact JWE (RFC 7516)."}
_SAID: Final = {"anyOf": [_MOMENT, {"type": "null"}], "description": "When the person last said that it is right."}


def _object(properties: _Schema, *, optional: tuple[str, ...] = (), words: str = "") -> _Schema:
    required = [name for name in properties if name not in optional]
    return {
        "type": "object", "description": words, "properties": properties, "required": required,
        "additionalProperties": False,
    }  # fmt: skip


def _by_name(properties: _Schema) -> _Schema:
    return {"type": "object", "propertyNames": _NAME, "additionalProperties": _object(properties), "minProperties": 1}


_VALUE: Final = {
    "version": _VERSION, "changed_at": _MOMENT, "confirmed_at": _SAID, "verification": {"type": "string"},
    "value": _JWE,
}  # fmt: skip
_MARK: Final = {"version": _VERSION, "changed_at": _MOMENT, "confirmed_at": _SAID}
_COMMON: Final = {"grant_id": _GRANT, "purpose": _PURPOSE, "sequence": _SEQUENCE}
_FULL: Final = _object(
    {
        **_COMMON, "complete": {"type": "boolean"}, "attributes": _by_name(_VALUE), "keys": _JWE,
        "group_keys": {"type": "object", "additionalProperties": _JWE},
    },
    optional=("keys", "group_keys"),
    words="Details with their values.",
)  # fmt: skip
_THIN: Final = _object(
    {**_COMMON, "complete": {"type": "boolean"}, "thin": {"const": True}, "attributes": _by_name(_MARK)},
    words="Details that you may fetch.",
)
_CONSENT: Final = _object(
    {
        "grant_id": _GRANT,
        "state": {"enum": ["active", "paused", "withdrawn", "ended", "expired", "invalidated"]},
        "change": {"enum": ["given", "changed", "resumed", "paused", "stopped", "ended", "expired"]},
        "version": _VERSION,
        "attributes": {"type": "array", "items": _NAME, "uniqueItems": True},
        "mode": {"enum": ["kept-up-to-date", "asked", "once"]},
        "expires_at": _MOMENT,
    },
    optional=("mode", "expires_at"),
    words="What is true of a consent, and what that is to you.",
)
_CONFIRMED: Final = _object(
    {**_COMMON, "attributes": _by_name({"version": _VERSION, "confirmed_at": _MOMENT})},
    words="Details that you have and that are still right.",
)
_ERASURE: Final = _object(
    {
        "grant_id": _GRANT,
        "attributes": {"type": "array", "items": _NAME, "uniqueItems": True, "minItems": 1},
        "requested_at": _MOMENT,
        "delete_by": _MOMENT,
    },
    words="A wish that what you hold be deleted.",
)
SCHEMAS: Final[dict[str, _Schema]] = {
    messages.PROFILE: {"oneOf": [_FULL, _THIN]},
    messages.CONFIRMED: _CONFIRMED,
    messages.CONSENT: _CONSENT,
    messages.ERASURE: _ERASURE,
}


def webhook() -> _Schema:
    """Return the OpenAPI Path Item of what is posted to a company's endpoint: the token, and the claims it holds."""
    claims = {
        "iss": {"type": "string"}, "aud": {"type": "string"}, "iat": {"type": "integer"}, "jti": {"type": "string"},
        "sub_id": {"type": "object"},
        "events": {"type": "object", "properties": SCHEMAS, "additionalProperties": {"type": "object"}},
    }  # fmt: skip
    token = {
        "type": "string",
        "contentMediaType": messages.MEDIA_TYPE,
        "contentSchema": {"type": "object", "properties": claims, "required": sorted(claims)},
    }
    return {
        "post": {
            "operationId": "told",
            "summary": "A message about one person (RFC 8417, RFC 8935)",
            "requestBody": {"required": True, "content": {messages.MEDIA_TYPE: {"schema": token}}},
            "responses": {"202": {"description": "You have stored it."}},
        }
    }
