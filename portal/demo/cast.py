"""The demo's people and companies: made up, but with the names, addresses and histories that break thin programs."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

BRIGHTWELL = "brightwell-energy"
NORTHSIDE = "northside-gym"
HALDEN = "halden-insurance"
MERIDIAN = "meridian-parcels"
TEST_CLIENT_COMPANY = HALDEN

BILLS = "bills"
MEMBERSHIP = "membership"
POLICY = "policy"
QUOTE = "quote"
PARCELS = "parcels"

UPDATED = "kept-up-to-date"
ASKED = "asked"


@dataclass(frozen=True, kw_only=True)
class DemoPurpose:
    """What a company wants details for; `required` and `optional` map an attribute to its reason."""

    code: str
    sentence: str
    dpv: str
    required: Mapping[str, str]
    optional: Mapping[str, str] = field(default_factory=dict)
    mode: str = UPDATED
    retention_days: int = 365


@dataclass(frozen=True, kw_only=True)
class DemoCompany:
    """A company, its purposes, and what its client is called."""

    slug: str
    legal_name: str
    trading_name: str
    registration_number: str
    country: str
    stop_effect: str
    client_name: str
    purposes: tuple[DemoPurpose, ...]


@dataclass(frozen=True, kw_only=True)
class Share:
    """One consent; `optional` says which of the details they may choose a person ticked.

    `then` is what happened after: nothing, `paused`, `withdrawn`, or `expiring`, which ends within days.
    """

    company: str
    purpose: str
    optional: tuple[str, ...] = ()
    then: str = ""


@dataclass(frozen=True, kw_only=True)
class DemoPerson:
    """One of the cast; `details` maps an attribute to the fields its form would hold."""

    email: str
    password: str = field(repr=False)
    story: str
    details: Mapping[str, Mapping[str, str]] = field(repr=False)
    shares: tuple[Share, ...] = ()

    @property
    def name(self) -> str:
        return self.details["name.full"]["value"]


COMPANIES = (
    DemoCompany(
        slug=BRIGHTWELL, legal_name="Brightwell Energy Ltd", trading_name="Brightwell Energy",
        registration_number="IE 512204", country="IE", client_name="Customer accounts",
        stop_effect="Your bills then go to the last address we had, until you tell us another yourself.",
        purposes=(
            DemoPurpose(
                code=BILLS, sentence="send bills to the right address", dpv="CustomerManagement",
                required={
                    "name.full": "Your bills are in your name.",
                    "address.home": "It is where you use the electricity.",
                },
                optional={
                    "address.post": "If your bills should go somewhere else.",
                    "email.main": "To send bills by email instead of by letter.",
                    "phone.mobile": "To warn you of a power cut.",
                    "language.preferred": "To write to you in your language.",
                },
            ),
        ),
    ),
    DemoCompany(
        slug=NORTHSIDE, legal_name="Northside Leisure Ltd", trading_name="Northside Gym",
        registration_number="IE 480113", country="IE", client_name="Members",
        stop_effect="You then show your card at the desk until you have joined again.",
        purposes=(
            DemoPurpose(
                code=MEMBERSHIP, sentence="keep your membership card valid", dpv="AccountManagement",
                required={
                    "name.full": "It is printed on your card.",
                    "email.main": "We confirm bookings by email.",
                },
                optional={
                    "address.home": "To send your card and find the gym nearest to you.",
                    "phone.mobile": "To tell you when a class is cancelled.",
                    "birth.date": "To give you the price for your age.",
                },
            ),
        ),
    ),
    DemoCompany(
        slug=HALDEN, legal_name="Halden Mutual Insurance plc", trading_name="Halden Insurance",
        registration_number="GB 03317755", country="GB", client_name="Test client",
        stop_effect="Your policy stays valid, and you tell us of changes yourself.",
        purposes=(
            DemoPurpose(
                code=POLICY, sentence="keep your home policy valid", dpv="FulfilmentOfContractualObligation",
                required={
                    "name.full": "The policy is in your name.",
                    "address.home": "It is the home that is insured.",
                },
                optional={
                    "email.main": "To send your documents.",
                    "phone.mobile": "To reach you after a claim.",
                },
            ),
            DemoPurpose(
                code=QUOTE, sentence="work out the price of a policy", dpv="ServiceProvision", mode=ASKED,
                required={
                    "name.full": "The offer is made out to you.",
                    "birth.date": "The price depends on your age.",
                },
                optional={"address.home": "The price depends on where you live."},
                retention_days=30,
            ),
        ),
    ),
    DemoCompany(
        slug=MERIDIAN, legal_name="Meridian Parcel Service GmbH", trading_name="Meridian Parcels",
        registration_number="DE HRB 204417", country="DE", client_name="Parcel tracking",
        stop_effect="Parcels then go to the address the sender wrote.",
        purposes=(
            DemoPurpose(
                code=PARCELS, sentence="bring parcels to where you are", dpv="DeliveryOfGoods",
                required={"name.full": "It is on the label.", "address.home": "It is where parcels go."},
                optional={"phone.mobile": "To ask when you are at home."},
                retention_days=90,
            ),
        ),
    ),
)  # fmt: skip


def text(value: str) -> Mapping[str, str]:
    """Return the form of an attribute with a single field."""
    return MappingProxyType({"value": value})


def place(country: str, line1: str, **others: str) -> Mapping[str, str]:
    """Return the form of an address."""
    return MappingProxyType({"country": country, "line1": line1, **others})


def born(day: int, month: int, year: int) -> Mapping[str, str]:
    """Return the form of a date."""
    return MappingProxyType({"day": str(day), "month": str(month), "year": str(year)})


CAST = (
    DemoPerson(
        email="aoife@people.example.org", password="lantern orchard 7 kettle",
        story="shares with three organisations",
        details={
            "name.full": text("Aoife Byrne"), "name.known_as": text("Aoife"), "birth.date": born(27, 3, 1984),
            "email.main": text("aoife.byrne@mail.example.org"), "phone.mobile": text("+353 85 012 3456"),
            "phone.home": text("+353 1 496 0123"),
            "address.home": place("IE", "14 Leinster Road", city="Dublin", postal_code="D06 X5F7"),
            "language.preferred": text("en"), "contact.channel": text("email"),
        },
        shares=(
            Share(company=BRIGHTWELL, purpose=BILLS, optional=("email.main", "phone.mobile")),
            Share(company=NORTHSIDE, purpose=MEMBERSHIP, optional=("address.home", "birth.date")),
            Share(company=HALDEN, purpose=POLICY, optional=("email.main",)),
        ),
    ),
    DemoPerson(
        email="widodo@people.example.org", password="copper umbrella 3 meadow",
        story="has a single-word name",
        details={
            "name.full": text("Widodo"), "email.main": text("widodo@mail.example.org"),
            "phone.mobile": text("+44 7700 900123"),
            "address.home": place("GB", "22 Corporation Street", city="Birmingham", postal_code="B2 4LP"),
        },
        shares=(Share(company=BRIGHTWELL, purpose=BILLS), Share(company=HALDEN, purpose=POLICY)),
    ),
    DemoPerson(
        email="persephone@people.example.org", password="velvet harbour 9 thimble",
        story="has a name of 60 characters",
        details={
            "name.full": text("Persephone Featherstonehaughe-Wolfeschlegelsteinhausenberger"),
            "email.main": text("p.featherstonehaugh@mail.example.org"), "phone.mobile": text("+44 7700 900456"),
            "address.home": place(
                "GB", "Flat 3, The Old Rectory", line2="Church Lane", city="Shrewsbury", postal_code="SY1 1HQ"
            ),
        },
        shares=(Share(company=BRIGHTWELL, purpose=BILLS, optional=("email.main",)),),
    ),
    DemoPerson(
        email="hanako@people.example.org", password="paper lighthouse 4 violin",
        story="lives in Japan, writes in Japanese",
        details={
            "name.full": text("山田 花子"), "name.known_as": text("Hanako"), "birth.date": born(3, 11, 1991),
            "email.main": text("hanako@mail.example.org"), "phone.mobile": text("+81 90 1234 5678"),
            "address.home": place(
                "JP", "千代田区丸の内1-9-1", line2="丸の内ハイツ 502", country_area="東京都", postal_code="100-0005"
            ),
            "language.preferred": text("ja"),
        },
        shares=(
            Share(company=BRIGHTWELL, purpose=BILLS, optional=("language.preferred",)),
            Share(company=HALDEN, purpose=POLICY),
        ),
    ),
    DemoPerson(
        email="layla@people.example.org", password="silver compass 6 orchid",
        story="writes her name in Arabic, lives in Germany",
        details={
            "name.full": text("ليلى حداد"), "name.known_as": text("Layla"),
            "email.main": text("layla@mail.example.org"), "phone.mobile": text("+49 1512 3456789"),
            "address.home": place("DE", "Sonnenallee 104", city="Berlin", postal_code="12045"),
            "language.preferred": text("ar"),
        },
        shares=(Share(company=BRIGHTWELL, purpose=BILLS, optional=("phone.mobile",)),),
    ),
    DemoPerson(
        email="juergen@people.example.org", password="granite saddle 2 breeze",
        story="lives in Germany, with umlaut and ß",
        details={
            "name.full": text("Jürgen Groß-Öttinger"), "birth.date": born(29, 2, 1968),
            "email.main": text("juergen.gross@mail.example.org"), "phone.home": text("+49 89 123456"),
            "address.home": place("DE", "Straße des 17. Juni 135", city="Berlin", postal_code="10623"),
            "language.preferred": text("de"),
        },
        shares=(Share(company=BRIGHTWELL, purpose=BILLS), Share(company=NORTHSIDE, purpose=MEMBERSHIP)),
    ),
    DemoPerson(
        email="joao@people.example.org", password="mango staircase 8 ribbon",
        story="lives in Brazil",
        details={
            "name.full": text("João da Conceição Araújo"), "email.main": text("joao@mail.example.org"),
            "phone.mobile": text("+55 11 96123-4567"),
            "address.home": place(
                "BR", "Rua Augusta, 1508", line2="Apto 71", city_area="Consolação", city="São Paulo",
                country_area="SP", postal_code="01304-001",
            ),
            "language.preferred": text("pt"),
        },
        shares=(
            Share(company=BRIGHTWELL, purpose=BILLS, optional=("email.main", "language.preferred")),
            Share(company=HALDEN, purpose=POLICY, optional=("email.main", "phone.mobile")),
        ),
    ),
    DemoPerson(
        email="eleanor@people.example.org", password="walnut carousel 5 tundra",
        story="has no phone",
        details={
            "name.full": text("Eleanor Whitcombe"), "birth.date": born(9, 7, 1946),
            "email.main": text("eleanor@mail.example.org"),
            "address.home": place("GB", "2 Mill Cottages", city="Hay-on-Wye", postal_code="HR3 5AE"),
            "contact.channel": text("post"),
        },
        shares=(Share(company=BRIGHTWELL, purpose=BILLS, optional=("phone.mobile",)),),
    ),
    DemoPerson(
        email="marcus@people.example.org", password="cobalt pelican 1 drawer",
        story="lives in the US, has two addresses",
        details={
            "name.full": text("Marcus T. Bell Jr."), "email.main": text("marcus@mail.example.org"),
            "phone.mobile": text("+1 212 555 0143"),
            "address.home": place(
                "US", "350 Fifth Avenue", line2="Apt 21B", city="New York", country_area="NY", postal_code="10118"
            ),
            "address.post": place("US", "PO Box 1187", city="Albany", country_area="NY", postal_code="12201"),
        },
        shares=(
            Share(company=BRIGHTWELL, purpose=BILLS, optional=("address.post",)),
            Share(company=HALDEN, purpose=QUOTE, optional=("address.home",), then="withdrawn"),
        ),
    ),
    DemoPerson(
        email="niamh@people.example.org", password="thistle monorail 9 cedar",
        story="has paused Brightwell Energy",
        details={
            "name.full": text("Niamh Kelleher"), "email.main": text("niamh@mail.example.org"),
            "phone.mobile": text("+353 87 012 9876"),
            "address.home": place("IE", "3 Shandon Street", city="Cork", postal_code="T23 AN2K"),
        },
        shares=(
            Share(company=BRIGHTWELL, purpose=BILLS, optional=("email.main",), then="paused"),
            Share(company=HALDEN, purpose=POLICY, then="paused"),
        ),
    ),
    DemoPerson(
        email="tomas@people.example.org", password="quartz pavilion 4 heron",
        story="has stopped sharing with Brightwell Energy",
        details={
            "name.full": text("Tomás Ó Súilleabháin"), "email.main": text("tomas@mail.example.org"),
            "phone.mobile": text("+353 86 012 5555"),
            "address.home": place("IE", "An Spidéal", city="Galway", postal_code="H91 T8NW"),
            "language.preferred": text("ga"),
        },
        shares=(
            Share(company=BRIGHTWELL, purpose=BILLS, then="withdrawn"),
            Share(company=HALDEN, purpose=POLICY, then="withdrawn"),
        ),
    ),
    DemoPerson(
        email="grace@people.example.org", password="marble hammock 3 falcon",
        story="shares with Brightwell Energy for a few more days",
        details={
            "name.full": text("Grace Chidinma Okafor"), "birth.date": born(31, 12, 1999),
            "email.main": text("grace@mail.example.org"), "phone.mobile": text("+44 7700 900789"),
            "address.home": place("GB", "71 Peckham Rye", city="London", postal_code="SE15 4JR"),
        },
        shares=(Share(company=BRIGHTWELL, purpose=BILLS, optional=("phone.mobile",), then="expiring"),),
    ),
    DemoPerson(
        email="robin@people.example.org", password="amber trellis 6 walrus",
        story="shares with nobody yet",
        details={
            "name.full": text("Robin Hale"), "email.main": text("robin.hale@mail.example.org"),
            "phone.mobile": text("+44 7700 900321"),
            "address.home": place("GB", "8 Castle Street", city="Bristol", postal_code="BS1 3XF"),
        },
    ),
    DemoPerson(
        email="mariya@people.example.org", password="juniper anvil 7 saffron",
        story="writes her name in Cyrillic, shares with nobody yet",
        details={
            "name.full": text("Мария Стоянова"), "email.main": text("mariya@mail.example.org"),
            "address.home": place("DE", "Lindwurmstraße 88", city="München", postal_code="80337"),
        },
    ),
)  # fmt: skip

# Who looks after the portal, with a code from the mailbox as the second proof.
OLU = DemoPerson(
    email="olu@people.example.org", password="lantern orchard 5 magnet",
    story="looks after the portal",
    details={"name.full": text("Olu Operator"), "email.main": text("olu@mail.example.org")},
)  # fmt: skip

DANA = DemoPerson(
    email="dana@people.example.org", password="bramble telescope 2 oyster",
    story="works for Brightwell Energy",
    details={"name.full": text("Dana Developer"), "email.main": text("dana@mail.example.org")},
)  # fmt: skip
