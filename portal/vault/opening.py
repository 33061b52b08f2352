"""Opening what was sealed to a company, by a key of one's own in its place: for whoever reads what is sent of them.

The vault's own sealing is assembled by hand (`envelope`); this opens it by joserfc, as a company does.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from joserfc import jwe
from joserfc.jwk import ECKey, OctKey

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

_KID: Final = "reader"
_WRAP: Final = ("ECDH-ES+A256KW", "A256GCM")
_DIRECT: Final = ("dir", "A256GCM")


class Reader:
    """A key that is made to read one answer, and forgotten with it."""

    def __init__(self) -> None:
        self._key = ECKey.generate_key("P-256", {"kid": _KID})

    @property
    def public(self) -> dict[str, Any]:
        """The public key as a company's is named: `kid` and `jwk`."""
        return {"kid": _KID, "jwk": self._key.as_dict(private=False)}

    def open(self, values: Mapping[str, str], keys: Iterable[str]) -> dict[str, Any]:
        """Return the values that are sealed as `attribute#version`, opened by the one-time keys in `keys`.

        Both are compact JWEs, as `envelope.Envelope` has them.
        """
        known = {kid: key for sealed in keys for kid, key in self._one_time(sealed)}
        return {name: _opened(sealed, known[name], _DIRECT) for name, sealed in values.items()}

    def _one_time(self, sealed: str) -> Iterator[tuple[str, OctKey]]:
        for key in _opened(sealed, self._key, _WRAP)["keys"]:
            yield key["kid"], OctKey.import_key(key)


def _opened(sealed: str, key: ECKey | OctKey, algorithms: tuple[str, str]) -> Any:  # noqa: ANN401 - any JSON
    return json.loads(jwe.decrypt_compact(sealed, key, algorithms=list(algorithms)).plaintext or b"null")
