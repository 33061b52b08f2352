"""What a company may say of itself, its apps and its purposes: plain checks without a database."""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from email_validator import EmailNotValidError, validate_email

from portal.companies.purposes import BASES, CONSENT, MODES, PURPOSES
from portal.errors import InvalidError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

SENTENCE_LENGTH = 120
REASON_LENGTH = 160
NAME_LENGTH = 200
STOP_EFFECT_LENGTH = 200
ADDRESS_LENGTH = 2000
REDIRECTS = 10
LONGEST_DAYS = 365
RETENTION_DAYS = 3650
PULLS_A_DAY = 1000

_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
# A host lands in a Content-Security-Policy header, so nothing but letters, digits, dots and hyphens may pass.
_HOST = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?|[0-9a-f:]+")
_PRINTABLE = re.compile(r"[\x21-\x7e]+")
# First words that show that a sentence does not start with what is done.
_NOT_A_VERB = frozenset(
    {
        "a",
        "an",
        "and",
        "as",
        "because",
        "by",
        "for",
        "from",
        "he",
        "her",
        "his",
        "i",
        "in",
        "it",
        "its",
        "my",
        "of",
        "on",
        "or",
        "our",
        "she",
        "that",
        "the",
        "their",
        "they",
        "this",
        "to",
        "us",
        "we",
        "with",
        "you",
        "your",
        "details",
        "data",
        "information",
        "personal",
        "purposes",
        "reasons",
        "marketing",
    }
)
_VERBS_IN_ING = frozenset({"bring", "ring", "string", "ping"})
_COUNTRY = re.compile(r"[A-Z]{2}")
# They turn a text round or hide in it, so that one name reads as another (Unicode TR 36); the two joiners of
# category Cf are spelling in some languages.
_JOINERS = frozenset("\u200c\u200d")
_BLANK_LETTERS = frozenset("\u034f\u115f\u1160\u2800\u3164\uffa0")
# Alphabets whose capitals and small letters look like those of Latin.
_ALIKE = frozenset({"LATIN", "GREEK", "CYRILLIC", "ARMENIAN", "CHEROKEE", "COPTIC"})


class RedirectUriError(InvalidError):
    """RFC 7591 section 3.2.2."""

    code = "invalid-redirect-uri"


class DetailsError(InvalidError):
    """What a company says of itself cannot be kept."""

    code = "invalid-company"


class PurposeError(InvalidError):
    """A purpose cannot be shown to people as it stands."""

    code = "invalid-purpose"


def line(text: str, *, what: str, longest: int = NAME_LENGTH, pointer: str = "") -> str:
    """Return `text` trimmed, in Unicode NFC and on one line; raise `DetailsError` when it is empty or too long."""
    cleaned = " ".join(unicodedata.normalize("NFC", text).split())
    if not cleaned:
        raise DetailsError(f"Enter {what}.", pointer=pointer)
    if len(cleaned) > longest:
        raise DetailsError(f"Use at most {longest} characters for {what}.", pointer=pointer)
    if _unshowable(cleaned):
        raise DetailsError(f"There is a character in {what} that cannot be shown.", pointer=pointer)
    return cleaned


def name(text: str, *, what: str, pointer: str) -> str:
    """Return the name of a company as `line` does; raise `DetailsError` also when a word mixes like alphabets."""
    cleaned = line(text, what=what, pointer=pointer)
    if any(len(_alphabets(word)) > 1 for word in cleaned.split()):
        raise DetailsError(f"Write each word of {what} in one alphabet.", pointer=pointer)
    return cleaned


def _alphabets(word: str) -> set[str]:
    letters = unicodedata.normalize("NFKD", word)
    return {unicodedata.name(letter, "").partition(" ")[0] for letter in letters if letter.isalpha()} & _ALIKE


def _unshowable(text: str) -> bool:
    return any(map(_hides, text))


def _hides(character: str) -> bool:
    if character in _BLANK_LETTERS:
        return True
    return unicodedata.category(character) in {"Cc", "Cf", "Cs", "Co"} and character not in _JOINERS


def slug(*candidates: str) -> str:
    """Return the first of `candidates` that leaves something when only a-z, 0-9 and hyphens are kept."""
    for candidate in candidates:
        plain = unicodedata.normalize("NFKD", candidate).encode("ascii", "ignore").decode().lower()
        if made := re.sub(r"[^a-z0-9]+", "-", plain.replace("'", "")).strip("-")[:60].strip("-"):
            return made
    raise DetailsError("Enter a registration number with digits or Latin letters.", pointer="/registration_number")


def country(code: str) -> str:
    """Return an ISO 3166-1 alpha-2 code in capitals."""
    if not _COUNTRY.fullmatch(code.upper()):
        raise DetailsError("Choose a country.", pointer="/country")
    return code.upper()


def email(address: str, *, pointer: str = "/contact_email") -> str:
    """Return an e-mail address in its usual spelling (RFC 5321, RFC 6531)."""
    try:
        return validate_email(address, check_deliverability=False).normalized
    except EmailNotValidError:
        raise DetailsError("Enter an e-mail address, for example privacy@example.com.", pointer=pointer) from None


def stop_effect(text: str) -> str:
    """Return what happens for a person who stops; it may be left empty."""
    if not text.strip():
        return ""
    return line(text, what="what happens", longest=STOP_EFFECT_LENGTH, pointer="/stop_effect")


def web_address(address: str, *, pointer: str, error: type[InvalidError] = DetailsError) -> str:
    """Return a public https address (http on this machine); raise `error` for any other."""
    if reason := _unusable(address):
        raise error(reason, pointer=pointer)
    return address


def host(address: str) -> str:
    """Return the host of an address that `web_address` let pass, in small letters."""
    return urlsplit(address).hostname or ""


def is_local(address: str) -> bool:
    """Say whether an address leads to the machine of whoever opens it (RFC 8252 section 7.3)."""
    return host(address) in _LOOPBACK


def one_host(addresses: Iterable[str], *, pointer: str, error: type[InvalidError]) -> None:
    """Check that all addresses but those of one's own machine are on one host: people are told which it is.

    An app that could lead to several would vouch for each of them by the name of the others.
    """
    if len({host(address) for address in addresses if not is_local(address)}) > 1:
        raise error("Use one host for all addresses of an app, and another app for another host.", pointer=pointer)


def redirect_uris(addresses: object) -> list[str]:
    """Return the redirect addresses of a client (RFC 6749 section 3.1.2, RFC 9700 section 4.1), all on one host.

    Raises `RedirectUriError` with a pointer to the first one that cannot be used.
    """
    if not isinstance(addresses, list) or not addresses:
        raise RedirectUriError("Enter at least one redirect address.", pointer="/redirect_uris")
    if len(addresses) > REDIRECTS:
        raise RedirectUriError(f"Use at most {REDIRECTS} redirect addresses.", pointer="/redirect_uris")
    for position, address in enumerate(addresses):
        _check_redirect(address, seen=addresses[:position], pointer=f"/redirect_uris/{position}")
    one_host(addresses, pointer="/redirect_uris", error=RedirectUriError)
    return list(addresses)


def _check_redirect(address: object, *, seen: Sequence[object], pointer: str) -> None:
    if not isinstance(address, str):
        raise RedirectUriError("A redirect address is a text.", pointer=pointer)
    if address in seen:
        raise RedirectUriError("This redirect address is there twice.", pointer=pointer)
    if reason := _unusable(address):
        raise RedirectUriError(reason, pointer=pointer)


def _unusable(address: str) -> str:
    if not address:
        return "Enter a complete address, for example https://www.example.com/page."
    if len(address) > ADDRESS_LENGTH:
        return f"Use an address of at most {ADDRESS_LENGTH} characters."
    if not _PRINTABLE.fullmatch(address) or "\\" in address:
        return "Write the address without spaces, backslashes or letters outside ASCII."
    if "*" in address:
        return "Write the address in full, without *."
    if "#" in address:
        return "Write the address without # and what follows it."
    try:
        parts = urlsplit(address)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return "Write a complete address, for example https://www.example.com/page."
    if "@" in parts.netloc:
        return "Write the address without a user name or password."
    if not _HOST.fullmatch(host) or ".." in host or port == 0 or parts.netloc.endswith(":"):
        return "Write a complete address, for example https://www.example.com/page."
    if parts.scheme == "https" or (parts.scheme == "http" and host in _LOOPBACK):
        return ""
    return "The address must start with https:// (http:// only works on this machine, for example localhost)."


def sentence(text: str) -> str:
    """Return a purpose as it follows "so they can …": a verb first, on one line, without a full stop.

    A leading "to" or "so we can" is taken off.  Raises `PurposeError`.
    """
    cleaned = " ".join(unicodedata.normalize("NFC", text).split()).rstrip(". ")
    cleaned = re.sub(r"(?i)^(so (that )?(we|they) can|in order to|to)\s+", "", cleaned)
    if not cleaned:
        raise PurposeError("Say what you need the details for, for example “send bills to the right address”.",
                           pointer="/sentence")  # fmt: skip
    if _unshowable(cleaned):
        raise PurposeError("There is a character in it that cannot be shown.", pointer="/sentence")
    if len(cleaned) > SENTENCE_LENGTH:
        raise PurposeError(f"Use at most {SENTENCE_LENGTH} characters.", pointer="/sentence")
    first = cleaned.split()[0]
    if not _is_verb(first.lower().strip(",;:")):
        raise PurposeError("Start with what you do, for example “send bills to the right address”.",
                           pointer="/sentence")  # fmt: skip
    return cleaned if first.isupper() else cleaned[0].lower() + cleaned[1:]


def _is_verb(word: str) -> bool:
    # Only what is certainly none is refused: "we …", "the …", "marketing", "sending …".
    if word in _NOT_A_VERB or not word[:1].isalpha():
        return False
    return word in _VERBS_IN_ING or not word.endswith("ing")


def asked(
    required: Iterable[tuple[str, str]], optional: Iterable[tuple[str, str]], *, catalogue: Collection[str]
) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    """Return both lists as they are stored, `{"attribute", "reason"}` each.

    Raises `PurposeError` for an unknown attribute, one asked for twice, a missing reason, or nothing at all.
    """
    seen: set[str] = set()
    lists = [
        [_item(attribute, reason, seen=seen, catalogue=catalogue) for attribute, reason in items]
        for items in (required, optional)
    ]
    if not seen:
        raise PurposeError("Ask for at least one detail.", pointer="/required")
    return lists[0], lists[1]


def _item(attribute: str, reason: str, *, seen: set[str], catalogue: Collection[str]) -> dict[str, str]:
    if attribute not in catalogue:
        raise PurposeError("This is not a detail people can keep here.", pointer=f"/attributes/{attribute}")
    if attribute in seen:
        raise PurposeError("A detail is either needed or wished for, and once only.",
                           pointer=f"/attributes/{attribute}")  # fmt: skip
    seen.add(attribute)
    cleaned = " ".join(unicodedata.normalize("NFC", reason).split())
    if not cleaned:
        raise PurposeError("Give a reason people will understand.", pointer=f"/attributes/{attribute}")
    if _unshowable(cleaned):
        raise PurposeError(
            "There is a character in the reason that cannot be shown.", pointer=f"/attributes/{attribute}"
        )
    if len(cleaned) > REASON_LENGTH:
        raise PurposeError(f"Use at most {REASON_LENGTH} characters.", pointer=f"/attributes/{attribute}")
    return {"attribute": attribute, "reason": cleaned}


def terms(
    *,
    dpv: str,
    mode: str,
    retention_days: int,
    longest_days: int,
    pulls_a_day: int | None = None,
    lawful_basis: str = CONSENT,
) -> None:
    """Check what else a purpose states; raise `PurposeError` naming the first thing to mend."""
    if dpv not in PURPOSES:
        raise PurposeError("Choose the kind of purpose from the list.", pointer="/dpv")
    if lawful_basis not in BASES:
        raise PurposeError("Choose the lawful basis from the list.", pointer="/lawful_basis")
    if mode not in MODES:
        raise PurposeError("Choose how you use the details.", pointer="/mode")
    if not 0 <= retention_days <= RETENTION_DAYS:
        raise PurposeError(f"Enter a number of days from 0 to {RETENTION_DAYS}.", pointer="/retention_days")
    if not 1 <= longest_days <= LONGEST_DAYS:
        raise PurposeError(f"Enter a number of days from 1 to {LONGEST_DAYS}.", pointer="/longest_days")
    if pulls_a_day is not None and not 1 <= pulls_a_day <= PULLS_A_DAY:
        raise PurposeError(f"Enter a number from 1 to {PULLS_A_DAY}, or nothing.", pointer="/pulls_a_day")
