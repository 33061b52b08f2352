"""The base of every refusal: a public sentence for whoever asked, a private detail for the log."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


class PortalError(Exception):
    """A refusal with a reason.

    `public` may be shown to anyone and never holds a person's value; `private` goes to the log only.
    `code` is the last part of the problem type (RFC 9457 section 3.1.1) and `status` the HTTP status; a machine
    gets `headers` with it.
    """

    code = "error"
    status = 400
    public = "That did not work."
    headers: Mapping[str, str] = MappingProxyType({})

    def __init__(self, public: str | None = None, *, private: str = "", pointer: str = "") -> None:
        self.public = public or type(self).public
        self.private = private
        self.pointer = pointer
        super().__init__(self.public)


class MisconfiguredError(PortalError):
    """The program cannot start as it is set up."""

    code = "misconfigured"
    status = 500
    public = "The portal is not set up correctly."


class NotFoundError(PortalError):
    """There is no such thing, or it is not for this caller: the two look the same."""

    code = "not-found"
    status = 404
    public = "There is nothing at this address."


class RefusedError(PortalError):
    """The caller is known and may not do this."""

    code = "refused"
    status = 403
    public = "You cannot do this."


class TooManyError(PortalError):
    """Something is asked for more often than it may be (RFC 6585 section 4); `wait` seconds later it may again."""

    code = "too-many-requests"
    status = 429

    def __init__(self, wait: int) -> None:
        super().__init__()
        self.headers = {"Retry-After": str(wait)}


class InvalidError(PortalError):
    """What was sent cannot be used; `pointer` (RFC 6901) or `field` says which part."""

    code = "invalid"
    status = 422
    public = "Something in it needs mending."
