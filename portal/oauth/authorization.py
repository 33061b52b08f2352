"""The authorization endpoint's part without pages: a pushed request is opened, answered once, and leads back.

Where the request cannot be trusted, nobody is redirected anywhere: the person reads a page of ours.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qs, urlsplit

from sqlalchemy import select, update

from portal.companies import queries as companies
from portal.errors import PortalError
from portal.oauth import authentication_request, tokens
from portal.oauth.models import PushedRequest
from portal.oauth.par import LIFE

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy.orm import Session

    from portal.companies.queries import ClientFacts
    from portal.oauth.authentication_request import Wishes

ADDRESS: Final = "/oauth/authorize"
ANSWER_WITHIN: Final = timedelta(minutes=10)


class LinkNotGoodError(PortalError):
    """One sentence for every cause, so that a stranger learns nothing about clients and requests."""

    code = "request-not-found"
    public = "This link is not complete or no longer works. Go back to the organisation’s own site and start again."


class ParameterRepeatedError(LinkNotGoodError):
    pass


class RequestUnknownError(LinkNotGoodError):
    pass


class RequestExpiredError(LinkNotGoodError):
    pass


class RequestAnsweredError(LinkNotGoodError):
    code = "request-answered"
    status = 410
    public = "You have answered this request already. Look at Sharing to see what holds."


class ClientChangedError(LinkNotGoodError):
    pass


def opened(
    session: Session, *, client_ids: list[str], request_uris: list[str], now: datetime
) -> tuple[PushedRequest, ClientFacts]:
    """Return the pushed request and its client; it may be opened again until it is answered."""
    _check_once(client_ids, request_uris)
    pushed = _find(session, client_ids[0], request_uris[0])
    _check_unanswered(pushed)
    _check_age(pushed, now)
    client = _client(session, pushed)
    if pushed.opened_at is None:
        # Sixty seconds to arrive, then ten minutes to sign in, read and answer.
        pushed.opened_at = now
    return pushed, client


def answer(session: Session, pushed: PushedRequest, *, now: datetime) -> None:
    """Use the request up; raise `RequestAnsweredError` when another answer came first."""
    unused = (PushedRequest.uri_hash == pushed.uri_hash, PushedRequest.used_at.is_(None))
    statement = update(PushedRequest).where(*unused).values(used_at=now)
    statement = statement.execution_options(synchronize_session=False)
    if session.scalar(statement.returning(PushedRequest.uri_hash)) is None:
        raise RequestAnsweredError


def wishes(pushed: PushedRequest) -> Wishes:
    """Return what the client asked about the sign-in and the pages."""
    return authentication_request.wishes(pushed.parameters, pushed_at=pushed_at(pushed))


def pushed_at(pushed: PushedRequest) -> datetime:
    """Return when the client asked."""
    return pushed.expires_at - LIFE


def origins(pushed: PushedRequest) -> list[str]:
    """Return scheme, host and port of the address the answer goes to, as Content-Security-Policy takes them."""
    parts = urlsplit(pushed.parameters["redirect_uri"])
    return [f"{parts.scheme}://{parts.netloc}"]


def origins_behind(session: Session, address: str, *, now: datetime) -> list[str]:
    """Return the same for the request that an address of this endpoint names; nothing where it leads nowhere."""
    sent = parse_qs(urlsplit(address).query)
    try:
        pushed, _client = opened(
            session, client_ids=sent.get("client_id", []), request_uris=sent.get("request_uri", []), now=now
        )
    except LinkNotGoodError:
        return []
    return origins(pushed)


def _check_once(client_ids: list[str], request_uris: list[str]) -> None:
    if len(client_ids) != 1 or len(request_uris) != 1:
        raise ParameterRepeatedError(private="client_id or request_uri is missing or repeated")


def _find(session: Session, client_id: str, request_uri: str) -> PushedRequest:
    found = session.scalar(select(PushedRequest).where(PushedRequest.uri_hash == tokens.hash_of(request_uri)))
    if found is None or found.client_id != client_id:
        raise RequestUnknownError(private="no such request of this client")
    return found


def _check_unanswered(pushed: PushedRequest) -> None:
    if pushed.used_at is not None:
        raise RequestAnsweredError


def _check_age(pushed: PushedRequest, now: datetime) -> None:
    latest = pushed.expires_at if pushed.opened_at is None else pushed.opened_at + ANSWER_WITHIN
    if latest <= now:
        raise RequestExpiredError(private="the request is too old")


def _client(session: Session, pushed: PushedRequest) -> ClientFacts:
    # What was right when it was pushed may have been taken away since.
    client = companies.client(session, pushed.client_id)
    if client is None or not client.active or pushed.parameters["redirect_uri"] not in client.redirect_uris:
        raise ClientChangedError(private="the client is suspended or no longer has this redirect_uri")
    return client
