"""A client's registered metadata as its staff see and change them: a form to RFC 7591 members and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from portal.companies import client_rules, clients
from portal.companies.metadata import CIBA

if TYPE_CHECKING:
    from collections.abc import Mapping

    from portal.companies.metadata import ClientMetadata
    from portal.companies.queries import ClientFacts

_ANSWERS = ("userinfo", "introspection")


def shown(client: ClientFacts) -> dict[str, Any]:
    """Return what `forms.SettingsForm` shows of a client, by field."""
    held = client.metadata
    return {
        "name": client.name,
        "redirect_uris": "\n".join(client.redirect_uris),
        "post_logout_redirect_uris": "\n".join(held.post_logout_redirect_uris),
        "approvals": held.backchannel_token_delivery_mode or "off",
        "notification_endpoint": held.backchannel_client_notification_endpoint or "",
        "require_signed_request_object": held.require_signed_request_object,
        "authorization_signed": held.authorization_signed_response_alg is not None,
        "id_token_encrypted": held.id_token_encrypted_response_alg is not None,
        **{what: form_of(held, what) for what in _ANSWERS},
    }


def form_of(held: ClientMetadata, what: str) -> str:
    """Return `plain`, `signed` or `encrypted`: how the answers of `what` go out."""
    if getattr(held, f"{what}_encrypted_response_alg") is not None:
        return "encrypted"
    return "plain" if getattr(held, f"{what}_signed_response_alg") is None else "signed"


def described_anew(client: ClientFacts, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return RFC 7591 metadata of a client with what was filled in; what the form does not show stays."""
    document = document_of(client)
    kept = [name for name in client.metadata.grant_types if name != CIBA]
    away = given["approvals"] != "off"
    document |= {
        "client_name": given["name"],
        "redirect_uris": given["redirect_uris"].split(),
        "post_logout_redirect_uris": given["post_logout_redirect_uris"].split(),
        "grant_types": [*kept, CIBA] if away else kept,
        "backchannel_token_delivery_mode": given["approvals"] if away else None,
        "backchannel_client_notification_endpoint": given["notification_endpoint"].strip() or None,
        "require_signed_request_object": bool(given["require_signed_request_object"]),
        "authorization_signed_response_alg": client_rules.SIGNED[0] if given["authorization_signed"] else None,
    }
    document |= _answer("id_token", "encrypted" if given["id_token_encrypted"] else "plain")
    for what in _ANSWERS:
        document |= _answer(what, given[what])
    return document


def document_of(client: ClientFacts) -> dict[str, Any]:
    """Return the RFC 7591 metadata of a client as it stands, without what follows from the rest."""
    document = client_rules.document(clients.described(client))
    del document["response_types"]
    return document


def _answer(what: str, form: str) -> dict[str, Any]:
    sealed = form == "encrypted"
    members: dict[str, Any] = {
        f"{what}_encrypted_response_alg": client_rules.SEALED_ALG[0] if sealed else None,
        f"{what}_encrypted_response_enc": client_rules.SEALED_ENC[0] if sealed else None,
    }
    if what != "id_token":
        members[f"{what}_signed_response_alg"] = None if form == "plain" else client_rules.SIGNED[0]
    return members
