"""Every step of a consent is signed, for as long as anybody asks, and a receipt proves itself without the portal."""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode
from datetime import timedelta
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, KeySet
from sqlalchemy import func, select, text
from sqlalchemy.exc import ProgrammingError

from portal import cli, config, db
from portal.companies import particulars
from portal.companies.models import Company
from portal.config import asset_folder
from portal.consent import chain, queries, receipts, renewing, services, verifying
from portal.errors import InvalidError
from portal.ledger import queries as ledger
from portal.vault import record_keys, signing
from portal.vault.models import RecordKey

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from uuid import UUID

    from sqlalchemy.orm import Session

    from portal.config import Settings
    from portal.consent.models import Grant, GrantVersion
    from portal.vault.keyring import Keyring
    from tests.consent.browser import Browser
    from tests.consent.offers import Offer

SHOWN = {"title": "Share?", "sentence": "send bills to the right address", "answers": ["Share", "Do not share"]}


@pytest.fixture
def grant(session: Session, offer: Offer, person: Callable[..., UUID]) -> Grant:
    """Asked, given, paused, resumed and renewed."""
    held = offer.give(session, person(), shown=SHOWN, days=90, asked_at=db.now())
    mine: dict[str, Any] = {"person_id": held.person_id, "grant_id": held.grant_id, "now": db.now()}
    services.pause(session, **mine)
    services.resume(session, **mine)
    return renewing.renew(session, **mine, level=1, shown={"title": "Still right?"})


def versions(session: Session, grant: Grant) -> list[GrantVersion]:
    session.expire_all()
    return queries.versions(session, person_id=grant.person_id, grant_id=grant.grant_id)


def receipt(session: Session, grant: Grant, keys: Keyring) -> dict[str, Any]:
    told = receipts.of_grant(session, grant, settings=config.current(), keyring=keys, now=db.now())
    read: dict[str, Any] = json.loads(json.dumps(told))
    return read


def test_every_step_is_signed_over_the_exact_text_and_who_it_binds(session: Session, grant: Grant) -> None:
    steps = versions(session, grant)
    assert [step.step for step in steps] == ["requested", "given", "paused", "resumed", "renewed"]
    keys = KeySet([ECKey.import_key(jwk) for jwk in record_keys.public_jwks(session)["keys"]])
    for step in steps:
        token = chain.token(step)
        assert token
        found = jws.deserialize_compact(token, keys, algorithms=["ES256"])
        assert found.headers() == {"alg": "ES256", "kid": found.headers()["kid"], "typ": "consent-step+jws"}
        assert sha256(found.payload).digest() == step.hash
        said = json.loads(found.payload)
        assert said["shown"] == step.shown
        assert said["about"]["client_id"] == grant.client_id
        assert said["about"]["sub"] == queries.sub_of(session, person_id=grant.person_id, company_id=grant.company_id)
    assert json.loads(jws.deserialize_compact(chain.token(steps[1]) or "", keys).payload)["shown"] == SHOWN
    assert chain.intact(steps)
    assert chain.signed(steps, record_keys.public_jwks(session))


@pytest.mark.parametrize("statement", ["UPDATE grant_version SET signature = 'x'", "DELETE FROM grant_version"])
def test_nobody_changes_a_step(session: Session, grant: Grant, statement: str) -> None:
    assert grant
    with pytest.raises(ProgrammingError, match="permission denied"):
        session.execute(text(statement))


def test_the_owner_of_the_tables_changes_no_step_either(settings: Settings, lasting: Offer, person: Any) -> None:  # noqa: ANN401 - a fixture
    with db.transaction(settings.database_url) as session:
        lasting.give(session, person())
    with db.sessions(settings.database_owner_url)() as owner:
        for statement in ("UPDATE grant_version SET shown = '{}'", "DELETE FROM record_key", "TRUNCATE grant_version"):
            with pytest.raises(ProgrammingError, match="append-only"):
                owner.execute(text(statement))
            owner.rollback()
        with pytest.raises(ProgrammingError, match="keeps its public part"):
            owner.execute(text("UPDATE record_key SET public_jwk = '{}'"))
        owner.rollback()


def test_the_log_names_the_hash_of_each_step(session: Session, grant: Grant) -> None:
    logged = {entry.grant_version: entry.message_id for entry in ledger.of_person(session, person_id=grant.person_id)}
    expected = {step.version: step.hash.hex() for step in versions(session, grant) if step.step != "requested"}
    assert logged == expected


def test_signatures_outlast_the_keys_of_the_day(session: Session, keys: Keyring, grant: Grant) -> None:
    """The portal's own keys turn and go, and so does the key for consents: what it signed stays checkable."""
    before = versions(session, grant)
    signing.replace(session, keyring=keys, now=db.now())
    made = record_keys.turn(session, keyring=keys, now=db.now())
    services.pause(session, person_id=grant.person_id, grant_id=grant.grant_id, now=db.now())
    after = versions(session, grant)
    assert chain.signed(after, record_keys.public_jwks(session))
    assert record_keys.kid_of(chain.token(after[-1]) or "") == made != record_keys.kid_of(chain.token(before[-1]) or "")
    assert session.scalar(select(func.count()).where(RecordKey.wrapped_private != b"")) == 1
    told = receipt(session, grant, keys)
    assert len(told["keys"]["keys"]) == 2
    assert verifying.check(told).signed == len(after)
    assert made not in {jwk["kid"] for jwk in signing.public_jwks(session)["keys"]}


def test_a_key_turns_once_a_year(session: Session, keys: Keyring) -> None:
    now = db.now()
    first = record_keys.current(session, keyring=keys, now=now).kid
    record_keys.renew(session, keyring=keys, now=now + timedelta(days=300))
    assert record_keys.current(session, keyring=keys, now=now).kid == first
    record_keys.renew(session, keyring=keys, now=now + timedelta(days=366))
    assert record_keys.current(session, keyring=keys, now=now).kid != first


def test_a_key_in_other_hands_is_said_to_be(session: Session, keys: Keyring, grant: Grant) -> None:
    old = record_keys.current(session, keyring=keys, now=db.now()).kid
    record_keys.turn(session, keyring=keys, now=db.now(), compromised=True)
    assert verifying.check(receipt(session, grant, keys), record_keys.public_jwks(session)).revoked == [old]


def by_hand(token: str, jwk: dict[str, str]) -> bytes:
    """Check a compact JWS with nothing but RFC 7515, RFC 7518 section 3.4 and a curve; return its payload."""
    header, payload, signature = token.split(".")

    def raw(part: str) -> bytes:
        return urlsafe_b64decode(part + "=" * (-len(part) % 4))

    assert json.loads(raw(header))["alg"] == "ES256"
    x, y = (int.from_bytes(raw(jwk[name])) for name in ("x", "y"))
    r, s = (int.from_bytes(part) for part in (raw(signature)[:32], raw(signature)[32:]))
    key = ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()
    key.verify(encode_dss_signature(r, s), f"{header}.{payload}".encode(), ec.ECDSA(SHA256()))
    return raw(payload)


def test_a_receipt_is_checked_by_hand_with_the_published_keys(session: Session, keys: Keyring, grant: Grant) -> None:
    """Another path than the portal's: no library of JOSE, and none of the portal's code."""
    told, published = receipt(session, grant, keys), record_keys.public_jwks(session)
    by_kid = {jwk["kid"]: jwk for jwk in published["keys"]}
    signature = told.pop("signature")
    kid = json.loads(urlsafe_b64decode(signature.partition(".")[0] + "=="))["kid"]
    assert json.loads(by_hand(signature, by_kid[kid])) == told
    previous = "00" * 32
    for event in told["events"]:
        said = by_hand(event["jws"], by_kid[kid])
        assert json.loads(said)["previous"] == previous
        previous = sha256(said).hexdigest()
        assert previous == event["hash"]
    assert previous == told["record_hash"]
    with pytest.raises(InvalidSignature):
        by_hand(signature[:-8] + "AAAAAAAA", by_kid[kid])


def _forged(told: dict[str, Any], how: str, keys: Keyring) -> dict[str, Any]:
    """Change a receipt, and sign it anew with a key of one's own where that is the forgery."""
    own = signing.new_pair(keys)
    signer = signing.of_row(keys, own.kid, own.keyring_version, own.wrapped_private)
    if how == "a detail more":
        told["pii_information"].append({"attribute_id": "birth.date"})
    elif how == "a step left out":
        del told["events"][2]
    elif how == "another text":
        told["events"][1]["shown"]["title"] = "Another?"
    elif how == "a key of one's own":
        told["keys"]["keys"] = [own.public_jwk]
    elif how == "a known name for one's own key":
        told["keys"]["keys"] = [own.public_jwk | {"kid": told["keys"]["keys"][0]["kid"]}]
    if how != "a detail more":
        kid = told["keys"]["keys"][0]["kid"] if "known" in how else own.kid
        told["keys"]["keys"] = [*told["keys"]["keys"], own.public_jwk]
        told["signature"] = signing.Signer(kid, signer._key).sign_text(receipts.canonical(told), typ=receipts.TYP)  # noqa: SLF001 - a forger has it
    return told


FORGERIES = ("a detail more", "a step left out", "another text", "a key of one's own", "a known name for one's own key")


@pytest.mark.parametrize("trust", ["its own keys", "the published keys"])
@pytest.mark.parametrize("how", FORGERIES)
def test_a_changed_receipt_is_noticed(session: Session, keys: Keyring, grant: Grant, how: str, trust: str) -> None:
    told, published = receipt(session, grant, keys), record_keys.public_jwks(session)
    verifying.check(told)
    verifying.check(told, published)
    with pytest.raises((verifying.ReceiptChangedError, verifying.StepChangedError)):
        verifying.check(_forged(told, how, keys), published if trust == "the published keys" else None)


@pytest.mark.parametrize("told", [{}, {"signature": 1}, {"events": [], "keys": {}}])
def test_what_is_no_receipt_is_said_to_be_none(told: dict[str, Any]) -> None:
    with pytest.raises(verifying.ReceiptUnreadableError):
        verifying.check(told)


def test_what_a_receipt_says_twice_is_not_read(session: Session, keys: Keyring, grant: Grant, tmp_path: Path) -> None:
    # Whoever looks at the file reads the first; the last is what was signed (RFC 8259 section 4, RFC 7493 section 2.3).
    told, file = receipt(session, grant, keys), tmp_path / "receipt.json"
    file.write_text('{"language": "fr", ' + json.dumps(told)[1:])
    with pytest.raises(verifying.ReceiptUnreadableError):
        verifying.check(verifying.read(file))


def test_a_command_checks_a_file(session: Session, keys: Keyring, grant: Grant, tmp_path: Path) -> None:
    told, file, published = receipt(session, grant, keys), tmp_path / "receipt.json", tmp_path / "keys.json"
    file.write_text(json.dumps(told))
    published.write_text(json.dumps(record_keys.public_jwks(session)))
    run = CliRunner()
    said = run.invoke(cli.portal, ["verify-receipt", str(file), "--keys", str(published)]).output
    assert said == f"{told['receipt_id']}: as it was signed, with 5 steps, 5 of them signed each.\n"
    said = run.invoke(cli.portal, ["verify-receipt", str(file)]).output
    assert "Compare them with http://localhost:8000/.well-known/consent-keys" in said
    file.write_text(json.dumps(told | {"language": "fr"}))
    assert isinstance(run.invoke(cli.portal, ["verify-receipt", str(file)]).exception, verifying.ReceiptChangedError)


# ISO/IEC TS 27560:2023, as the guide of the DPV group of February 2026 marks what is mandatory.
MANDATORY = (
    "schema_version", "record_id", "receipt_id", "pii_principal_id", "privacy_notice", "language", "purposes",
    "pii_information", "pii_controllers", "recipient_third_parties", "storage_locations", "retention_period",
    "jurisdiction", "withdrawal_method", "parties", "events", "privacy_rights", "authority_party",
)  # fmt: skip


def test_the_receipt_has_all_that_the_standard_asks_for(session: Session, keys: Keyring, grant: Grant) -> None:
    company = session.get_one(Company, grant.company_id)
    told = particulars.read(
        address="1 Main Street\nDublin", phone="+353 1 234 5678", kind="ForProfitOrganisation",
        storage_locations="ie, DE", recipients="Printers Ltd", no_recipients=False, authority="DPC, Ireland",
    )  # fmt: skip
    particulars.tell(session, company_id=company.company_id, told=told)
    said = receipt(session, grant, keys)
    assert all(said[name] for name in MANDATORY)
    controller = said["parties"][0]
    assert [controller[name] for name in ("name", "address", "contact", "type")] == [
        company.legal_name, "1 Main Street\nDublin", company.contact_email, "https://w3id.org/dpv#ForProfitOrganisation",
    ]  # fmt: skip
    assert said["storage_locations"] == ["IE", "DE"]
    assert said["purposes"][0]["purpose_type"] == "https://w3id.org/dpv#PaymentManagement"
    assert said["purposes"][0]["text"] == SHOWN["sentence"]
    assert all(one["pii_type"].startswith("https://w3id.org/dpv/pd#") for one in said["pii_information"])
    assert [event["event_state"] for event in said["events"]][-1] == "RenewedConsentGiven"
    assert said["not_stated"] == ["parties/1/address", "parties/1/contact"]


def test_what_a_company_has_not_told_is_said_to_be_missing(session: Session, keys: Keyring, grant: Grant) -> None:
    said = receipt(session, grant, keys)
    assert said["storage_locations"] is None
    assert {"recipient_third_parties", "storage_locations", "authority_party", "parties/0/address"} <= set(
        said["not_stated"]
    )
    nobody = particulars.Particulars(no_recipients=True)
    particulars.tell(session, company_id=grant.company_id, told=nobody)
    said = receipt(session, grant, keys)
    assert said["recipient_third_parties"] == []
    assert "recipient_third_parties" not in said["not_stated"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("kind", "Wizards"), ("phone", "call me"), ("storage_locations", "Ireland"), ("storage_locations", "ZQ"),
        ("address", "x" * 301), ("recipients", "\n".join("ab" for _ in range(41))), ("authority", "a\x00b"),
    ],
)  # fmt: skip
def test_what_cannot_be_told_so_is_refused_where_it_stands(field: str, value: str) -> None:
    told: dict[str, Any] = dict.fromkeys(
        ("address", "phone", "kind", "storage_locations", "recipients", "authority"), ""
    )
    with pytest.raises(InvalidError) as refused:
        particulars.read(**(told | {field: value}), no_recipients=False)
    assert refused.value.pointer == f"/{field}"


def test_the_same_receipt_is_the_same_bytes(session: Session, keys: Keyring, grant: Grant) -> None:
    assert receipt(session, grant, keys) == receipt(session, grant, keys)


def test_anybody_finds_the_keys(browser: Browser) -> None:
    answer = browser.client.get("/.well-known/consent-keys")
    assert answer.status_code == 200
    [*keys] = answer.get_json()["keys"]
    assert all(jwk.keys() >= {"kty", "crv", "x", "y", "kid", "iat"} and "d" not in jwk for jwk in keys)
    same = browser.client.get("/.well-known/consent-keys", headers={"If-None-Match": answer.headers["ETag"]})
    assert same.status_code == 304


def test_the_lines_in_the_guide_check_a_receipt(session: Session, keys: Keyring, grant: Grant) -> None:
    guide = (asset_folder("docs") / "companies" / "receipts.md").read_text()
    names: dict[str, Any] = {}
    exec(guide.partition("```python\n")[2].partition("```")[0], names)  # noqa: S102 - the document's own program
    told, published = receipt(session, grant, keys), record_keys.public_jwks(session)
    steps = names["check_receipt"](told, published)
    assert [step["step"] for step in steps] == ["requested", "given", "paused", "resumed", "renewed"]
    for how in FORGERIES:
        with pytest.raises((ValueError, JoseError)):
            names["check_receipt"](_forged(receipt(session, grant, keys), how, keys), published)
