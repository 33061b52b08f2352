"""Which addresses the program may call: every URL a company supplies passes here, at each use.

`is_global` alone is not enough: Azure's wire server, Oracle's metadata, 6to4 relays, IPv4-compatible and translated
IPv6 pass it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Network, ip_address
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit

from portal.errors import InvalidError

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from ipaddress import IPv6Address
    from urllib.parse import SplitResult

# What is said of a text alone does not change: remembering it makes a check at each use cheap.
_REMEMBERED = 16_384
_LONGEST_URL = 2048
_LONGEST_NAME = 253
_PORTS = {443, 8443}
_LABEL = r"(?!-)[a-z0-9-]{1,63}(?<!-)"
_NAME = re.compile(
    rf"(?:{_LABEL}\.)+(?!xn--$)(?:[a-z]{{2,63}}|xn--[a-z0-9-]{{1,59}}[a-z0-9])", re.IGNORECASE | re.ASCII
)
_PLAIN = re.compile(r"[!#-;=?-\[\]_a-z~$&%]+", re.IGNORECASE | re.ASCII)
# Azure's wire server; IETF protocol assignments (Oracle's metadata, global to Python before 3.11.9); 6to4 relays.
_REFUSED_V4 = tuple(
    IPv4Network(network)
    for network in ("168.63.129.16/32", "192.0.0.0/24", "192.88.99.0/24", "224.0.0.0/4", "240.0.0.0/4")
)
_UNICAST_V6 = IPv6Network("2000::/3")
# Teredo, 6to4, documentation and benchmarking: routes to somewhere else than they seem to.
_REFUSED_V6 = tuple(
    IPv6Network(network) for network in ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20", "5f00::/16")
)


class UnsafeAddressError(InvalidError):
    """The address may not be called; the public sentence says which rule it breaks."""

    code = "unsafe-address"
    public = "This address cannot be used."


class UnknownNameError(UnsafeAddressError):
    public = "No computer answers to this name."


class Resolver(Protocol):
    def __call__(self, host: str, port: int, /) -> Sequence[str]:
        """Return every address of `host`, as text; raise `OSError` when there is none."""


@dataclass(frozen=True)
class Target:
    """A checked place to connect to: the name for TLS and `Host`, the addresses for the socket, in turn.

    `path` is what to ask for there (RFC 9112 section 3.2.1).
    """

    tls: bool
    host: str
    port: int
    addresses: tuple[str, ...]
    path: str

    @property
    def address(self) -> str:
        return self.addresses[0]

    @property
    def place(self) -> tuple[bool, str, int]:
        """What a line must have in common with this target to serve it, besides the address."""
        return self.tls, self.host, self.port

    @property
    def host_header(self) -> str:
        name = f"[{self.host}]" if ":" in self.host else self.host
        return name if self.port == (443 if self.tls else 80) else f"{name}:{self.port}"


def check(url: str, *, allow: Collection[str], resolve: Resolver) -> Target:
    """Return where `url` leads; raise `UnsafeAddressError` unless it is https to public addresses only.

    A `host:port` in `allow` is exempt from the rules on scheme, name and address.
    """
    parts, port = check_form(url, allow=allow)
    host = parts.hostname or ""
    try:
        answers = list(resolve(host, port))
    except (OSError, UnicodeError) as error:
        raise UnknownNameError(private=type(error).__name__) from error
    if not answers:
        raise UnknownNameError
    if f"{host}:{port}" not in allow and not all(is_public(answer) for answer in answers):
        raise UnsafeAddressError("This name leads to a private or reserved address.")
    addresses = tuple(dict.fromkeys(answers))
    path = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
    return Target(tls=parts.scheme == "https", host=host, port=port, addresses=addresses, path=path)


def check_form(url: str, *, allow: Collection[str]) -> tuple[SplitResult, int]:
    """Return the parts and the port; raise `UnsafeAddressError` for a URL whose form alone rules it out."""
    parts, port = _parts(url)
    if parts.scheme not in {"http", "https"} or f"{parts.hostname}:{port}" not in allow:
        _check_public_form(parts, port)
    return parts, port


@lru_cache(_REMEMBERED)
def _parts(url: str) -> tuple[SplitResult, int]:
    if len(url) > _LONGEST_URL or not _PLAIN.fullmatch(url):
        raise UnsafeAddressError("The address holds characters that do not belong in one, or is too long.")
    try:
        parts = urlsplit(url)
        port = parts.port if parts.port is not None else 443 if parts.scheme == "https" else 80
    except ValueError as error:
        raise UnsafeAddressError("The address is not well formed.") from error
    if parts.username is not None or parts.password is not None or parts.fragment:
        raise UnsafeAddressError("The address must have neither a user name, a password nor a fragment.")
    return parts, port


@lru_cache(_REMEMBERED)
def _check_public_form(parts: SplitResult, port: int) -> None:
    if parts.scheme != "https":
        raise UnsafeAddressError("The address must begin with https://.")
    host = parts.hostname or ""
    if len(host) > _LONGEST_NAME or not _NAME.fullmatch(host):
        raise UnsafeAddressError("The address needs a full domain name, not a number or a short name.")
    if port not in _PORTS:
        raise UnsafeAddressError("The port must be 443 or 8443.")


@lru_cache(_REMEMBERED)
def is_public(address: str) -> bool:
    """Say whether `address` is a public unicast address and nothing that leads elsewhere."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return False
    if isinstance(parsed, IPv4Address):
        return parsed.is_global and not any(parsed in network for network in _REFUSED_V4)
    return _is_public_v6(parsed)


def _is_public_v6(address: IPv6Address) -> bool:
    inside = address in _UNICAST_V6 and address.is_global and not address.scope_id
    return inside and not any(address in network for network in _REFUSED_V6)
