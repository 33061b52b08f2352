"""The Authorization header that a company wants its pushes to carry: wrapped at rest, sent, never shown again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from portal.vault.keyring import SESSION

if TYPE_CHECKING:
    from portal.sync.models import Stream
    from portal.vault.keyring import Keyring

_ABOUT = b"push-authorization:"


def wrap(keyring: Keyring, *, client_id: str, header: str) -> tuple[int, bytes]:
    """Return what the columns `authorization_version` and `wrapped_authorization` of the client's stream keep."""
    return keyring.wrap(SESSION, header.encode(), context=_ABOUT + client_id.encode())


def of_stream(keyring: Keyring, stream: Stream) -> str | None:
    """Return the header that a client's pushes carry; raises as `unwrap` does."""
    return unwrap(
        keyring, client_id=stream.client_id, version=stream.authorization_version, wrapped=stream.wrapped_authorization
    )


def unwrap(keyring: Keyring, *, client_id: str, version: int | None, wrapped: bytes | None) -> str | None:
    """Return the header of these columns; None where the client asked for none.  Raises `SealBrokenError`."""
    if version is None or wrapped is None:
        return None
    return keyring.unwrap(SESSION, version, wrapped, context=_ABOUT + client_id.encode()).decode()
