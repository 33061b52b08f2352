"""The most that a purpose of each kind may ask of people: what goes beyond is refused, with how to mend it.

Whoever asks for more than it needs loses the person's trust, and the portal's with it (GDPR Art. 5(1)(c) and (e)).
Pure Python, no I/O: form, API and operators read the same table, and `docs/companies/purposes.md` shows it.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NamedTuple

from portal.companies.purposes import (
    ASKED,
    BASES,
    CONSENT,
    CONTRACT,
    LEGAL_OBLIGATION,
    LEGITIMATE_INTEREST,
    ONCE,
    PURPOSES,
    SEE_ONCE,
    UPDATED,
    USES,
    times_a_day,
)  # fmt: skip

if TYPE_CHECKING:
    from collections.abc import Collection

_NAMES: Final = frozenset({"name.full", "name.known_as"})
_BIRTH: Final = frozenset({"birth.date"})
_PLACES: Final = frozenset({"address.home", "address.post"})
_PHONES: Final = frozenset({"phone.mobile", "phone.home"})
_MANNER: Final = frozenset({"language.preferred", "contact.channel"})
_LETTERS: Final = frozenset({"email.main", *_MANNER})
REACH: Final = _NAMES | _LETTERS | _PHONES | _PLACES
ALL: Final = REACH | _BIRTH
_WHO: Final = frozenset({"name.full", "birth.date", "address.home"})

# From the widest way of use to the narrowest: whoever may do one may do those behind it.
_WIDEST_FIRST: Final = (UPDATED, ASKED, ONCE, SEE_ONCE)
_TWO_YEARS: Final = 730
_FIVE_YEARS: Final = 1825
_SIX_YEARS: Final = 2190
_TEN_YEARS: Final = 3650
_ANY_BASIS: Final = frozenset(BASES)
_SERVICE: Final = frozenset({CONSENT, CONTRACT})
_SELLING: Final = frozenset({CONSENT})
_WATCHING: Final = frozenset({CONSENT, LEGAL_OBLIGATION, LEGITIMATE_INTEREST})


@dataclass(frozen=True, kw_only=True)
class Ceiling:
    """The most that one kind of purpose may ask: details, the widest use, days kept and shared, looks a day.

    `pulls_a_day` None asks for no number.
    """

    attributes: frozenset[str] = REACH
    use: str = UPDATED
    retention_days: int = 365
    longest_days: int = 365
    pulls_a_day: int | None = None
    bases: frozenset[str] = _SERVICE

    @property
    def uses(self) -> tuple[str, ...]:
        """The ways of use that it allows, the widest first."""
        return _WIDEST_FIRST[_WIDEST_FIRST.index(self.use) :]


class Asked(NamedTuple):
    """What a purpose asks, as far as a ceiling has a say in it; `use` is a key of `purposes.USES`."""

    attributes: Collection[str]
    use: str
    retention_days: int
    longest_days: int
    pulls_a_day: int | None
    lawful_basis: str


class Beyond(NamedTuple):
    """One thing that goes beyond a ceiling: where it stands (RFC 6901), and how to mend it."""

    pointer: str
    sentence: str


CEILINGS: Final = MappingProxyType(
    {
        "ServiceProvision": Ceiling(attributes=ALL),
        "RequestedServiceProvision": Ceiling(attributes=ALL),
        "ServiceRegistration": Ceiling(attributes=ALL),
        "AccountManagement": Ceiling(attributes=ALL, retention_days=_TWO_YEARS),
        "DeliveryOfGoods": Ceiling(),
        "CustomerCare": Ceiling(retention_days=_TWO_YEARS),
        "CommunicationForCustomerCare": Ceiling(),
        "CustomerManagement": Ceiling(retention_days=_TWO_YEARS),
        "CustomerOrderManagement": Ceiling(retention_days=_TWO_YEARS),
        "CustomerRelationshipManagement": Ceiling(pulls_a_day=24),
        "CustomerClaimsManagement": Ceiling(
            attributes=ALL, retention_days=_SIX_YEARS, bases=_SERVICE | {LEGAL_OBLIGATION}
        ),
        "PaymentManagement": Ceiling(retention_days=_TEN_YEARS, bases=_SERVICE | {LEGAL_OBLIGATION}),
        "FulfilmentOfContractualObligation": Ceiling(attributes=ALL, retention_days=_TEN_YEARS),
        "LegalCompliance": Ceiling(
            attributes=ALL, retention_days=_TEN_YEARS, pulls_a_day=24, bases=_ANY_BASIS - {LEGITIMATE_INTEREST}
        ),
        "IdentityVerification": Ceiling(
            attributes=_WHO | {"email.main", "phone.mobile"}, use=ASKED, retention_days=_FIVE_YEARS, pulls_a_day=4,
            bases=_ANY_BASIS,
        ),
        "AgeVerification": Ceiling(
            attributes=_BIRTH, use=SEE_ONCE, retention_days=0, longest_days=30, bases=_ANY_BASIS
        ),
        "FraudPreventionAndDetection": Ceiling(
            attributes=_WHO | _PHONES | {"email.main"}, retention_days=_FIVE_YEARS, pulls_a_day=24, bases=_WATCHING
        ),
        "CounterMoneyLaundering": Ceiling(
            attributes=_WHO, retention_days=_FIVE_YEARS, pulls_a_day=4, bases=_WATCHING - {LEGITIMATE_INTEREST}
        ),
        "CustomerSolvencyMonitoring": Ceiling(
            attributes=_WHO, use=ASKED, retention_days=180, longest_days=90, pulls_a_day=4, bases=_SERVICE
        ),
        "DirectMarketing": Ceiling(
            attributes=_NAMES | _LETTERS | {"phone.mobile", "address.post"}, retention_days=30, pulls_a_day=4,
            bases=_SELLING,
        ),
        "PersonalisedAdvertising": Ceiling(
            attributes=_LETTERS | {"name.known_as"}, retention_days=30, longest_days=180, pulls_a_day=1, bases=_SELLING
        ),
        "ServicePersonalisation": Ceiling(
            attributes=_MANNER | _BIRTH | {"name.known_as"}, retention_days=90, pulls_a_day=24
        ),
        "CommunicationManagement": Ceiling(attributes=REACH - {"address.home"}),
        "RecordManagement": Ceiling(retention_days=_TEN_YEARS, pulls_a_day=24, bases=_ANY_BASIS),
        "RightsFulfillment": Ceiling(use=ASKED, retention_days=1095, pulls_a_day=4, bases=_ANY_BASIS),
        "SellDataToThirdParties": Ceiling(
            attributes=frozenset({"name.full", "email.main", "address.post"}), use=ONCE, retention_days=30,
            longest_days=30, bases=_SELLING,
        ),
        "CommercialResearch": Ceiling(
            attributes=_LETTERS | _BIRTH | {"name.known_as"}, use=ONCE, retention_days=90, longest_days=90,
            bases=_SELLING,
        ),
        "DisputeManagement": Ceiling(attributes=ALL, retention_days=_SIX_YEARS, bases=_ANY_BASIS),
    }
)  # fmt: skip


def beyond(kind: str, asked: Asked) -> list[Beyond]:
    """Return everything in which a purpose of a kind (a key of `PURPOSES`) asks for more than it may."""
    ceiling, name = CEILINGS[kind], f"This kind of purpose ({PURPOSES[kind].lower()})"
    return [
        *_details(ceiling, name, asked), *_use(ceiling, name, asked), *_days(ceiling, name, asked),
        *_looks(ceiling, name, asked), *_basis(ceiling, name, asked),
    ]  # fmt: skip


def _details(ceiling: Ceiling, name: str, asked: Asked) -> list[Beyond]:
    words = f"{name} may not ask for this detail: leave it out, or declare it for the purpose that needs it."
    return [Beyond(f"/attributes/{one}", words) for one in asked.attributes if one not in ceiling.attributes]


def _use(ceiling: Ceiling, name: str, asked: Asked) -> list[Beyond]:
    if asked.use in ceiling.uses:
        return []
    allowed = " or ".join(USES[use].partition(":")[0].lower() for use in ceiling.uses)
    return [Beyond("/mode", f"{name} may use details in fewer ways: choose {allowed}.")]


def _days(ceiling: Ceiling, name: str, asked: Asked) -> list[Beyond]:
    found = []
    if asked.retention_days > ceiling.retention_days:
        most = f"at most {ceiling.retention_days} days" if ceiling.retention_days else "nothing: enter 0"
        found.append(Beyond("/retention_days", f"{name} may keep details for {most}."))
    if asked.longest_days > ceiling.longest_days:
        found.append(Beyond("/longest_days", f"{name} asks again after {ceiling.longest_days} days at the latest."))
    return found


def _looks(ceiling: Ceiling, name: str, asked: Asked) -> list[Beyond]:
    most = ceiling.pulls_a_day
    if most is None or asked.use in {ONCE, SEE_ONCE} or (asked.pulls_a_day or most + 1) <= most:
        return []
    return [Beyond("/pulls_a_day", f"{name} looks at most {times_a_day(most)}: enter a number of at most {most}.")]


def _basis(ceiling: Ceiling, name: str, asked: Asked) -> list[Beyond]:
    if asked.lawful_basis in ceiling.bases:
        return []
    allowed = " or ".join(BASES[one].partition(":")[0].lower() for one in BASES if one in ceiling.bases)
    return [Beyond("/lawful_basis", f"{name} rests on another basis: choose {allowed}.")]
