"""What a company registers is checked before it is kept."""

from __future__ import annotations

import base64
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from sqlalchemy import update

from portal import db
from portal.companies import keys, names, queries, rules, services
from portal.companies.models import Company
from portal.errors import InvalidError

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.orm import Session

    from portal.companies.queries import CompanyFacts
    from portal.config import Settings

    Make = Callable[..., dict[str, Any]]

CATALOGUE = {"name.full", "address.home", "email.main"}
OFF_CURVE = base64.urlsafe_b64encode(bytes([1] * 32)).decode().rstrip("=")
ZERO = base64.urlsafe_b64encode(bytes(32)).decode().rstrip("=")


GOOD_ADDRESSES = [
    "https://www.example.com/back",
    "https://www.example.com:8443/back?from=portal",
    "http://localhost:5000/back",
    "http://127.0.0.1/back",
    "http://[::1]:9/back",
]
BAD_ADDRESSES = [
    "http://www.example.com/back",
    "https://*.example.com/back",
    "https://www.example.com/*",
    "https://www.example.com/back#part",
    "https://www.example.com/back#",
    "https://someone@www.example.com/back",
    "https://someone:secret@www.example.com/back",
    "https://www.example.com\\@evil.example/back",
    "https:///back",
    "https://",
    "//www.example.com/back",
    "www.example.com/back",
    "javascript:alert(1)",
    "data:text/html,x",
    "com.example.app:/back",
    "https://www.example.com:99999/back",
    "https://www.example.com:/back",
    "https://www.example.com:0/back",
    "https://www.exa mple.com/back",
    "https://www.example.com/back\n",
    "https://münchen.example/back",
    "https://www..example.com/back",
    "https://a;script-src/back",
    "https://[::1/back",
    "http://localhost.evil.example/back",
    "http://0.0.0.0/back",
    "https://www.example.com/" + "a" * 2000,
    "",
    7,
    None,
]


@pytest.mark.parametrize("address", GOOD_ADDRESSES)
def test_a_redirect_address_is_https_or_on_this_machine(address: str) -> None:
    assert rules.redirect_uris([address]) == [address]


@pytest.mark.parametrize("address", BAD_ADDRESSES)
def test_a_redirect_address_that_cannot_be_matched_exactly_is_refused(address: object) -> None:
    with pytest.raises(rules.RedirectUriError) as refusal:
        rules.redirect_uris(["https://www.example.com/good", address])
    assert refusal.value.pointer == "/redirect_uris/1"


@pytest.mark.parametrize("addresses", [None, [], "https://www.example.com/", ["https://a.example/"] * 2])
def test_redirect_addresses_are_a_list_of_different_ones(addresses: object) -> None:
    with pytest.raises(rules.RedirectUriError):
        rules.redirect_uris(addresses)


@pytest.mark.parametrize(
    ("name", "use", "alg"),
    [("p256", "sig", "ES256"), ("ed25519", "sig", "EdDSA"), ("ed25519", "sig", "Ed25519"), ("rsa", "sig", "PS256"),
     ("p256", "enc", "ECDH-ES+A256KW"), ("x25519", "enc", None)],
)  # fmt: skip
def test_usable_keys_are_kept_with_public_members_only(public: Make, name: str, use: str, alg: str | None) -> None:
    [key] = keys.check({"keys": [public(name, use=use, alg=alg, x5c=["…"], key_ops=["verify"])]})
    assert key.use == use
    assert key.kid == key.thumbprint
    assert not {"d", "x5c", "key_ops"} & set(key.jwk)


def test_the_thumbprint_is_that_of_rfc_7638() -> None:
    # RFC 8037 appendix A.3.
    known = {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo", "use": "sig"}
    assert keys.check(known)[0].thumbprint == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"


BAD_KEYS: list[tuple[str, dict[str, Any], str]] = [
    ("p256", {"use": "sig", "d": "AAAA"}, "/d"),
    ("rsa", {"use": "sig", "p": "AAAA"}, "/p"),
    ("p256", {"use": "sig", "kty": "oct", "k": "AAAA"}, "/k"),
    ("p256", {}, "/use"),
    ("p256", {"use": "both"}, "/use"),
    ("p256", {"use": ["sig"]}, "/use"),
    ("p384", {"use": "sig"}, "/kty"),
    ("x25519", {"use": "sig"}, "/kty"),
    ("ed25519", {"use": "enc"}, "/kty"),
    ("rsa", {"use": "enc"}, "/kty"),
    ("rsa 2048", {"use": "sig"}, "/n"),
    ("rsa", {"use": "sig", "e": "Aw"}, "/e"),
    ("p256", {"use": "sig", "kty": None}, "/kty"),
    ("p256", {"use": "sig", "kty": {}}, "/kty"),
    ("p256", {"use": "sig", "crv": ["P-256"]}, "/kty"),
    ("p256", {"use": "sig", "alg": "RS256"}, "/alg"),
    ("p256", {"use": "sig", "alg": "none"}, "/alg"),
    ("p256", {"use": "enc", "alg": "ES256"}, "/alg"),
    ("p256", {"use": "sig", "x": OFF_CURVE}, "/x"),
    ("p256", {"use": "sig", "x": "AA"}, "/x"),
    ("p256", {"use": "sig", "y": None}, "/y"),
    ("p256", {"use": "sig", "x": "+/+/"}, "/x"),
    ("p256", {"use": "sig", "x": 5}, "/x"),
    ("x25519", {"use": "enc", "x": ZERO}, "/x"),
    ("ed25519", {"use": "sig", "x": "_" * 42 + "8"}, "/x"),
    ("p256", {"use": "sig", "kid": ""}, "/kid"),
    ("p256", {"use": "sig", "kid": "a b"}, "/kid"),
    ("p256", {"use": "sig", "kid": 1}, "/kid"),
    ("p256", {"use": "sig", "kid": "k" * 129}, "/kid"),
]


@pytest.mark.parametrize(("name", "members", "part"), BAD_KEYS)
def test_a_key_that_cannot_be_used_is_pointed_at(public: Make, name: str, members: dict[str, Any], part: str) -> None:
    key = public(name) | {member: value for member, value in members.items() if value is not None}
    for member in (member for member, value in members.items() if value is None):
        key.pop(member)
    with pytest.raises(keys.KeySetError) as refusal:
        keys.check({"keys": [key]})
    assert refusal.value.pointer == f"/jwks/keys/0{part}"


def test_a_private_key_is_refused_in_a_clear_sentence(pool: dict[str, dict[str, Any]]) -> None:
    with pytest.raises(keys.KeySetError, match=r"private key.*public half only.*replace this key"):
        keys.check({"keys": [pool["p256"] | {"use": "sig"}]})


@pytest.mark.parametrize("jwks", [None, [], {}, {"keys": {}}, {"keys": []}, {"keys": ["x"]}, "x", {"keys": [{}] * 21}])
def test_what_is_no_key_set_is_refused(jwks: object) -> None:
    with pytest.raises(keys.KeySetError):
        keys.check(jwks)


@pytest.mark.parametrize("text", ["", "{", "<xml/>", "[" * 30_000, '"' + "a" * 40_000 + '"'])
def test_what_is_no_json_is_refused(text: str) -> None:
    with pytest.raises(keys.KeySetError):
        keys.read(text)


def test_kids_and_keys_are_there_once(public: Make) -> None:
    twice = [public("p256", use="sig", kid="k"), public("p256 too", use="enc", kid="k")]
    same = [public("p256", use="sig", kid="a"), public("p256", use="enc", kid="b")]
    for pair in (twice, same):
        with pytest.raises(keys.KeySetError):
            keys.check({"keys": pair})


@pytest.mark.parametrize(("name", "use"), [("p256", "sig"), ("x25519", "enc")])
def test_a_client_has_a_key_to_sign_and_one_to_encrypt(
    session: Session, company: CompanyFacts, public: Make, name: str, use: str
) -> None:
    metadata = {"client_name": "A", "redirect_uris": ["https://a.example/"], "jwks": {"keys": [public(name, use=use)]}}
    with pytest.raises(keys.KeySetError, match="Add a key"):
        services.register_client(session, company_slug=company.slug, metadata=metadata, now=db.now())


def test_a_client_is_registered_from_metadata(session: Session, client_id: str, company: CompanyFacts) -> None:
    found = queries.client(session, client_id)
    assert found is not None
    assert found.client_id.startswith("test_")
    assert (found.company_id, found.company_name, found.active) == (company.company_id, company.trading_name, True)
    assert [key["kid"] for key in queries.keys(session, client_id, "sig")] == ["s1"]
    kid, jwk = queries.encryption_key(session, client_id) or ("", {})
    assert (kid, jwk["crv"]) == ("e1", "X25519")


@pytest.mark.parametrize(
    ("change", "pointer"),
    [({"client_name": None}, "/client_name"), ({"client_name": 5}, "/client_name"),
     ({"client_name": " "}, "/client_name"),
     ({"token_endpoint_auth_method": "client_secret_basic"}, "/token_endpoint_auth_method"),
     ({"response_types": ["token"]}, "/response_types"), ({"grant_types": [["implicit"]]}, "/grant_types"),
     ({"jwks": None}, "/jwks"), ({"jwks_uri": "https://a.example/jwks"}, "/jwks_uri"),
     ({"redirect_uris": "https://a.example/"}, "/redirect_uris")],
)  # fmt: skip
def test_metadata_that_cannot_be_met_is_pointed_at(
    session: Session, company: CompanyFacts, jwks: dict[str, Any], change: dict[str, Any], pointer: str
) -> None:
    metadata = {"client_name": "A", "redirect_uris": ["https://a.example/"], "jwks": jwks} | change
    with pytest.raises(InvalidError) as refusal:
        services.register_client(session, company_slug=company.slug, metadata=metadata, now=db.now())
    assert refusal.value.pointer == pointer


def test_unknown_metadata_is_ignored(session: Session, company: CompanyFacts, jwks: dict[str, Any]) -> None:
    metadata = {
        "client_name": "A", "redirect_uris": ["https://a.example/"], "jwks": jwks, "logo": 1, "tos_url": [],
        "token_endpoint_auth_method": "private_key_jwt", "response_types": ["code"],
    }  # fmt: skip
    assert services.register_client(session, company_slug=company.slug, metadata=metadata, now=db.now())


def test_a_live_client_needs_a_checked_company(session: Session, company: CompanyFacts, jwks: dict[str, Any]) -> None:
    metadata = {"client_name": "A", "redirect_uris": ["https://a.example/"], "jwks": jwks}
    with pytest.raises(services.NotVerifiedError):
        services.register_client(
            session, company_slug=company.slug, metadata=metadata, environment="live", now=db.now()
        )
    services.verify_company(session, slug=company.slug, now=db.now())
    made = services.register_client(
        session, company_slug=company.slug, metadata=metadata, environment="live", now=db.now()
    )
    assert made.startswith("live_")


def test_checking_a_name_lifts_no_suspension(session: Session, company: CompanyFacts) -> None:
    session.execute(update(Company).values(state="suspended").where(Company.company_id == company.company_id))
    with pytest.raises(services.SuspendedError):
        services.verify_company(session, slug=company.slug, now=db.now())


def declare(session: Session, client_id: str, **changes: Any) -> queries.PurposeFacts:  # noqa: ANN401 - any argument
    standard: dict[str, Any] = {
        "sentence": "send bills to the right address",
        "dpv": "PaymentManagement",
        "mode": "kept-up-to-date",
        "required": [("address.home", "Where the bill goes")],
        "optional": [("email.main", "To send a copy")],
        "retention_days": 365,
        "catalogue": CATALOGUE,
        "now": db.now(),
    }
    return services.declare_purpose(session, client_id=client_id, **(standard | changes))


def test_a_purpose_is_found_by_its_code(session: Session, client_id: str) -> None:
    made = declare(session, client_id, sentence="To send bills to the right address.")
    assert made.sentence == "send bills to the right address"
    assert queries.purpose_by_code(session, client_id, "send-bills-to-the-right-address") == made
    assert made.attributes == ("address.home", "email.main")
    with pytest.raises(services.PurposeTakenError):
        declare(session, client_id)


@pytest.mark.parametrize(
    ("change", "pointer"),
    [({"sentence": ""}, "/sentence"), ({"sentence": "to"}, "/sentence"),
     ({"sentence": "we need your address"}, "/sentence"),
     ({"sentence": "marketing"}, "/sentence"), ({"sentence": "sending bills"}, "/sentence"),
     ({"sentence": "send " + "b" * 120}, "/sentence"), ({"dpv": "Anything"}, "/dpv"), ({"mode": "always"}, "/mode"),
     ({"required": [], "optional": []}, "/required"),
     ({"required": [("bank.account", "x")]}, "/attributes/bank.account"),
     ({"optional": [("address.home", "again")]}, "/attributes/address.home"),
     ({"required": [("address.home", " ")]}, "/attributes/address.home"),
     ({"required": [("address.home", "r" * 161)]}, "/attributes/address.home"),
     ({"retention_days": -1}, "/retention_days"), ({"longest_days": 366}, "/longest_days"),
     ({"longest_days": 0}, "/longest_days"), ({"pulls_a_day": 0}, "/pulls_a_day"),
     ({"pulls_a_day": 1001}, "/pulls_a_day")],
)  # fmt: skip
def test_a_purpose_people_could_not_judge_is_refused(
    session: Session, client_id: str, change: dict[str, Any], pointer: str
) -> None:
    with pytest.raises(rules.PurposeError) as refusal:
        declare(session, client_id, **change)
    assert refusal.value.pointer == pointer


def test_verbs_that_look_like_none_pass(session: Session, client_id: str) -> None:
    assert declare(session, client_id, sentence="Bring your order home").sentence == "bring your order home"


@pytest.mark.parametrize(
    ("change", "pointer"),
    [({"legal_name": " "}, "/legal_name"), ({"trading_name": "x" * 201}, "/trading_name"),
     ({"trading_name": "a\x00b"}, "/trading_name"), ({"registration_number": ""}, "/registration_number"),
     ({"country": "Ireland"}, "/country"), ({"contact_email": "nobody"}, "/contact_email"),
     ({"privacy_url": "http://brightwell.example/"}, "/privacy_url"),
     ({"privacy_url": "javascript:alert(1)"}, "/privacy_url"), ({"stop_effect": "x" * 201}, "/stop_effect")],
)  # fmt: skip
def test_a_company_is_complete(session: Session, facts: Make, change: dict[str, Any], pointer: str) -> None:
    with pytest.raises(rules.DetailsError) as refusal:
        services.register_company(session, **facts(**change))
    assert refusal.value.pointer == pointer


@pytest.mark.parametrize(
    "name",
    ["\u202eygrenE llewthgirB", "Brightwell\u200b Energy", "Bright\u3164well", "\u0412rightwell Energy",
     "Brightw\u0435ll", "\u0391cme", "Brightwell \u2066Energy\u2069"],
)  # fmt: skip
@pytest.mark.parametrize("field", ["trading_name", "legal_name"])
def test_a_name_does_not_read_as_another(session: Session, facts: Make, field: str, name: str) -> None:
    with pytest.raises(rules.DetailsError) as refusal:
        services.register_company(session, **facts(**{field: name}))
    assert refusal.value.pointer == f"/{field}"


@pytest.mark.parametrize(
    "name",
    ["Ångström & Søn", "Яндекс Go", "ΔΕΗ Energy", "\u0646\u0627\u0645\u0647\u200c\u0631\u0633", "株式会社Linden", "3µ"],
)
def test_names_of_many_alphabets_pass(session: Session, facts: Make, name: str) -> None:
    made = services.register_company(session, **facts(trading_name=f"{name} {uuid4().hex[:8]}"))
    assert made.trading_name.startswith(name)


def test_a_name_without_latin_letters_is_found_by_its_number(session: Session, facts: Make) -> None:
    number = uuid4().hex[:12]
    made = services.register_company(
        session, **facts(trading_name="京都電力", country="JP", registration_number=number)
    )
    assert made.slug == f"jp-{number}"


def test_whoever_registers_acts_for_it(session: Session, facts: Make) -> None:
    person = uuid4()
    made = services.register_company(session, **facts(owner=person))
    [staff] = queries.companies_of(session, person)
    assert (staff.company, staff.role) == (made, "owner")
    assert queries.companies_of(session, uuid4()) == []


def test_only_checked_companies_are_in_the_register(session: Session, facts: Make) -> None:
    draft = services.register_company(session, **facts())
    checked = services.register_company(session, **facts(verified=True))
    listed = {found.slug for found in queries.verified_companies(session)}
    assert checked.slug in listed
    assert draft.slug not in listed


def test_of_two_companies_that_race_for_a_name_one_gets_it(settings: Settings, facts: Make) -> None:
    arguments = facts()

    def attempt(_number: int) -> str:
        try:
            with db.transaction(settings.database_url) as own:
                return services.register_company(own, **arguments).slug
        except names.CompanyTakenError as refusal:
            return refusal.pointer

    with ThreadPoolExecutor(4) as threads:
        results = list(threads.map(attempt, range(4)))
    assert sorted(result == "/trading_name" for result in results) == [False, True, True, True]
