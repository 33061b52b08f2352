"""Proof Key for Code Exchange (RFC 7636), S256 only and for every client (FAPI 2.0 section 5.3.2.2)."""

from __future__ import annotations

import hmac
import re

from authlib.oauth2.rfc7636 import create_s256_code_challenge

from portal.oauth.errors import InvalidGrantError, InvalidRequestError

_CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}", re.ASCII)
_VERIFIER = re.compile(r"[A-Za-z0-9._~-]{43,128}", re.ASCII)


class ChallengeMissingError(InvalidRequestError):
    public = "code_challenge is missing or not the base64url of a SHA-256."


class ChallengeMethodError(InvalidRequestError):
    public = "code_challenge_method must be S256."


class VerifierWrongError(InvalidGrantError):
    pass


def check_challenge(challenge: str | None, method: str | None) -> str:
    """Return the challenge (RFC 7636 section 4.2); a method left out would mean `plain`, so it is refused."""
    if method != "S256":
        raise ChallengeMethodError
    if challenge is None or not _CHALLENGE.fullmatch(challenge):
        raise ChallengeMissingError
    return challenge


def check_verifier(verifier: str | None, challenge: str) -> None:
    """Raise `VerifierWrongError` unless `verifier` is the one behind `challenge` (RFC 7636 section 4.6)."""
    if verifier is None or not _VERIFIER.fullmatch(verifier):
        raise VerifierWrongError(private="no verifier, or not one")
    if not hmac.compare_digest(create_s256_code_challenge(verifier), challenge):
        raise VerifierWrongError(private="the verifier belongs to another challenge")
