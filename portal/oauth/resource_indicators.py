"""Resource indicators (RFC 8707): there is one protected resource, the API, and a token is for nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from portal.oauth.errors import InvalidTargetError

if TYPE_CHECKING:
    from collections.abc import Mapping


def api_of(issuer: str) -> str:
    """Return the identifier of the API, as its metadata (RFC 9728) names it."""
    return f"{issuer}/api/v1"


def check(parameters: Mapping[str, str], issuer: str) -> None:
    """Raise `InvalidTargetError` when `resource` names anything but the API."""
    if parameters.get("resource", api_of(issuer)) != api_of(issuer):
        raise InvalidTargetError
