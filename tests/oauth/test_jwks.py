"""The published keys over HTTP: public, cacheable, and right for every token through a rotation."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from joserfc import jws
from joserfc.jwk import KeySet

from portal import db
from portal.oauth import jwks
from portal.sync import jobs, messages
from portal.vault import signing
from tests.signing_keys import pass_time, put_back

if TYPE_CHECKING:
    from portal.config import Settings
    from portal.vault.keyring import Keyring
    from tests.oauth.conftest import Person
    from tests.oauth.rp import Answer, RelyingParty

PATH = "/oauth/jwks"


def fetch(rp: RelyingParty, **headers: str) -> Answer:
    return rp.get(PATH, **headers)


def kid_of(rp: RelyingParty, token: str) -> Any:  # noqa: ANN401 - whatever a header holds
    """Verify `token` with what is published at this moment; return the key's name."""
    keys = KeySet.import_key_set(fetch(rp).json)
    return jws.deserialize_compact(token, keys, algorithms=["ES256"]).headers()["kid"]


def test_only_public_members_and_each_kid_once(rp: RelyingParty, settings: Settings, keys: Keyring) -> None:
    # RFC 7517 section 5, FAPI 2.0 section 5.4.2.
    with put_back(settings):
        with db.transaction(settings.database_url) as session:
            signing.rotate(session, keyring=keys, now=db.now())
        published = fetch(rp).json["keys"]
    assert len(published) == 2
    assert len({key["kid"] for key in published}) == 2
    for key in published:
        assert key.keys() == {"kty", "crv", "x", "y", "kid", "use", "alg"}
        assert (key["kty"], key["crv"], key["use"], key["alg"]) == ("EC", "P-256", "sig", "ES256")


def test_it_may_be_kept_and_asked_about_again(rp: RelyingParty, settings: Settings, keys: Keyring) -> None:
    first = fetch(rp)
    assert first.headers["Cache-Control"] == f"public, max-age={jwks.MAX_AGE}"
    tag = first.headers["ETag"]
    assert fetch(rp, **{"If-None-Match": tag}).status_code == 304
    with put_back(settings):
        with db.transaction(settings.database_url) as session:
            signing.rotate(session, keyring=keys, now=db.now())
        assert fetch(rp, **{"If-None-Match": tag}).status_code == 200


def test_running_processes_sign_on_through_a_rotation(
    rp: RelyingParty, person: Person, settings: Settings, keys: Keyring
) -> None:
    with put_back(settings):
        given = rp.redeem(rp.code(person.browser)).json
        old = kid_of(rp, given["id_token"])
        with db.transaction(settings.database_url) as session:
            new = signing.rotate(session, keyring=keys, now=db.now()).kid
        waiting = rp.redeem(rp.code(person.browser)).json["id_token"]
        assert kid_of(rp, waiting) == kid_of(rp, pulled(rp, given)) == old
        pass_time(settings, signing.LEAD + timedelta(seconds=1))
        after = rp.redeem(rp.code(person.browser)).json["id_token"]
        assert kid_of(rp, after) == kid_of(rp, pulled(rp, given)) == new
        for token in (given["id_token"], waiting):
            assert kid_of(rp, token) == old


def pulled(rp: RelyingParty, given: dict[str, Any]) -> str:
    answer = rp.call(f"/api/v1/people/{given['sub']}", rp.own_token())
    assert answer.headers["Content-Type"] == messages.MEDIA_TYPE, answer.text
    return answer.text


def test_the_reconciler_turns_them_after_ninety_days(rp: RelyingParty, settings: Settings) -> None:
    with put_back(settings):
        pass_time(settings, signing.TURN - timedelta(hours=6))
        jobs.tidy(settings, now=db.now())
        assert len(fetch(rp).json["keys"]) == 1
        pass_time(settings, timedelta(hours=6))
        for _ in range(2):
            jobs.tidy(settings, now=db.now())
            assert len(fetch(rp).json["keys"]) == 2
        pass_time(settings, signing.LEAD + signing.KEPT)
        jobs.tidy(settings, now=db.now())
        assert len(fetch(rp).json["keys"]) == 1
