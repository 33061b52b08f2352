"""The attribute catalogue: every attribute once, and everything else is derived from it.

Scopes and claims (OpenID Connect Core section 5), forms, consent wording and the API's schema read this table.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType


class Format(StrEnum):
    """How a value is typed, checked and shown."""

    NAME = "name"
    TEXT = "text"
    DATE = "date"
    EMAIL = "email"
    PHONE = "phone"
    ADDRESS = "address"
    LANGUAGE = "language"
    CHANNEL = "channel"


class Sensitivity(StrEnum):
    """How much harm a disclosure can do."""

    ORDINARY = "ordinary"
    SENSITIVE = "sensitive"


class Volatility(StrEnum):
    """How often a value changes: it sets how soon a person is asked whether it is still right."""

    STATIC = "static"
    SLOW = "slow"
    FAST = "fast"


# About how many guesses, as a power of two, find the value of somebody of whom the country is known and nothing else:
# a date among a hundred years; full names by their frequency, where the common ones are tried first; phone numbers
# as a country gives them out; the households of a small country; the parts of an email address.  An estimate from
# below: what is not unlike enough to be guessed has fewer.
_BITS = MappingProxyType(
    {
        Format.CHANNEL: 2,
        Format.LANGUAGE: 5,
        Format.TEXT: 9,
        Format.DATE: 15,
        Format.NAME: 18,
        Format.ADDRESS: 21,
        Format.PHONE: 23,
        Format.EMAIL: 25,
    }
)
# Below this, comparing digests would be guessing: docs/decisions/0018-a-copy-is-compared-not-guessed.md.
_LEAST_BITS = 20


@dataclass(frozen=True, kw_only=True)
class Attribute:
    """One entry; `claim` is the OIDC claim it answers, `scope` the OIDC scope that asks for it."""

    name: str
    label: str
    group: str
    format: Format
    sensitivity: Sensitivity = Sensitivity.ORDINARY
    volatility: Volatility = Volatility.SLOW
    claim: str | None = None
    scope: str | None = None
    hint: str = ""
    autocomplete: str = "off"
    called: str = ""

    @property
    def noun(self) -> str:
        """Return what stands after "your" in a sentence, where the label alone would not."""
        return self.called or self.label.lower()

    @property
    def bits(self) -> int:
        """Return the estimate of how hard its value is to guess, in bits; it follows from the format."""
        return _BITS[self.format]

    @property
    def guessable(self) -> bool:
        """Say whether a company that may try a value now and then would find it."""
        return self.bits < _LEAST_BITS


GROUPS = ("Name and birth", "Contact", "Addresses", "Other")

_ENTRIES = (
    Attribute(
        name="name.full", label="Full name", group="Name and birth", format=Format.NAME, claim="name",
        scope="profile", hint="As you want it on letters.", autocomplete="name",
    ),
    Attribute(
        name="name.known_as", label="What should we call you?", group="Name and birth", format=Format.TEXT,
        claim="nickname", scope="profile", hint="A shorter name, if you like one.", autocomplete="nickname",
        called="short name",
    ),
    Attribute(
        name="birth.date", label="Date of birth", group="Name and birth", format=Format.DATE,
        sensitivity=Sensitivity.SENSITIVE, volatility=Volatility.STATIC, claim="birthdate", scope="profile",
        hint="For example, 27 3 1984.", autocomplete="bday",
    ),
    Attribute(
        name="email.main", label="Email address", group="Contact", format=Format.EMAIL,
        volatility=Volatility.FAST, claim="email", scope="email",
        hint="Where organisations may write to you. It need not be the one you sign in with.",
        autocomplete="email",
    ),
    Attribute(
        name="phone.mobile", label="Mobile phone number", group="Contact", format=Format.PHONE,
        volatility=Volatility.FAST, claim="phone_number", scope="phone",
        hint="Include the country code, for example +353 85 012 3456.", autocomplete="tel",
    ),
    Attribute(
        name="phone.home", label="Home phone number", group="Contact", format=Format.PHONE,
        volatility=Volatility.FAST, hint="Include the country code.", autocomplete="home tel",
    ),
    Attribute(
        name="address.home", label="Home address", group="Addresses", format=Format.ADDRESS,
        volatility=Volatility.FAST, claim="address", scope="address", autocomplete="home",
    ),
    Attribute(
        name="address.post", label="Postal address", group="Addresses", format=Format.ADDRESS,
        volatility=Volatility.FAST, hint="If letters should go somewhere else than home.",
        autocomplete="shipping",
    ),
    Attribute(
        name="language.preferred", label="Preferred language", group="Other", format=Format.LANGUAGE,
        claim="locale", scope="profile", autocomplete="language",
    ),
    Attribute(
        name="contact.channel", label="How you like to be contacted", group="Other", format=Format.CHANNEL,
        called="way of contact",
    ),
)  # fmt: skip

CATALOGUE = MappingProxyType({entry.name: entry for entry in _ENTRIES})


def label(name: str) -> str:
    """Return the label people read; an attribute that left the catalogue keeps its bare name."""
    return CATALOGUE[name].label if name in CATALOGUE else name


def of_scopes(scope: str) -> tuple[str, ...]:
    """Return the attributes that the OIDC scopes in `scope` (space-separated) ask for, in catalogue order."""
    wanted = set(scope.split())
    return tuple(entry.name for entry in _ENTRIES if entry.scope in wanted)


SCOPES = frozenset(entry.scope for entry in _ENTRIES if entry.scope)
SENSITIVE = frozenset(entry.name for entry in _ENTRIES if entry.sensitivity is Sensitivity.SENSITIVE)
