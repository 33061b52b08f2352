"""How the answer travels back: in the query, or in the query as one signed token (JARM).

JARM is "JWT Secured Authorization Response Mode for OAuth 2.0" Final; FAPI 2.0 Message Signing section 5.4 asks for
it.  A client that registered `authorization_signed_response_alg` is always answered so: what may also be left
out protects nobody.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode, urlsplit

from portal.oauth.errors import InvalidRequestError
from portal.vault import signing

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from sqlalchemy.orm import Session

    from portal.companies.metadata import ClientMetadata
    from portal.oauth.models import PushedRequest
    from portal.vault.keyring import Keyring

QUERY: Final = "query"
JWT: Final = "jwt"
# With response_type=code both names of the signed mode mean the same (JARM section 2.3.4).
SUPPORTED: Final = (QUERY, "query.jwt", JWT)
LIFE: Final = timedelta(minutes=10)


class ResponseModeError(InvalidRequestError):
    """What the browser would carry in a fragment or a form of its own is not answered that way."""

    public = "response_mode must be query, query.jwt or jwt."


class SignedResponseRequiredError(InvalidRequestError):
    public = "This client registered signed authorization responses: response_mode must be jwt."


def chosen(sent: Mapping[str, str], metadata: ClientMetadata) -> str:
    """Return `query` or `jwt` for a request; raise when it names another mode or would do without the signature."""
    always = metadata.authorization_signed_response_alg is not None
    named = sent.get("response_mode", JWT if always else QUERY)
    if named not in SUPPORTED:
        raise ResponseModeError
    if named == QUERY and always:
        raise SignedResponseRequiredError
    return QUERY if named == QUERY else JWT


def address(
    session: Session, pushed: PushedRequest, *, keyring: Keyring, issuer: str, outcome: Mapping[str, str], now: datetime
) -> str:
    """Return the client's address with the answer in its query: `outcome`, `state`, and `iss` (RFC 9207)."""
    answer: dict[str, Any] = dict(outcome)
    if pushed.parameters["state"] is not None:
        answer["state"] = pushed.parameters["state"]
    answer["iss"] = issuer
    if pushed.parameters["response_mode"] == JWT:
        answer |= {"aud": pushed.client_id, "exp": int((now + LIFE).timestamp())}
        answer = {"response": signing.current(session, keyring=keyring).sign(answer, typ="JWT")}
    return with_query(pushed.parameters["redirect_uri"], answer)


def with_query(target: str, parameters: Mapping[str, str]) -> str:
    """Return `target` with `parameters` behind the query it was registered with."""
    if not parameters:
        return target
    return target + ("&" if urlsplit(target).query else "?") + urlencode(parameters)
