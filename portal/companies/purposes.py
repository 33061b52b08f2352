"""Why a company may ask: terms of the W3C Data Privacy Vocabulary 2, in plain words, and how details are used."""

from __future__ import annotations

from types import MappingProxyType
from typing import Final

DPV = "https://w3id.org/dpv#"
UPDATED: Final = "kept-up-to-date"
ASKED: Final = "asked"
ONCE: Final = "once"
SEE_ONCE: Final = "see-once"
CONSENT: Final = "consent"
CONTRACT: Final = "contract"
LEGAL_OBLIGATION: Final = "legal-obligation"
PUBLIC_TASK: Final = "public-task"
LEGITIMATE_INTEREST: Final = "legitimate-interest"

PURPOSES = MappingProxyType(
    {
        "ServiceProvision": "Provide a service",
        "RequestedServiceProvision": "Provide a service the person asked for",
        "ServiceRegistration": "Register someone for a service",
        "AccountManagement": "Manage the person's account",
        "DeliveryOfGoods": "Deliver goods",
        "CustomerCare": "Answer questions and solve problems",
        "CommunicationForCustomerCare": "Write or call about a service",
        "CustomerManagement": "Look after customers",
        "CustomerOrderManagement": "Handle orders",
        "CustomerRelationshipManagement": "Keep in touch with customers",
        "CustomerClaimsManagement": "Handle claims",
        "PaymentManagement": "Handle bills and payments",
        "FulfilmentOfContractualObligation": "Do what a contract asks",
        "LegalCompliance": "Do what the law asks",
        "IdentityVerification": "Check who someone is",
        "AgeVerification": "Check someone's age",
        "FraudPreventionAndDetection": "Prevent and detect fraud",
        "CounterMoneyLaundering": "Prevent money laundering",
        "CustomerSolvencyMonitoring": "Check whether someone can pay",
        "DirectMarketing": "Send advertising",
        "PersonalisedAdvertising": "Show advertising chosen for the person",
        "ServicePersonalisation": "Fit a service to the person",
        "CommunicationManagement": "Manage how people are contacted",
        "RecordManagement": "Keep records",
        "RightsFulfillment": "Answer people who use their rights",
        "SellDataToThirdParties": "Sell details to others",
        "CommercialResearch": "Do market research",
        "DisputeManagement": "Settle disputes",
    }
)

# What the policy goes by.
MODES = frozenset({UPDATED, ASKED, ONCE})
# What people are told: to get details once is to see them, where nothing may be kept, or else to keep a copy.
USES = MappingProxyType(
    {
        UPDATED: "Kept up to date: you are told when a shared detail changes, and may ask at any time",
        ASKED: "Asked when needed: nothing is sent by itself; you ask when you need a detail",
        ONCE: "Kept once: you get one copy, one time, and keep it for the days you state",
        SEE_ONCE: "Seen once: you look one time and keep nothing",
    }
)

# Article 6(1) of the GDPR, (a), (b), (c), (e) and (f); the person is asked whichever it is.
BASES = MappingProxyType(
    {
        CONSENT: "Consent: people may say no, and nothing else depends on it",
        CONTRACT: "Contract: you cannot do what they asked you for without it",
        LEGAL_OBLIGATION: "Legal obligation: a law makes you ask",
        PUBLIC_TASK: "Public task: you do it in the public interest, by law",
        LEGITIMATE_INTEREST: "Legitimate interest: you need it, and it does not override theirs",
    }
)
# The same to the person who is asked, where it is more than their consent.
SAID_OF_BASIS = MappingProxyType(
    {
        CONTRACT: "They say that they cannot do what you asked them for without it.",
        LEGAL_OBLIGATION: "They say that a law makes them ask.",
        PUBLIC_TASK: "They say that they ask by law, in the public interest.",
        LEGITIMATE_INTEREST: "They say that they need it, and that it does not override your own interests.",
    }
)
EU_GDPR = MappingProxyType(
    {
        CONSENT: "eu-gdpr:A6-1-a",
        CONTRACT: "eu-gdpr:A6-1-b",
        LEGAL_OBLIGATION: "eu-gdpr:A6-1-c",
        PUBLIC_TASK: "eu-gdpr:A6-1-e",
        LEGITIMATE_INTEREST: "eu-gdpr:A6-1-f",
    }
)


def use(mode: str, retention_days: int) -> str:
    """Return how details are used, a key of `USES`: who gets them once and may keep nothing has seen them."""
    return SEE_ONCE if mode == ONCE and not retention_days else mode


def times_a_day(number: int) -> str:
    """Return "once a day" or "4 times a day"."""
    return "once a day" if number == 1 else f"{number} times a day"
