"""How many requests one client may make where each leaves a row behind; far above what an honest one needs."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from portal.oauth.errors import OAuthError
from portal.web import limits

if TYPE_CHECKING:
    from portal.companies.queries import ClientFacts


class TooManyRequestsError(OAuthError):
    """RFC 6585 section 4, RFC 9126 section 2.3; `wait` is in seconds."""

    code = "temporarily_unavailable"
    status = HTTPStatus.TOO_MANY_REQUESTS
    public = "This client sends too many requests. Wait as many seconds as Retry-After says."

    def __init__(self, wait: int) -> None:
        super().__init__()
        self.wait = wait


def check(endpoint: str, client: ClientFacts) -> None:
    """Count a request of an authenticated client; raise `TooManyRequestsError` when it was one too many."""
    if wait := limits.pace(endpoint, client.client_id):
        raise TooManyRequestsError(wait)
