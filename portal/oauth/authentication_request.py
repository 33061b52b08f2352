"""What a client asks about the sign-in itself (OpenID Connect Core section 3.1.2.1).

`login_hint`, `display`, `ui_locales`, `claims_locales` and `claims` are taken and not used: a hint may be somebody's
e-mail address and is therefore not even kept, and what is disclosed follows from the consent alone.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import TYPE_CHECKING, Any, Final

from portal.identity import levels
from portal.oauth import id_token, parameters
from portal.oauth.errors import InvalidRequestError, RegistrationNotSupportedError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy.orm import Session

    from portal.companies.queries import ClientFacts

PROMPTS: Final = ("none", "login", "consent", "select_account")
_NONE = "none"
_AGAIN = frozenset({"login", "select_account"})
_LONGEST_AGE = 999_999_999
_SECONDS = re.compile(r"[0-9]{1,9}", re.ASCII)


class PromptError(InvalidRequestError):
    public = "prompt must be none alone, or any of login, consent and select_account."


class MaxAgeError(InvalidRequestError):
    public = "max_age must be a number of seconds."


class HintError(InvalidRequestError):
    public = "id_token_hint must be an ID token of this issuer for this client."


class Lacking(Enum):
    """What is still missing before the person can be asked."""

    SIGN_IN = "sign-in"
    ANOTHER_PERSON = "another person"
    SECOND_PROOF = "second proof"


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """`oldest` is the earliest sign-in that will do, None for any; `sub` whom the client means, if it said so."""

    pushed_at: datetime
    prompts: frozenset[str]
    oldest: datetime | None
    level: int | None
    sub: str | None

    @property
    def silent(self) -> bool:
        """Whether no page may be shown."""
        return _NONE in self.prompts

    @property
    def asks_in_full(self) -> bool:
        """Whether the whole consent screen is wanted, also for what is shared already."""
        return "consent" in self.prompts

    def lacking(self, *, authenticated_at: datetime, level: int, sub: str | None) -> Lacking | None:
        """Return what whoever is signed in, known to the client as `sub`, does not fulfil."""
        if self.oldest is not None and authenticated_at < self.oldest:
            return Lacking.SIGN_IN
        if self.sub not in (None, sub):
            # Who signed in for this very request and is somebody else will not become the other by asking again.
            return Lacking.SIGN_IN if authenticated_at < self.pushed_at else Lacking.ANOTHER_PERSON
        return Lacking.SECOND_PROOF if level < (self.level or 0) else None


def read(session: Session, sent: Mapping[str, str], *, client: ClientFacts, issuer: str) -> dict[str, Any]:
    """Return what is kept of a request's wishes, as JSON; `wishes` reads it again."""
    if "registration" in sent:
        raise RegistrationNotSupportedError
    return {
        "prompt": _prompts(sent),
        "max_age": _max_age(sent, client),
        "level": _level(sent),
        "sub": _hinted(session, sent, client, issuer),
    }


def wishes(kept: Mapping[str, Any], *, pushed_at: datetime) -> Wishes:
    """Return the wishes of a request that was pushed at `pushed_at`."""
    prompts = frozenset(kept["prompt"])
    return Wishes(
        pushed_at=pushed_at,
        prompts=prompts,
        oldest=pushed_at if prompts & _AGAIN else _oldest(kept["max_age"], pushed_at),
        level=kept["level"],
        sub=kept["sub"],
    )


def _oldest(max_age: int | None, pushed_at: datetime) -> datetime | None:
    # Counted back from the request, so that a sign-in made for it is always young enough and nobody goes in circles.
    return None if max_age is None else pushed_at - timedelta(seconds=min(max_age, _LONGEST_AGE))


def _prompts(sent: Mapping[str, str]) -> list[str]:
    found = set(parameters.scopes(sent.get("prompt", "")))
    if not found <= set(PROMPTS) or (_NONE in found and len(found) > 1):
        raise PromptError
    return sorted(found)


def _max_age(sent: Mapping[str, str], client: ClientFacts) -> int | None:
    if "max_age" not in sent:
        return client.metadata.default_max_age
    if not _SECONDS.fullmatch(sent["max_age"]):
        raise MaxAgeError
    return int(sent["max_age"])


def _level(sent: Mapping[str, str]) -> int | None:
    # In order of preference, and voluntary: values that are not ours say nothing here.
    known = (levels.level_of(value) for value in parameters.scopes(sent.get("acr_values", "")))
    return next((level for level in known if level is not None), None)


def _hinted(session: Session, sent: Mapping[str, str], client: ClientFacts, issuer: str) -> str | None:
    if "id_token_hint" not in sent:
        return None
    try:
        hint = id_token.read(session, sent["id_token_hint"], issuer=issuer)
    except id_token.HintUnreadableError as error:
        raise HintError(private=str(error)) from error
    if hint.client_id != client.client_id:
        raise HintError(private="the ID token is for another client")
    return hint.sub
