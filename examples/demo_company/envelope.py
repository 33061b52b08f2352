"""Opening what the portal sealed to this company, detail by detail.

Each value is a compact JWE of its own (`dir`, `A256GCM`) under a one-time key.  The one-time keys come once per
message, as a JWK Set inside one JWE (`ECDH-ES+A256KW`) to this company's encryption key.  Any JOSE library does.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from joserfc import jwe
from joserfc.errors import JoseError
from joserfc.jwk import KeySet, OctKey

from store import Detail

if TYPE_CHECKING:
    from collections.abc import Mapping

    from joserfc.jwk import ECKey

_KEYS_ALGORITHMS = ["ECDH-ES+A256KW", "A256GCM"]
_VALUE_ALGORITHMS = ["dir", "A256GCM"]


class UnreadableError(Exception):
    """The message cannot be opened with this company's key, or is not what its frame says."""


def open_details(profile: Mapping[str, Any], key: ECKey) -> dict[str, Detail]:
    """Return every detail of a profile event; raise `UnreadableError` when one does not open."""
    try:
        one_time = _one_time_keys(profile["keys"], key)
        return {name: _open(name, sealed, one_time) for name, sealed in profile["attributes"].items()}
    except (JoseError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise UnreadableError(type(error).__name__) from error


def _one_time_keys(sealed: str, key: ECKey) -> dict[str, OctKey]:
    opened = jwe.decrypt_compact(sealed, key, algorithms=_KEYS_ALGORITHMS)
    keys = KeySet.import_key_set(json.loads(opened.plaintext or b"")).keys
    return {str(each.kid): each for each in keys if isinstance(each, OctKey)}


def _open(name: str, sealed: Mapping[str, Any], one_time: Mapping[str, OctKey]) -> Detail:
    version = int(sealed["version"])
    kid = f"{name}#{version}"
    opened = jwe.decrypt_compact(sealed["value"], one_time[kid], algorithms=_VALUE_ALGORITHMS)
    if opened.headers().get("kid") != kid:
        # The name and version are sealed with the value, so that no one can pass one detail off as another.
        raise UnreadableError("another detail's value")
    return Detail(
        version=version,
        value=json.loads(opened.plaintext or b""),
        changed_at=sealed.get("changed_at"),
        confirmed_at=sealed.get("confirmed_at"),
        verification=sealed.get("verification"),
    )
