"""What a client may say of itself (RFC 7591 section 2 and what builds on it): plain checks without a database.

A member nobody here understands is ignored, as RFC 7591 section 2 demands.  One that is understood and would ask
for less protection than the profile gives, or for something that is not done here, is refused, so that nobody
relies on it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final, cast

from portal.companies import keys, rules
from portal.companies.keys import ALGORITHMS
from portal.companies.metadata import CIBA, GRANT_TYPES, ClientMetadata
from portal.egress import guard
from portal.errors import InvalidError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

SIGNED: Final = ("ES256",)
SEALED_ALG: Final = ("ECDH-ES+A256KW",)
SEALED_ENC: Final = ("A256GCM",)
AUTH_METHOD: Final = "private_key_jwt"
NAME_LENGTH: Final = 80
CONTACTS: Final = 10
DELIVERY_MODES: Final = ("poll", "ping")

# Members with one or a few possible values; what is not among them is refused by name.
_ONE_OF: Final[dict[str, tuple[object, ...]]] = {
    "token_endpoint_auth_method": (AUTH_METHOD,),
    "token_endpoint_auth_signing_alg": ALGORITHMS,
    "subject_type": ("pairwise",),
    "id_token_signed_response_alg": SIGNED,
    "id_token_encrypted_response_alg": SEALED_ALG,
    "id_token_encrypted_response_enc": SEALED_ENC,
    "userinfo_signed_response_alg": SIGNED,
    "userinfo_encrypted_response_alg": SEALED_ALG,
    "userinfo_encrypted_response_enc": SEALED_ENC,
    "introspection_signed_response_alg": SIGNED,
    "introspection_encrypted_response_alg": SEALED_ALG,
    "introspection_encrypted_response_enc": SEALED_ENC,
    "authorization_signed_response_alg": SIGNED,
    "request_object_signing_alg": ALGORITHMS,
    "backchannel_token_delivery_mode": DELIVERY_MODES,
}
# Members that may only be on, only be off, or either; a client that leaves them out has the profile's own value.
_SWITCHES: Final[dict[str, tuple[bool, ...]]] = {
    "require_pushed_authorization_requests": (True,),
    "dpop_bound_access_tokens": (True,),
    "require_signed_request_object": (False, True),
    "tls_client_certificate_bound_access_tokens": (False,),
    "backchannel_user_code_parameter": (False,),
}
_REFUSED: Final = {
    "sector_identifier_uri": "Leave sector_identifier_uri out: subjects are the same for all apps of an organisation.",
    "request_uris": "Leave request_uris out: requests are pushed, never fetched.",
    "authorization_encrypted_response_alg": "Leave it out: answers in the browser are signed, not encrypted.",
    "authorization_encrypted_response_enc": "Leave it out: answers in the browser are signed, not encrypted.",
    "request_object_encryption_alg": "Leave it out: request objects are signed and pushed, not encrypted.",
    "request_object_encryption_enc": "Leave it out: request objects are signed and pushed, not encrypted.",
}
_PAGES: Final = ("client_uri", "logo_uri", "tos_uri", "policy_uri")
_SEALED: Final = ("id_token", "userinfo", "introspection")
_LONGEST_AGE: Final = 2**31 - 1


class ClientMetadataError(InvalidError):
    """RFC 7591 section 3.2.2: invalid_client_metadata."""

    code = "invalid-client-metadata"


class SoftwareStatementError(InvalidError):
    """RFC 7591 section 3.2.2: a software statement whose issuer is not trusted here, which is everybody."""

    code = "unapproved-software-statement"
    public = "Software statements are not accepted here. Leave software_statement out."


class NoSoftwareStatementError(SoftwareStatementError):
    """RFC 7591 section 3.2.2: what came as a software statement is none."""

    code = "invalid-software-statement"


@dataclass(frozen=True, kw_only=True)
class Described:
    """A client as it asks to be kept; its keys come beside."""

    name: str
    redirect_uris: tuple[str, ...]
    metadata: ClientMetadata

    def settings(self) -> dict[str, Any]:
        """Return what differs from what every client begins with, as JSON."""
        standard = asdict(ClientMetadata())
        return {name: value for name, value in asdict(self.metadata).items() if value != standard[name]}


def describe(document: object, *, own_host: str, allow: Collection[str]) -> Described:
    """Return the client in RFC 7591 metadata; raise with an RFC 6901 pointer to the first thing to mend.

    `own_host` is that of the organisation's privacy page; `allow` as in `portal.egress.guard`.
    Raises `ClientMetadataError`, `SoftwareStatementError`, `rules.RedirectUriError` or `rules.DetailsError`.
    """
    if not isinstance(document, dict):
        raise ClientMetadataError("The metadata is a JSON object.")
    given = {name: value for name, value in document.items() if value is not None}
    _check_statement(given)
    _check_plain(given)
    name = rules.line(_text(given, "client_name"), what="a name for the app", longest=NAME_LENGTH,
                      pointer="/client_name")  # fmt: skip
    grant_types = _grant_types(given)
    redirects = _redirect_uris(given, needed="authorization_code" in grant_types)
    hosts = {own_host} | {rules.host(address) for address in redirects}
    chosen: dict[str, Any] = {
        "grant_types": grant_types,
        "post_logout_redirect_uris": _post_logout(given, redirects),
        "contacts": _contacts(given),
        "jwks_uri": _fetched(given, "jwks_uri", allow),
        **{page: _page(given, page, hosts) for page in _PAGES},
        **_backchannel(given, grant_types, allow),
        **_requests(given),
        **_sealed(given),
    }
    return Described(name=name, redirect_uris=redirects, metadata=ClientMetadata(**chosen))


def sent_keys(document: object) -> list[keys.PublicKey] | None:
    """Return the checked keys that came with RFC 7591 metadata; None when they are at its `jwks_uri`.

    Raises `ClientMetadataError` or `keys.KeySetError`.
    """
    given = document if isinstance(document, dict) else {}
    if given.get("jwks") is None and given.get("jwks_uri") is not None:
        return None
    if given.get("jwks_uri") is not None:
        raise ClientMetadataError("Send jwks or jwks_uri, not both.", pointer="/jwks_uri")
    if given.get("jwks") is None:
        raise keys.KeySetError("Send the public keys as a JWK Set.", pointer="/jwks")
    found = keys.check(given["jwks"])
    keys.complete({(key.use, key.group) for key in found})
    return found


def document(described: Described) -> dict[str, Any]:
    """Return the members of RFC 7591 metadata that say the same, those that are fixed here included."""
    kept = {name: list(value) if isinstance(value, tuple) else value for name, value in _kept(described).items()}
    return {
        "client_name": described.name,
        "redirect_uris": list(described.redirect_uris),
        "response_types": ["code"] if "authorization_code" in described.metadata.grant_types else [],
        "token_endpoint_auth_method": AUTH_METHOD,
        "subject_type": "pairwise",
        "id_token_signed_response_alg": SIGNED[0],
        "require_pushed_authorization_requests": True,
        "dpop_bound_access_tokens": True,
        **kept,
    }


def _kept(described: Described) -> dict[str, Any]:
    empty: tuple[object, ...] = (None, ())
    return {name: value for name, value in asdict(described.metadata).items() if value not in empty}


def _check_statement(given: Mapping[str, object]) -> None:
    if "software_statement" in given:
        looks_like_one = isinstance(given["software_statement"], str)
        error = SoftwareStatementError if looks_like_one else NoSoftwareStatementError
        raise error(pointer="/software_statement")


def _check_plain(given: Mapping[str, object]) -> None:
    for name, sentence in _REFUSED.items():
        if name in given:
            raise ClientMetadataError(sentence, pointer=f"/{name}")
    for name, allowed in _ONE_OF.items():
        if name in given and (not isinstance(given[name], str) or given[name] not in allowed):
            raise ClientMetadataError(f"{name} must be {_either(allowed)}.", pointer=f"/{name}")
    for name, switch in _SWITCHES.items():
        if name in given and not (isinstance(given[name], bool) and given[name] in switch):
            words = _either(tuple(str(value).lower() for value in switch))
            raise ClientMetadataError(f"{name} must be {words}.", pointer=f"/{name}")


def _either(allowed: tuple[object, ...]) -> str:
    return " or ".join(map(str, allowed))


def _text(given: Mapping[str, object], name: str) -> str:
    value = given.get(name)
    if not isinstance(value, str):
        raise ClientMetadataError(f"{name} must be a text.", pointer=f"/{name}")
    return value


def _texts(given: Mapping[str, object], name: str, *, most: int) -> list[str]:
    value = given.get(name, [])
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ClientMetadataError(f"{name} must be a list of texts.", pointer=f"/{name}")
    if len(value) > most or len(set(value)) != len(value):
        raise ClientMetadataError(f"{name} holds at most {most} different texts.", pointer=f"/{name}")
    return cast("list[str]", value)


def _grant_types(given: Mapping[str, object]) -> tuple[str, ...]:
    known = (*GRANT_TYPES, CIBA)
    wanted = tuple(_texts(given, "grant_types", most=len(known))) if "grant_types" in given else GRANT_TYPES
    if not wanted or not set(wanted) <= set(known):
        raise ClientMetadataError(f"grant_types are some of {', '.join(known)}.", pointer="/grant_types")
    if "refresh_token" in wanted and not {"authorization_code", CIBA} & set(wanted):
        raise ClientMetadataError("refresh_token needs authorization_code or CIBA beside it.", pointer="/grant_types")
    fitting = ["code"] if "authorization_code" in wanted else []
    if given.get("response_types", fitting) != fitting:
        words = "code and nothing else" if fitting else "empty, for there is no authorization_code in grant_types"
        raise ClientMetadataError(f"response_types must be {words}.", pointer="/response_types")
    return wanted


def _redirect_uris(given: Mapping[str, object], *, needed: bool) -> tuple[str, ...]:
    if not needed and given.get("redirect_uris", []) == []:
        return ()
    return tuple(rules.redirect_uris(given.get("redirect_uris")))


def _post_logout(given: Mapping[str, object], redirects: tuple[str, ...]) -> tuple[str, ...]:
    # OpenID Connect RP-Initiated Logout 1.0 section 3.1.
    name = "post_logout_redirect_uris"
    addresses = _texts(given, name, most=rules.REDIRECTS)
    for position, address in enumerate(addresses):
        rules.web_address(address, pointer=f"/{name}/{position}", error=ClientMetadataError)
    rules.one_host([*redirects, *addresses], pointer=f"/{name}", error=ClientMetadataError)
    return tuple(addresses)


def _contacts(given: Mapping[str, object]) -> tuple[str, ...]:
    found = _texts(given, "contacts", most=CONTACTS)
    return tuple(rules.email(address, pointer=f"/contacts/{position}") for position, address in enumerate(found))


def _page(given: Mapping[str, object], name: str, hosts: Collection[str]) -> str | None:
    if name not in given:
        return None
    address = rules.web_address(_text(given, name), pointer=f"/{name}", error=ClientMetadataError)
    if not rules.is_local(address) and rules.host(address) not in hosts:
        sentence = f"{name} must be on the host of a redirect address or of the organisation's privacy page."
        raise ClientMetadataError(sentence, pointer=f"/{name}")
    return address


def _fetched(given: Mapping[str, object], name: str, allow: Collection[str]) -> str | None:
    # The portal will call this address, so its form is judged as every call's: at registration no name is asked for.
    if name not in given:
        return None
    address = _text(given, name)
    try:
        guard.check_form(address, allow=allow)
    except guard.UnsafeAddressError as error:
        raise ClientMetadataError(f"{name}: {error.public}", pointer=f"/{name}") from error
    return address


def _backchannel(given: Mapping[str, object], grant_types: tuple[str, ...], allow: Collection[str]) -> dict[str, Any]:
    # CIBA Core 1.0 section 4; an endpoint that nothing would be sent to is not kept.
    mode, endpoint = given.get("backchannel_token_delivery_mode"), "backchannel_client_notification_endpoint"
    if (mode is None) != (CIBA not in grant_types):
        sentence = "backchannel_token_delivery_mode and the CIBA grant type come together."
        raise ClientMetadataError(sentence, pointer="/backchannel_token_delivery_mode")
    if "backchannel_authentication_request_signing_alg" in given:
        pointer = "/backchannel_authentication_request_signing_alg"
        raise ClientMetadataError("Leave it out: requests for approval are not signed.", pointer=pointer)
    if mode == "ping" and endpoint not in given:
        raise ClientMetadataError(f"ping needs {endpoint}.", pointer=f"/{endpoint}")
    called = _fetched(given, endpoint, allow)
    return {"backchannel_token_delivery_mode": mode, endpoint: called if mode == "ping" else None}


def _requests(given: Mapping[str, object]) -> dict[str, Any]:
    age = given.get("default_max_age")
    if age is not None and (not isinstance(age, int) or isinstance(age, bool) or not 0 <= age <= _LONGEST_AGE):
        raise ClientMetadataError("default_max_age is a number of seconds.", pointer="/default_max_age")
    kept = ("token_endpoint_auth_signing_alg", "request_object_signing_alg", "authorization_signed_response_alg")
    return {
        "default_max_age": age,
        "require_signed_request_object": given.get("require_signed_request_object", False),
        **{name: given.get(name) for name in kept},
    }


def _sealed(given: Mapping[str, object]) -> dict[str, Any]:
    # Without `enc` the registries mean A128CBC-HS256, which is not served: the answer says A256GCM (RFC 7591, 3.2.1).
    chosen: dict[str, Any] = {}
    for what in _SEALED:
        alg, enc = f"{what}_encrypted_response_alg", f"{what}_encrypted_response_enc"
        signed = f"{what}_signed_response_alg"
        if enc in given and alg not in given:
            raise ClientMetadataError(f"{enc} needs {alg}.", pointer=f"/{alg}")
        if alg in given and signed not in given and what != "id_token":
            raise ClientMetadataError(f"{alg} needs {signed}: what is encrypted is signed first.", pointer=f"/{signed}")
        chosen |= {alg: given.get(alg), enc: SEALED_ENC[0] if alg in given else None}
        if what != "id_token":
            chosen[signed] = given.get(signed)
    return chosen
