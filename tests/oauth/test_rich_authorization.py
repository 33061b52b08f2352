"""What a `ucm_profile` may say (RFC 9396), and that it is held to from the request to the answer."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from sqlalchemy import update

from portal import db
from portal.companies import services as companies
from portal.companies.models import Purpose
from portal.consent import queries as consents
from portal.consent import terms
from portal.consumer.catalogue import CATALOGUE
from portal.oauth import rich_authorization
from portal.oauth.errors import InvalidAuthorizationDetailsError, InvalidScopeError, OAuthError
from tests.oauth.conftest import make_rp
from tests.oauth.rp import VERIFIER, RelyingParty, query
from tests.purposes import amend, only

if TYPE_CHECKING:
    from flask.testing import FlaskClient

    from portal.config import Settings
    from portal.consent.terms import Wanted
    from tests.oauth.conftest import Person

ROOT = Path(__file__).parents[2]
WHOLE = ("name.full", "email.main", "address.home")
NAME = ["name.full"]


def text(rp: RelyingParty, **members: Any) -> str:  # noqa: ANN401 - members of any kind
    return json.dumps([{"type": "ucm_profile", "purpose": rp.purpose, **members}])


def read(rp: RelyingParty, settings: Settings, details: str | None, scope: str = "openid") -> Wanted:
    with db.transaction(settings.database_url) as session:
        return rich_authorization.read(
            session, client_id=rp.client_id, text=details, scope=scope, issuer=rp.issuer
        ).wanted


def asking(rp: RelyingParty, settings: Settings, **members: Any) -> Wanted:  # noqa: ANN401 - members of any kind
    return read(rp, settings, text(rp, **members))


def declare(settings: Settings, rp: RelyingParty, **columns: Any) -> None:  # noqa: ANN401 - columns of a version
    with db.transaction(settings.database_url) as session:
        amend(session, only(session, rp.client_id), **columns)


def test_what_is_left_out_is_the_purposes_own__rfc9396_2(rp: RelyingParty, settings: Settings) -> None:
    assert asking(rp, settings) == terms.Wanted(
        attributes=WHOLE, mode="kept-up-to-date", retention_days=30, longest_days=365, open_ended=True
    )


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({"attributes": NAME}, {"attributes": ("name.full",)}),
        ({"attributes": ["address.home", "name.full"]}, {"attributes": ("name.full", "address.home")}),
        ({"actions": ["read"]}, {"mode": "asked"}),
        ({"actions": ["subscribe", "read"]}, {"mode": "kept-up-to-date"}),
        ({"mode": "asked"}, {"mode": "asked"}),
        ({"mode": "once", "actions": ["read"]}, {"mode": "once"}),
        ({"mode": "kept-up-to-date", "actions": ["read", "subscribe"]}, {"mode": "kept-up-to-date"}),
        ({"retention": "P0D"}, {"retention_days": 0}),
        ({"retention": "P4W"}, {"retention_days": 28}),
        ({"retention": "P1M"}, {"retention_days": 30}),
        ({"duration": "P1D"}, {"longest_days": 1, "open_ended": False}),
        ({"duration": "P3M"}, {"longest_days": 90, "open_ended": False}),
        ({"duration": "P1Y"}, {"longest_days": 365, "open_ended": False}),
    ],
)
def test_each_member_narrows(
    rp: RelyingParty, settings: Settings, members: dict[str, Any], expected: dict[str, Any]
) -> None:
    wanted = asking(rp, settings, **members)
    assert {name: getattr(wanted, name) for name in expected} == expected


def test_locations_name_the_api__rfc9396_2_2(rp: RelyingParty, settings: Settings) -> None:
    assert asking(rp, settings, locations=[f"{rp.issuer}/api/v1"]) == asking(rp, settings)


MEMBERS = rich_authorization.DetailsMemberError
ATTRIBUTES = rich_authorization.AttributesError
ACTIONS = rich_authorization.ActionsError
MODE = rich_authorization.ModeError
RETENTION = rich_authorization.RetentionError
DURATION = rich_authorization.DurationError
LOCATIONS = rich_authorization.LocationsError
PURPOSE = rich_authorization.PurposeUnknownError
CONTRADICTION = rich_authorization.ActionsContradictModeError


@pytest.mark.parametrize(
    ("members", "error"),
    [
        ({"identifier": "x"}, MEMBERS), ({"datatypes": []}, MEMBERS), ({"expires_at": "2030-01-01"}, MEMBERS),
        ({"purpose": "other"}, PURPOSE), ({"purpose": None}, PURPOSE), ({"purpose": ["orders"]}, PURPOSE),
        ({"purpose": "orders\ud800"}, PURPOSE), ({"purpose": "o" * 129}, PURPOSE), ({"purpose": {}}, PURPOSE),
        ({"attributes": []}, ATTRIBUTES), ({"attributes": None}, ATTRIBUTES), ({"attributes": "name.full"}, ATTRIBUTES),
        ({"attributes": ["name.full", "name.full"]}, ATTRIBUTES), ({"attributes": ["name.full", 7]}, ATTRIBUTES),
        ({"attributes": ["name.full", ["email.main"]]}, ATTRIBUTES), ({"attributes": {"name.full": 1}}, ATTRIBUTES),
        ({"attributes": ["name.full", "birth.date"]}, ATTRIBUTES), ({"attributes": ["name.full", ""]}, ATTRIBUTES),
        ({"attributes": ["email.main"]}, rich_authorization.AttributesMissingError),
        ({"actions": []}, ACTIONS), ({"actions": ["subscribe"]}, ACTIONS), ({"actions": "read"}, ACTIONS),
        ({"actions": ["read", "read"]}, ACTIONS), ({"actions": ["read", "write"]}, ACTIONS),
        ({"actions": None}, ACTIONS), ({"actions": ["read", None]}, ACTIONS), ({"actions": {}}, ACTIONS),
        ({"mode": "always"}, MODE), ({"mode": None}, MODE), ({"mode": ["asked"]}, MODE), ({"mode": 1}, MODE),
        ({"mode": "asked", "actions": ["read", "subscribe"]}, CONTRADICTION),
        ({"mode": "once", "actions": ["read", "subscribe"]}, CONTRADICTION),
        ({"mode": "kept-up-to-date", "actions": ["read"]}, CONTRADICTION),
        ({"retention": "P31D"}, RETENTION), ({"retention": "P1Y"}, RETENTION), ({"retention": 30}, RETENTION),
        ({"retention": "30"}, RETENTION), ({"retention": "P1M1D"}, RETENTION), ({"retention": "PT1H"}, RETENTION),
        ({"retention": "P-1D"}, RETENTION), ({"retention": "P1.5D"}, RETENTION), ({"retention": None}, RETENTION),
        ({"retention": "P٣D"}, RETENTION), ({"retention": "P01D"}, RETENTION), ({"retention": "P1D\n"}, RETENTION),
        ({"retention": "P99999D"}, RETENTION), ({"retention": "p1d"}, RETENTION), ({"retention": True}, RETENTION),
        ({"duration": "P0D"}, DURATION), ({"duration": "P366D"}, DURATION), ({"duration": "P13M"}, DURATION),
        ({"duration": "P2Y"}, DURATION), ({"duration": None}, DURATION), ({"duration": ""}, DURATION),
        ({"duration": 90}, DURATION), ({"duration": ["P90D"]}, DURATION), ({"duration": "P9999Y"}, DURATION),
        ({"locations": []}, LOCATIONS), ({"locations": None}, LOCATIONS), ({"locations": "x"}, LOCATIONS),
        ({"locations": ["https://elsewhere.example"]}, LOCATIONS), ({"locations": [1]}, LOCATIONS),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_refused_by_name__rfc9396_5(
    rp: RelyingParty, settings: Settings, members: dict[str, Any], error: type[OAuthError]
) -> None:
    with pytest.raises(error) as caught:
        asking(rp, settings, **members)
    assert isinstance(caught.value, InvalidAuthorizationDetailsError)
    assert caught.value.public == error.public
    assert caught.value.public.isascii()


def test_the_location_is_named_once__rfc9396_2_2(rp: RelyingParty, settings: Settings) -> None:
    with pytest.raises(LOCATIONS):
        asking(rp, settings, locations=[f"{rp.issuer}/api/v1"] * 2)
    with pytest.raises(LOCATIONS):
        asking(rp, settings, locations=[rp.issuer])


ONE = '{"type":"ucm_profile","purpose":"orders"}'


@pytest.mark.parametrize(
    ("details", "error"),
    [
        (None, rich_authorization.DetailsMissingError), ("", rich_authorization.DetailsMissingError),
        ("[]", rich_authorization.DetailsMissingError), (ONE, rich_authorization.DetailsMissingError),
        (f"[{ONE},{ONE}]", rich_authorization.DetailsMissingError), ("[1]", rich_authorization.DetailsMissingError),
        ("[null]", rich_authorization.DetailsMissingError), ("[" * 2000, rich_authorization.DetailsMissingError),
        (f"[{ONE}", rich_authorization.DetailsMissingError), ("[NaN]", rich_authorization.DetailsMissingError),
        ('[{"type":"ucm_profile","purpose":"orders","purpose":"orders"}]', rich_authorization.DetailsMissingError),
        (f"[{'9' * 4000}]", rich_authorization.DetailsMissingError),
        ('[{"type":"ucm_profile"}]', MEMBERS), ('[{"purpose":"orders"}]', rich_authorization.DetailsTypeError),
        ('[{"type":"other","purpose":"orders"}]', rich_authorization.DetailsTypeError),
        ('[{"type":["ucm_profile"],"purpose":"orders"}]', rich_authorization.DetailsTypeError),
        (f"[{ONE}]" + " " * 4096, rich_authorization.DetailsTooLongError),
    ],
)  # fmt: skip
def test_it_is_one_object_of_the_one_type__rfc9396_2(
    rp: RelyingParty, settings: Settings, details: str | None, error: type[OAuthError]
) -> None:
    with pytest.raises(error):
        read(rp, settings, details)


@pytest.mark.parametrize(
    ("offered", "members", "fits"),
    [
        ("asked", {"mode": "kept-up-to-date"}, False), ("asked", {"actions": ["read", "subscribe"]}, False),
        ("once", {"mode": "asked"}, False), ("once", {"actions": ["read"]}, True), ("once", {"mode": "once"}, True),
        ("asked", {"mode": "once"}, True), ("asked", {"actions": ["read"]}, True), ("asked", {}, True),
    ],
)  # fmt: skip
def test_never_more_than_the_purpose_offers(
    rp: RelyingParty, settings: Settings, offered: str, members: dict[str, Any], *, fits: bool
) -> None:
    declare(settings, rp, mode=offered)
    if fits:
        assert asking(rp, settings, **members).mode == members.get("mode", offered)
    else:
        with pytest.raises(MODE):
            asking(rp, settings, **members)


@pytest.mark.parametrize(
    ("scope", "members", "attributes"),
    [
        ("openid email", {}, ("name.full", "email.main")),
        ("openid profile", {}, ("name.full",)),
        ("openid email address", {"attributes": NAME}, WHOLE),
        ("email profile", {"attributes": ["address.home"]}, WHOLE),
        ("openid", {}, WHOLE),
    ],
)
def test_scopes_name_details_through_the_catalogue(
    rp: RelyingParty, settings: Settings, scope: str, members: dict[str, Any], attributes: tuple[str, ...]
) -> None:
    assert read(rp, settings, text(rp, **members), scope).attributes == attributes


@pytest.mark.parametrize(
    ("scope", "attributes"),
    [
        ("openid", ("name.full",)), ("openid profile", ("name.full",)), ("openid email", ("name.full", "email.main")),
        ("openid profile email address", WHOLE),
    ],
)  # fmt: skip
def test_scope_alone_means_the_only_purpose(
    rp: RelyingParty, person: Person, scope: str, attributes: tuple[str, ...]
) -> None:
    uri = rp.push(scope=scope, authorization_details=None)
    back = rp.answer(person.browser, uri, attributes=list(attributes[1:]))
    body = rp.redeem(query(back)["code"]).json
    [details] = body["authorization_details"]
    assert (details["purpose"], set(details["attributes"])) == ("orders", set(attributes))
    assert rp.call("/oauth/userinfo", body["access_token"]).status_code == 200


@pytest.mark.parametrize("purposes", [0, 2])
def test_scope_alone_names_no_purpose_of_several_or_none(rp: RelyingParty, settings: Settings, purposes: int) -> None:
    with db.transaction(settings.database_url) as session:
        if purposes:
            companies.declare_purpose(
                session, client_id=rp.client_id, code="more", sentence="do something else", dpv="ServiceProvision",
                mode="asked", required=[("name.full", "to write")], optional=[], retention_days=1,
                catalogue=CATALOGUE, now=db.now(),
            )  # fmt: skip
        else:
            session.execute(update(Purpose).where(Purpose.client_id == rp.client_id).values(withdrawn_at=db.now()))
    answer = rp.post("/oauth/par", rp.request(authorization_details=None))
    assert answer.json["error_description"] == rich_authorization.PurposeNotNamedError.public
    assert answer.json["error"] == "invalid_authorization_details"


def test_a_scope_beyond_the_purpose_is_refused(rp: RelyingParty, settings: Settings) -> None:
    with pytest.raises(InvalidScopeError):
        read(rp, settings, text(rp), "openid phone")


def test_what_is_kept_is_what_was_read(rp: RelyingParty, settings: Settings) -> None:
    with db.transaction(settings.database_url) as session:
        asked = rich_authorization.read(
            session, client_id=rp.client_id, text=text(rp, duration="P2W"), scope="openid", issuer=rp.issuer
        )
    kept = json.loads(json.dumps(asked.kept()))
    assert UUID(kept["purpose_id"]) == asked.purpose.purpose_id
    assert terms.wanted(kept) == asked.wanted


def test_the_error_is_the_rfcs_at_par__rfc9396_5(rp: RelyingParty) -> None:
    answer = rp.post("/oauth/par", rp.request(authorization_details=text(rp, retention="P31D")))
    assert answer.status_code == 400
    assert answer.json["error"] == "invalid_authorization_details"
    assert answer.json["error_description"] == RETENTION.public


def test_a_token_is_as_wide_as_its_grant__rfc9396_6(rp: RelyingParty, person: Person) -> None:
    body = rp.redeem(rp.code(person.browser)).json
    for form in (
        {"grant_type": "refresh_token", "refresh_token": body["refresh_token"]},
        {"grant_type": "authorization_code", "code": rp.code(person.browser), "code_verifier": VERIFIER},
        {"grant_type": "client_credentials"},
    ):
        answer = rp.token(**form, authorization_details=text(rp, attributes=NAME))
        assert (answer.status_code, answer.json["error"]) == (400, "invalid_authorization_details")
        assert rp.token(**form).status_code == 200


def test_the_whole_way_of_a_narrow_request__rfc9396_7(rp: RelyingParty, person: Person, settings: Settings) -> None:
    narrow = text(
        rp, attributes=["name.full", "email.main"], actions=["read"], retention="P1W", duration="P2M",
        locations=[f"{rp.issuer}/api/v1"],
    )  # fmt: skip
    uri = rp.push(authorization_details=narrow)
    screen = person.browser.get(rp.address(uri)).text
    assert "When they ask: they see these details as they are at that moment." in screen
    assert "within 7 days" in screen
    assert "60 days" in screen
    for beyond in ("Home address", "Kept up to date", "12 months", "3 months", "Until I stop it", "told when you"):
        assert beyond not in screen
    back = rp.answer(person.browser, uri, duration="longest")
    body = rp.redeem(query(back)["code"]).json
    [details] = body["authorization_details"]
    with db.transaction(settings.database_url) as session:
        held = consents.grant(session, person_id=person.person_id, grant_id=UUID(body["grant_id"]))
        assert held is not None
        [_request, step] = consents.versions(session, person_id=person.person_id, grant_id=held.grant_id)
    assert details == {
        "type": "ucm_profile", "purpose": "orders", "attributes": ["name.full"], "actions": ["read"],
        "mode": "asked", "retention": "P7D", "duration": "P60D",
        "expires_at": (held.changed_at + timedelta(days=60)).isoformat(timespec="seconds"),
    }  # fmt: skip
    assert (held.mode, held.retention_days, held.level) == ("asked", 7, 1)
    assert (step.retention_days, step.level) == (7, 1)
    assert step.shown["terms"] == {
        "attributes": ["name.full", "email.main"], "mode": "asked", "retention_days": 7, "longest_days": 60,
        "open_ended": False, "pulls_a_day": None,
    }  # fmt: skip


def test_the_example_of_the_documents_is_taken_as_it_is(rp: RelyingParty, settings: Settings) -> None:
    found = re.search(
        r"^```json\n(\[{.*?)^```$", (ROOT / "docs" / "companies" / "asking.md").read_text(), re.DOTALL | re.MULTILINE
    )
    assert found
    wanted = read(rp, settings, found[1].replace("https://<the portal>", rp.issuer))
    assert wanted == terms.Wanted(
        attributes=("name.full", "address.home"), mode="kept-up-to-date", retention_days=14, longest_days=180,
        open_ended=False,
    )  # fmt: skip


def test_sharing_until_stopped_has_no_duration(rp: RelyingParty, person: Person) -> None:
    back = rp.answer(person.browser, rp.push(), duration="until")
    [details] = rp.redeem(query(back)["code"]).json["authorization_details"]
    assert not {"duration", "expires_at"} & details.keys()
    assert details["actions"] == ["read", "subscribe"]


def test_a_named_duration_is_not_without_end(rp: RelyingParty, person: Person) -> None:
    back = rp.answer(person.browser, rp.push(authorization_details=text(rp, duration="P1Y")), duration="until")
    assert back.status_code == 422


def test_an_answer_cannot_go_beyond_the_request(rp: RelyingParty, person: Person) -> None:
    narrow = text(rp, attributes=NAME)
    for beyond in ("address.home", "birth.date"):
        assert rp.answer(person.browser, rp.push(authorization_details=narrow), attributes=[beyond]).status_code == 422


def test_one_look_alone(http: FlaskClient, settings: Settings, person: Person) -> None:
    rp = make_rp(http, settings)
    uri = rp.push(authorization_details=text(rp, mode="once", duration="P3D"))
    [details] = rp.redeem(query(rp.answer(person.browser, uri, duration="once"))["code"]).json["authorization_details"]
    assert (details["mode"], details["actions"], details["duration"]) == ("once", ["read"], "P3D")


@pytest.mark.parametrize(
    ("members", "silent"),
    [
        ({"attributes": NAME}, True), ({"attributes": NAME, "mode": "asked", "retention": "P2D"}, True),
        ({"attributes": ["name.full", "email.main"]}, False),
        ({"attributes": NAME, "mode": "kept-up-to-date"}, False), ({"attributes": NAME, "retention": "P30D"}, False),
    ],
)  # fmt: skip
def test_only_what_goes_beyond_what_is_shared_is_asked_again(
    rp: RelyingParty, person: Person, members: dict[str, Any], *, silent: bool
) -> None:
    first = {"attributes": NAME} | ({} if members == {"attributes": NAME} else {"mode": "asked", "retention": "P7D"})
    rp.answer(person.browser, rp.push(authorization_details=text(rp, **first)), duration="year")
    screen = person.browser.get(rp.address(rp.push(authorization_details=text(rp, **members)))).text
    assert ("Nothing changes if you continue" in screen) is silent


def test_confirming_tells_how_it_is_shared_and_not_how_it_is_asked(rp: RelyingParty, person: Person) -> None:
    rp.answer(person.browser, rp.push(authorization_details=text(rp, attributes=NAME)))
    screen = person.browser.get(rp.address(rp.push(authorization_details=text(rp, attributes=NAME, mode="asked"))))
    assert "Nothing changes if you continue" in screen.text
    assert "Kept up to date: when you change" in screen.text
