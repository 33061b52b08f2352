"""The record and the receipt of a consent: who, what for, which details, until when, and every step since.

The JSON follows ISO/IEC TS 27560:2023 with the names of `dpv-27560` (W3C Data Privacy Vocabulary, guide of February
2026); it names details and holds none.  It is signed, each step is by itself, and the keys that can check it go with
it.  What the company has not told is null, and `not_stated` lists it.
"""

from __future__ import annotations

import json
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

from portal.companies import particulars
from portal.companies import queries as companies
from portal.consent import chain, numbers, queries, terms
from portal.consumer.catalogue import CATALOGUE, Sensitivity, label
from portal.errors import NotFoundError
from portal.vault import record_keys

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from sqlalchemy.orm import Session

    from portal.companies.particulars import Particulars
    from portal.companies.queries import ClientFacts, CompanyFacts, PurposeFacts
    from portal.config import Settings
    from portal.consent.models import Grant, GrantVersion
    from portal.vault.keyring import Keyring

SCHEMA: Final = "https://w3id.org/dpv/schema/dpv-27560#receipt-eu-gdpr"
TYP: Final = "consent-receipt+jws"
KEYS_PATH: Final = "/.well-known/consent-keys"
_DPV: Final = "https://w3id.org/dpv#"
_PD: Final = "https://w3id.org/dpv/pd#"
# Of the Data Privacy Vocabulary (W3C DPV 2): what each state of ours means there.  It has no word for a pause.
STATUS: Final = {
    "requested": "ConsentRequested",
    "deferred": "ConsentRequestDeferred",
    "countered": "ConsentRequested",
    "active": "ConsentGiven",
    "paused": "ConsentGiven",
    "refused": "ConsentRefused",
    "withdrawn": "ConsentWithdrawn",
    "ended": "ConsentRevoked",
    "expired": "ConsentExpired",
    "invalidated": "ConsentInvalidated",
}
_RENEWED: Final = "RenewedConsentGiven"
_PERSONAL: Final = {
    "name.full": "Name", "name.known_as": "Name", "birth.date": "BirthDate", "email.main": "EmailAddress",
    "phone.mobile": "TelephoneNumber", "phone.home": "TelephoneNumber", "address.home": "PhysicalAddress",
    "address.post": "PhysicalAddress", "language.preferred": "Language", "contact.channel": "Preference",
}  # fmt: skip
# Articles of the GDPR under which a person can turn to the company, or to the authority (77).
_RIGHTS: Final = ("A7-3", "A13", "A15", "A16", "A17", "A18", "A19", "A20", "A77")
_PROCESSING: Final = {True: ("Collect", "Store", "Use"), False: ("Collect", "Use")}


def number(held: Grant) -> str:
    """Return the number people quote: "R-2026-1A2B3C4D-2"."""
    return numbers.of(held.grant_id, held.version, held.given_at.year)


def of_grant(session: Session, held: Grant, *, settings: Settings, keyring: Keyring, now: datetime) -> dict[str, Any]:
    """Return the signed receipt of a grant as it stands, as JSON; the same as long as nothing has changed.

    Raises NotFoundError when its client or purpose is gone.
    """
    steps = queries.versions(session, person_id=held.person_id, grant_id=held.grant_id)
    told = record(session, held, steps, settings=settings)
    signer = record_keys.current(session, keyring=keyring, now=now)
    told["keys"] = record_keys.keys_of(session, _kids(steps) | {signer.kid})
    return told | {"signature": signer.sign_text(canonical(told), typ=TYP)}


def canonical(told: Mapping[str, Any]) -> bytes:
    """Return what the signature of a receipt is of: all of it but the signature, sorted, compact, UTF-8."""
    kept = {name: said for name, said in told.items() if name != "signature"}
    return json.dumps(kept, ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode()


def record(session: Session, held: Grant, steps: Sequence[GrantVersion], *, settings: Settings) -> dict[str, Any]:
    """Return everything that a receipt says, unsigned."""
    client, company, purpose = _facts(session, held)
    own = particulars.of_company(session, client.company_id)
    sub = queries.sub_of(session, person_id=held.person_id, company_id=held.company_id)
    said = {
        **_header(held, steps, sub),
        "privacy_notice": _notice(company, steps),
        "language": "en",
        "purposes": [_purpose(held, purpose)],
        "pii_information": [_detail(name, purpose) for name in held.attributes],
        **_processing(held, company, own),
        **_validity(held),
        "withdrawal_method": _withdrawal(held, company, settings),
        "privacy_rights": [f"eu-gdpr:{article}" for article in _RIGHTS],
        "authority_party": {"name": own.authority} if own.authority else None,
        "parties": _parties(client, company, own, settings),
        "events": [_event(step) for step in steps],
        "chain_intact": chain.intact(steps),
        "keys_url": settings.url + KEYS_PATH,
    }
    return said | {"not_stated": _not_stated(said, own)}


def _facts(session: Session, held: Grant) -> tuple[ClientFacts, CompanyFacts, PurposeFacts]:
    client = companies.client(session, held.client_id)
    purpose = companies.purpose(session, held.purpose_id, version=held.purpose_version)
    company = companies.company(session, slug=client.company_slug) if client else None
    if client is None or company is None or purpose is None:
        raise NotFoundError
    return client, company, purpose


def _header(held: Grant, steps: Sequence[GrantVersion], sub: str | None) -> dict[str, Any]:
    return {
        "schema_version": SCHEMA,
        "receipt_id": number(held),
        "record_id": str(held.grant_id),
        "grant_id": str(held.grant_id),
        "version": held.version,
        "record_hash": steps[-1].hash.hex() if steps else None,
        "previous_record_hash": steps[-1].previous_hash.hex() if steps else None,
        "pii_principal_id": sub,
        "on_behalf_of": None,
    }


def _notice(company: CompanyFacts, steps: Sequence[GrantVersion]) -> dict[str, Any]:
    """Return what was read last before an answer: its text is in the step, here is how to know it again."""
    shown = next((step for step in reversed(steps) if step.shown.get("title")), None)
    text = json.dumps(shown.shown, ensure_ascii=False, separators=(",", ":"), sort_keys=True) if shown else None
    return {
        "url": company.privacy_url or None,
        "version": shown.version if shown else None,
        "sha256": sha256(text.encode()).hexdigest() if text else None,
    }


def _purpose(held: Grant, purpose: PurposeFacts) -> dict[str, Any]:
    return {
        "purpose": purpose.code,
        "purpose_type": _DPV + purpose.dpv,
        "version": held.purpose_version,
        "text": purpose.sentence,
        "lawful_basis": purpose.gdpr_basis,
    }


def _detail(name: str, purpose: PurposeFacts) -> dict[str, Any]:
    entry = CATALOGUE.get(name)
    return {
        "attribute_id": name,
        "pii_type": _PD + _PERSONAL[name] if name in _PERSONAL else _DPV + "PersonalData",
        "label": label(name),
        "optional": name in {asked for asked, _ in purpose.optional},
        "sensitive": entry is not None and entry.sensitivity is Sensitivity.SENSITIVE,
        "special": False,
    }


def _processing(held: Grant, company: CompanyFacts, own: Particulars) -> dict[str, Any]:
    keeps = bool(held.retention_days) or held.mode == terms.UPDATED
    return {
        "pii_controllers": [str(held.company_id)],
        "recipient_third_parties": list(own.recipients) if own.recipients or own.no_recipients else None,
        "collection_method": "From the person's own record in this portal, with their consent",
        "source": "The person: what they keep in this portal, as they keep it",
        "processing_method": [_DPV + word for word in _PROCESSING[keeps]],
        "storage_locations": list(own.storage_locations) or None,
        "jurisdiction": company.country,
        "retention_period": {"unit": "DAY", "value": held.retention_days},
    }


def _validity(held: Grant) -> dict[str, Any]:
    return {
        "consent_mode": held.mode,
        "fetch_type": "ONETIME" if held.mode == terms.ONCE else "PERIODIC",
        "push": held.mode == terms.UPDATED,
        "frequency": _frequency(held.pulls_a_day),
        "consent_start": held.given_at.isoformat(),
        "consent_expiry": _iso(held.expires_at),
        "duration_type": "until-withdrawn" if held.expires_at is None else "fixed",
        "status": {"state": held.state, "dpv": STATUS[held.state], "at": held.changed_at.isoformat()},
    }


def _frequency(pulls_a_day: int | None) -> dict[str, Any] | None:
    # As a consent artefact of India's account aggregators has it: by the calendar, and not since the last time.
    return {"unit": "DAY", "value": pulls_a_day} if pulls_a_day else None


def _withdrawal(held: Grant, company: CompanyFacts, settings: Settings) -> dict[str, Any]:
    return {"url": f"{settings.url}/sharing/{held.grant_id}/stop", "api": None, "alt_contact": company.contact_email}


def _parties(client: ClientFacts, company: CompanyFacts, own: Particulars, settings: Settings) -> list[dict[str, Any]]:
    return [
        {
            "party_id": str(client.company_id),
            "role": "controller",
            "name": client.legal_name,
            "trading_name": client.company_name,
            "registration": f"{company.registration_number}, {company.country}",
            "address": own.address or None,
            "contact": company.contact_email,
            "email": company.contact_email,
            "phone": own.phone or None,
            "url": company.privacy_url or None,
            "type": _DPV + own.kind if own.kind else None,
        },
        {
            "party_id": settings.url,
            "role": "processor",
            "name": settings.operator_name or settings.service_name,
            "address": settings.operator_address or None,
            "contact": settings.operator_contact or None,
            "url": settings.url,
            "type": _DPV + "DataProcessor",
        },
    ]


def _event(step: GrantVersion) -> dict[str, Any]:
    return {
        "version": step.version,
        "event_time": step.at.isoformat(),
        "validity_duration": f"P{(step.expires_at - step.at).days}D" if step.expires_at else None,
        "event_type": step.step,
        "event_state": _RENEWED if step.step == "renewed" else STATUS[step.state],
        "expression": _DPV + "ExplicitlyExpressedConsent" if step.actor == "person" else None,
        "entity_id": step.actor,
        "attributes": step.attributes,
        "mode": step.mode,
        "expires_at": _iso(step.expires_at),
        "retention_days": step.retention_days,
        "frequency": _frequency(step.pulls_a_day),
        "level": step.level,
        "shown": step.shown,
        "about": step.about,
        "previous_hash": step.previous_hash.hex(),
        "hash": step.hash.hex(),
        "jws": chain.token(step),
    }


def _not_stated(said: Mapping[str, Any], own: Particulars) -> list[str]:
    missing = [name for name in ("recipient_third_parties", "storage_locations", "authority_party") if not said[name]]
    if own.no_recipients:
        missing.remove("recipient_third_parties")
    of_parties = [
        f"parties/{number}/{name}"
        for number, party in enumerate(said["parties"])
        for name in ("address", "contact", "type")
        if party[name] is None
    ]
    return missing + of_parties


def _kids(steps: Sequence[GrantVersion]) -> set[str]:
    return {record_keys.kid_of(whole) for step in steps if (whole := chain.token(step))}


def _iso(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None
