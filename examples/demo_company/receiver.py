"""Receiving what the portal pushes (RFC 8935), and reading what it answers to a pull: the same message.

Before anything is believed: the type, the algorithm, the signature by a key the portal publishes, who it is from and
whom it is for.  Only then is it opened, and kept once.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any, Protocol

from flask import Blueprint, Response, request
from joserfc import jws
from joserfc.errors import JoseError

import envelope
from store import Consent, Erasure, Message, Profile

if TYPE_CHECKING:
    from collections.abc import Callable

    from joserfc.jwk import ECKey

    from store import Store

PROFILE = "urn:ucm:event:profile"
CONFIRMED = "urn:ucm:event:confirmed"
CONSENT = "urn:ucm:event:consent"
ERASURE = "urn:ucm:event:erasure-requested"
ABOUT_A_PERSON = frozenset({PROFILE, CONFIRMED, CONSENT, ERASURE})
VERIFICATION = "https://schemas.openid.net/secevent/ssf/event-type/verification"
ABOUT_THE_STREAM = {
    "https://schemas.openid.net/secevent/ssf/event-type/stream-updated",
    "urn:ucm:event:keys-changed",
}
MEDIA_TYPE = "application/secevent+jwt"
_LARGEST = 256 * 1024
_FROM_THE_FUTURE = 300


class RefusedError(Exception):
    """The message is not taken; `err` is one of RFC 8935 section 2.4's codes."""

    def __init__(self, err: str, description: str) -> None:
        self.err, self.description = err, description
        super().__init__(f"{err}: {description}")


class Sender(Protocol):
    """The portal, as far as a receiver must know it."""

    client_id: str

    @property
    def issuer(self) -> str: ...

    def signing_key(self, kid: str) -> ECKey | None: ...


class Receiver:
    """Verifies, opens and keeps messages."""

    def __init__(self, sender: Sender, store: Store, key: ECKey, *, kept: Callable[[], None] = lambda: None) -> None:
        """`kept` is called whenever a message has been stored."""
        self._sender, self._store, self._key, self._kept = sender, store, key, kept
        # Called with a person of whom there is something new to fetch: a notice names it and holds no value.
        self.on_notice: Callable[[str], None] = lambda _sub: None

    def take(self, message: str, *, how: str, about: str = "") -> dict[str, str]:
        """Take one message that was `pushed` or `asked`; return what to say to it, raise `RefusedError`.

        `about` is the person who was asked for: an answer about anybody else is refused.
        """
        claims = self.verify(message)
        happened = _events(claims)
        if VERIFICATION in happened:
            return {"state": str(happened[VERIFICATION].get("state", ""))}
        if ABOUT_THE_STREAM & happened.keys():
            # Keys are read anew when a message names one that is not known; of the rest there is nothing to keep.
            return {}
        sub = _subject(claims, self._sender.issuer)
        if about and about != sub:
            raise RefusedError("invalid_request", "This is about somebody else.")
        if not ABOUT_A_PERSON & happened.keys():
            raise RefusedError("invalid_request", "This kind of event is not known here.")
        if not isinstance(claims.get("logged_by"), int):
            # With the promise a message that is in no log is proof of it; without one it could be denied.
            raise RefusedError("invalid_request", "The message does not promise to be in the log.")
        profile = happened.get(PROFILE)
        thin = profile is not None and profile.get("thin") is True
        self._store.keep(
            Message(
                jti=claims["jti"],
                issued=claims["iat"],
                sub=sub,
                how=how,
                consent=_consent(happened[CONSENT]) if CONSENT in happened else None,
                profile=None if profile is None or thin else self._profile(profile),
                confirmed=_confirmed(happened.get(CONFIRMED, {})),
                erasure=_erasure(happened[ERASURE]) if ERASURE in happened else None,
                thin=thin,
            ),
            now=time.time(),
        )
        self._kept()
        if thin:
            self.on_notice(sub)
        return {}

    def verify(self, message: str) -> dict[str, Any]:
        """Return the claims of a genuine message for this company; raise `RefusedError` for any other."""
        header = _header(message)
        if header.get("typ") != "secevent+jwt" or header.get("alg") != "ES256":
            raise RefusedError("invalid_request", "The message must be a Security Event Token signed with ES256.")
        key = self._sender.signing_key(str(header.get("kid", "")))
        if key is None:
            raise RefusedError("invalid_key", "The portal does not publish this key.")
        try:
            # The algorithm is named here, never taken from the message: `none` and the like cannot pass.
            signed = jws.deserialize_compact(message, key, algorithms=["ES256"])
            claims = json.loads(signed.payload)
        except (JoseError, ValueError) as error:
            raise RefusedError("authentication_failed", "The signature is not good.") from error
        return self._addressed(claims)

    def _addressed(self, claims: object) -> dict[str, Any]:
        if not isinstance(claims, dict) or not isinstance(claims.get("jti"), str):
            raise RefusedError("invalid_request", "The message has no identifier.")
        if claims.get("iss") != self._sender.issuer:
            raise RefusedError("invalid_issuer", "The message is from somebody else.")
        if self._sender.client_id not in _audience(claims):
            raise RefusedError("invalid_audience", "The message is for somebody else.")
        issued = claims.get("iat")
        if not isinstance(issued, int) or issued > time.time() + _FROM_THE_FUTURE:
            raise RefusedError("invalid_request", "The time of the message cannot be right.")
        return claims

    def _profile(self, content: dict[str, Any]) -> Profile:
        try:
            return Profile(
                grant_id=str(content["grant_id"]),
                sequence=int(content["sequence"]),
                complete=content.get("complete") is True,
                details=envelope.open_details(content, self._key),
            )
        except envelope.UnreadableError as error:
            raise RefusedError("invalid_key", "A detail cannot be opened with our key.") from error
        except (KeyError, TypeError, ValueError) as error:
            raise RefusedError("invalid_request", "The profile event is incomplete.") from error


def events(receiver: Receiver) -> Blueprint:
    """The endpoint to register with the portal: POST /events."""
    pages = Blueprint("events", __name__)

    @pages.post("/events")
    def take() -> Response:
        try:
            answer = receiver.take(_message(), how="pushed")
        except RefusedError as error:
            return _answer(400, {"err": error.err, "description": error.description})
        # The portal's challenge is repeated to it; every other message is taken without a word.
        return _answer(200, answer) if answer else Response(status=202)

    return pages


def _answer(status: int, body: dict[str, str]) -> Response:
    answer = Response(json.dumps(body), status=status, mimetype="application/json")
    answer.headers["Content-Language"] = "en"
    return answer


def _message() -> str:
    body = request.get_data(cache=False)
    if request.mimetype != MEDIA_TYPE or len(body) > _LARGEST or not body.isascii():
        raise RefusedError("invalid_request", f"Send one {MEDIA_TYPE} of at most 256 KiB.")
    return body.decode("ascii")


def _header(message: str) -> dict[str, Any]:
    try:
        return dict(jws.extract_compact(message.encode()).headers())
    except (JoseError, ValueError, TypeError) as error:
        raise RefusedError("invalid_request", "This is not a signed message.") from error


def _audience(claims: dict[str, Any]) -> list[Any]:
    audience = claims.get("aud")
    return audience if isinstance(audience, list) else [audience]


def _events(claims: dict[str, Any]) -> dict[str, dict[str, Any]]:
    happened = claims.get("events")
    if not isinstance(happened, dict) or not all(isinstance(content, dict) for content in happened.values()):
        raise RefusedError("invalid_request", "The message must say what happened.")
    return happened


def _subject(claims: dict[str, Any], issuer: str) -> str:
    subject = claims.get("sub_id")
    if not isinstance(subject, dict) or subject.get("format") != "iss_sub" or subject.get("iss") != issuer:
        raise RefusedError("invalid_request", "The message does not say whom it is about.")
    return str(subject.get("sub", ""))


def _confirmed(content: dict[str, Any]) -> dict[str, tuple[int, str]]:
    try:
        marks = content.get("attributes", {}).items()
        return {str(name): (int(mark["version"]), str(mark["confirmed_at"])) for name, mark in marks}
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise RefusedError("invalid_request", "The confirmed event is incomplete.") from error


def _erasure(content: dict[str, Any]) -> Erasure:
    try:
        return Erasure(
            grant_id=str(content["grant_id"]),
            requested_at=str(content["requested_at"]),
            delete_by=str(content["delete_by"]),
        )
    except KeyError as error:
        raise RefusedError("invalid_request", "The erasure event is incomplete.") from error


def _consent(content: dict[str, Any]) -> Consent:
    try:
        return Consent(
            grant_id=str(content["grant_id"]),
            state=str(content["state"]),
            version=int(content["version"]),
            attributes=frozenset(map(str, content.get("attributes", ()))),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise RefusedError("invalid_request", "The consent event is incomplete.") from error
