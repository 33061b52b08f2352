"""Why a company may ask: terms of the W3C Data Privacy Vocabulary 2, in plain words, and how details are used."""

from __future__ import annotations

from types import MappingProxyType

DPV = "https://w3id.org/dpv#"

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

MODES = MappingProxyType(
    {
        "kept-up-to-date": "Kept up to date: you are told when a shared detail changes, and may ask at any time",
        "asked": "When you ask: nothing is sent by itself",
        "once": "Once: you get the details one time",
    }
)


def times_a_day(number: int) -> str:
    """Return "once a day" or "4 times a day"."""
    return "once a day" if number == 1 else f"{number} times a day"
