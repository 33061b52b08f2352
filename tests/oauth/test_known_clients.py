"""Whatever is written about a client is felt by its next request, though it is not read anew for each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import delete, update

from portal import db
from portal.companies.models import Client, ClientKey, Company
from portal.oauth import known_clients
from tests.counting import statements

if TYPE_CHECKING:
    from portal.config import Settings
    from tests.oauth.rp import RelyingParty


def found(settings: Settings, rp: RelyingParty) -> known_clients.Known:
    known = known_clients.find(settings.database_url, rp.client_id)
    assert known
    return known


def test_it_is_read_once(rp: RelyingParty, settings: Settings) -> None:
    first = found(settings, rp)
    with statements(settings) as seen:
        assert found(settings, rp) is first
    assert not seen


CHANGES: list[tuple[type[db.Base], dict[str, Any]]] = [
    (Client, {"state": "suspended"}), (Client, {"name": "Another"}), (Client, {"redirect_uris": ["https://x.example"]}),
    (Client, {"settings": {"grant_types": ["client_credentials"]}}), (Client, {"keys_fetched_at": db.now()}),
    (ClientKey, {"retired_at": db.now()}), (ClientKey, {"kid": "s2"}), (ClientKey, {"jwk": {"kty": "EC"}}),
]  # fmt: skip


@pytest.mark.parametrize(("model", "values"), CHANGES, ids=str)
def test_every_change_is_seen(
    rp: RelyingParty, settings: Settings, model: type[Client | ClientKey], values: dict[str, Any]
) -> None:
    before = found(settings, rp)
    with db.transaction(settings.database_url) as session:
        which = [model.client_id == rp.client_id, *([ClientKey.use == "sig"] if model is ClientKey else [])]
        session.execute(update(model).where(*which).values(**values))
    assert found(settings, rp) is not before


def test_a_company_that_is_suspended_takes_its_clients_along(rp: RelyingParty, settings: Settings) -> None:
    assert rp.token(grant_type="client_credentials").status_code == 200
    company_id = found(settings, rp).facts.company_id
    with db.transaction(settings.database_url) as session:
        session.execute(update(Company).where(Company.company_id == company_id).values(state="suspended"))
    assert rp.token(grant_type="client_credentials").json["error"] == "invalid_client"
    with db.transaction(settings.database_url) as session:
        session.execute(update(Company).where(Company.company_id == company_id).values(state="verified"))
    assert rp.token(grant_type="client_credentials").status_code == 200


def test_nothing_is_kept_under_another_states_fingerprint(rp: RelyingParty, settings: Settings) -> None:
    # Suspended, opened and suspended again within a moment: what was read in between is not the suspended client.
    with pytest.raises(known_clients.ChangedMeanwhileError):
        known_clients.read(settings.database_url, rp.client_id, b"of another moment")
    assert found(settings, rp).facts.active


def test_one_that_is_gone_is_nobody(rp: RelyingParty, settings: Settings) -> None:
    assert found(settings, rp)
    with db.transaction(settings.database_url) as session:
        session.execute(delete(ClientKey).where(ClientKey.client_id == rp.client_id))
    assert found(settings, rp).keys == ()
    assert known_clients.find(settings.database_url, "nobody") is None
