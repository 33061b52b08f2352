"""The receipt of a consent: who, what for, which details, until when, and every step since.

The JSON follows the sections of ISO/IEC TS 27560:2023 (header, purposes, personal information, parties,
events) with the field names of `dpv-27560`; it names details and holds no value.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from portal.consent import chain
from portal.consumer.catalogue import CATALOGUE, Sensitivity, label

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from portal.companies.queries import ClientFacts, PurposeFacts
    from portal.consent.models import Grant, GrantVersion

SCHEMA = "https://w3id.org/dpv/schema/dpv-27560#receipt-eu-gdpr"
# Of the Data Privacy Vocabulary (W3C DPV 2): what each state of ours means there.
STATUS = {
    "active": "ConsentGiven",
    "paused": "ConsentGiven",
    "refused": "ConsentRefused",
    "withdrawn": "ConsentWithdrawn",
    "ended": "ConsentRevoked",
    "expired": "ConsentExpired",
}


def number(grant_id: UUID, version: int, year: int) -> str:
    """Return the number people quote: "R-2026-1A2B3C4D-2"."""
    return f"R-{year}-{grant_id.hex[-8:].upper()}-{version}"


def record(
    held: Grant,
    steps: Sequence[GrantVersion],
    *,
    client: ClientFacts,
    purpose: PurposeFacts,
    sub: str,
    portal_name: str,
    portal_url: str,
) -> dict[str, Any]:
    """Return the receipt as JSON; `sub` is the identifier the company knows the person by."""
    return {
        "schema_version": SCHEMA,
        "receipt_id": number(held.grant_id, held.version, held.given_at.year),
        "grant_id": str(held.grant_id),
        "version": held.version,
        "record_hash": steps[-1].hash.hex() if steps else None,
        "pii_principal_id": sub,
        "language": "en",
        "purposes": [_purpose(held, purpose)],
        "pii_information": [_detail(name, purpose) for name in held.attributes],
        "pii_controllers": [str(held.company_id)],
        "retention_period": {"unit": "DAY", "value": held.retention_days},
        "consent_mode": held.mode,
        "frequency": _frequency(held.pulls_a_day),
        "consent_start": held.given_at.isoformat(),
        "consent_expiry": held.expires_at.isoformat() if held.expires_at else None,
        "status": {"state": held.state, "dpv": STATUS[held.state], "at": held.changed_at.isoformat()},
        "withdrawal_method": {"url": f"{portal_url}/sharing/{held.grant_id}/stop"},
        "parties": _parties(held, client, portal_name, portal_url),
        "events": [_event(step) for step in steps],
        "chain_intact": chain.intact(steps),
    }


def _purpose(held: Grant, purpose: PurposeFacts) -> dict[str, Any]:
    return {
        "purpose": purpose.code,
        "version": held.purpose_version,
        "text": purpose.sentence,
        "lawful_basis": "eu-gdpr:A6-1-a",
    }


def _frequency(pulls_a_day: int | None) -> dict[str, Any] | None:
    # As a consent artefact of India's account aggregators has it: by the calendar, and not since the last time.
    return {"unit": "DAY", "value": pulls_a_day} if pulls_a_day else None


def _detail(name: str, purpose: PurposeFacts) -> dict[str, Any]:
    entry = CATALOGUE.get(name)
    return {
        "attribute_id": name,
        "label": label(name),
        "optional": name in {asked for asked, _ in purpose.optional},
        "sensitive": entry is not None and entry.sensitivity is Sensitivity.SENSITIVE,
    }


def _parties(held: Grant, client: ClientFacts, portal_name: str, portal_url: str) -> list[dict[str, Any]]:
    return [
        {
            "party_id": str(held.company_id),
            "role": "controller",
            "name": client.legal_name,
            "trading_name": client.company_name,
        },
        {"party_id": portal_url, "role": "processor", "name": portal_name, "url": portal_url},
    ]


def _event(step: GrantVersion) -> dict[str, Any]:
    return {
        "version": step.version,
        "event_time": step.at.isoformat(),
        "event_type": step.step,
        "event_state": STATUS[step.state],
        "entity_id": step.actor,
        "attributes": step.attributes,
        "mode": step.mode,
        "expires_at": step.expires_at.isoformat() if step.expires_at else None,
        "retention_days": step.retention_days,
        "frequency": _frequency(step.pulls_a_day),
        "level": step.level,
        "shown": step.shown,
        "previous_hash": step.previous_hash.hex(),
        "hash": step.hash.hex(),
    }
