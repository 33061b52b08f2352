"""Signing out where a company's own site asks for it (OpenID Connect RP-Initiated Logout 1.0).

Only an address that the client registered for this is ever led to, and only the person's own press of a button
ends anything: a link or a form from elsewhere can do no more than show the question.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlencode, urlsplit

from portal.companies import queries as companies
from portal.oauth import id_token, parameters
from portal.oauth.authorization import LinkNotGoodError
from portal.oauth.errors import InvalidRequestError
from portal.oauth.response_modes import with_query

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy.orm import Session

    from portal.companies.queries import ClientFacts

ADDRESS = "/oauth/end-session"


class SignOutLinkError(LinkNotGoodError):
    """One sentence for every cause, so that a stranger learns nothing about clients and addresses."""

    code = "sign-out-link"
    public = "This link to sign out is not complete, so nothing has changed. Use “Sign out” at the top of the page."


@dataclass(frozen=True)
class Leaving:
    """A request that passed every check; `trusted` says that somebody has checked who asks for it."""

    kept: Mapping[str, str]
    trusted: bool = False

    @property
    def target(self) -> str | None:
        """Where the person is led once they are signed out; None when it is nowhere."""
        place = self.kept.get("post_logout_redirect_uri")
        state = {"state": self.kept["state"]} if "state" in self.kept else {}
        return None if place is None else with_query(place, state)

    @property
    def host(self) -> str | None:
        """The host that `target` is on, for the person to read."""
        return urlsplit(self.target).hostname if self.target else None

    @property
    def origin(self) -> list[str]:
        """Scheme, host and port of `target`, which the page's form may end up at."""
        parts = urlsplit(self.target or "")
        return [f"{parts.scheme}://{parts.netloc}"] if parts.netloc else []

    @property
    def question(self) -> str:
        """The address of the page that asks; an ID token that came as a hint is not in it."""
        return f"{ADDRESS}?{urlencode(self.kept)}" if self.kept else ADDRESS


def read(session: Session, pairs: Sequence[tuple[str, str]], *, issuer: str) -> Leaving:
    """Return the request in `pairs`; raise `SignOutLinkError` for the first check that fails (sections 2 and 4).

    `logout_hint` and `ui_locales` are taken and not used.
    """
    sent = _once(pairs)
    named = _client_id(session, sent, issuer)
    client = None if named is None else _client(session, named)
    kept = {} if named is None else {"client_id": named}
    return Leaving(kept | _place(sent, client), trusted=client is not None and _checked(session, client))


def _once(pairs: Sequence[tuple[str, str]]) -> Mapping[str, str]:
    try:
        return parameters.once(pairs)
    except InvalidRequestError as error:
        raise SignOutLinkError(private=type(error).__name__) from error


def _client_id(session: Session, sent: Mapping[str, str], issuer: str) -> str | None:
    if "id_token_hint" not in sent:
        return sent.get("client_id")
    try:
        hint = id_token.read(session, sent["id_token_hint"], issuer=issuer)
    except id_token.HintUnreadableError as error:
        raise SignOutLinkError(private=str(error)) from error
    if sent.get("client_id", hint.client_id) != hint.client_id:
        raise SignOutLinkError(private="client_id is not the one the ID token is for")
    return hint.client_id


def _client(session: Session, client_id: str) -> ClientFacts:
    client = companies.client(session, client_id)
    if client is None or not client.active:
        raise SignOutLinkError(private="no such client, or it is suspended")
    return client


def _checked(session: Session, client: ClientFacts) -> bool:
    # Anyone can register an organisation, and with it an address to which our own would lead whoever follows a
    # link: a person decides about those (RFC 9700 section 4.11.2).
    company = companies.company(session, slug=client.company_slug)
    return company is not None and company.verified


def _place(sent: Mapping[str, str], client: ClientFacts | None) -> dict[str, str]:
    place = sent.get("post_logout_redirect_uri")
    if place is None:
        return {}
    if client is None or place not in client.metadata.post_logout_redirect_uris:
        raise SignOutLinkError(private="the address is not one the client registered for this")
    if not parameters.is_short_text(sent.get("state", "")):
        raise SignOutLinkError(private="state is too long or not visible ASCII")
    return {"post_logout_redirect_uri": place} | ({"state": sent["state"]} if "state" in sent else {})
