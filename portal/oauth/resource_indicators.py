"""Resource indicators (RFC 8707): there is one protected resource, the API, and a token is for nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from portal.oauth.errors import InvalidTargetError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

NAME: Final = "resource"
# No parameter can hold it, so what was joined comes apart again as it was sent.
_BETWEEN = "\0"


def api_of(issuer: str) -> str:
    """Return the identifier of the API, as its metadata (RFC 9728) names it."""
    return f"{issuer}/api/v1"


def joined(values: Sequence[str]) -> str:
    """Return all of a request's `resource` values as the one that `check` takes (section 2 lets them repeat)."""
    return _BETWEEN.join(values)


def check(parameters: Mapping[str, str], issuer: str) -> None:
    """Raise `InvalidTargetError` when `resource`, each time it is there, names anything but the API."""
    if NAME in parameters and set(parameters[NAME].split(_BETWEEN)) != {api_of(issuer)}:
        raise InvalidTargetError
