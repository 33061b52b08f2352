"""What a browser may fill in for people: one token a field, as the HTML standard spells them."""

from __future__ import annotations

import pytest

from portal.consumer.catalogue import CATALOGUE
from portal.consumer.forms import form_for

TOKENS = {
    "name.full": {"value": "name"},
    "name.known_as": {"value": "nickname"},
    "birth.date": {"day": "bday-day", "month": "bday-month", "year": "bday-year"},
    "email.main": {"value": "email"},
    "phone.mobile": {"value": "tel"},
    "phone.home": {"value": "home tel"},
    "language.preferred": {"value": "language"},
    "contact.channel": {"value": None},
    "address.home": {
        "country": "country",
        "line1": "address-line1",
        "line2": "address-line2",
        "city_area": "address-level3",
        "city": "address-level2",
        "country_area": "address-level1",
        "postal_code": "postal-code",
    },
    "address.post": {
        "country": "shipping country",
        "line1": "shipping address-line1",
        "line2": "shipping address-line2",
        "city_area": "shipping address-level3",
        "city": "shipping address-level2",
        "country_area": "shipping address-level1",
        "postal_code": "shipping postal-code",
    },
}


def test_the_table_is_complete() -> None:
    assert TOKENS.keys() == CATALOGUE.keys()


@pytest.mark.parametrize("name", sorted(TOKENS))
def test_every_field_has_its_token(name: str) -> None:
    form = form_for(CATALOGUE[name], {"country": "IE"})
    assert {field.name: (field.render_kw or {}).get("autocomplete") for field in form} == TOKENS[name]


@pytest.mark.parametrize(("name", "token"), [("address.home", ""), ("address.post", "shipping ")])
def test_an_address_in_lines_has_its_token(name: str, token: str) -> None:
    form = form_for(CATALOGUE[name], {"country": "IE", "as_lines": "1"})
    assert form["lines"].render_kw["autocomplete"] == f"{token}street-address"


@pytest.mark.parametrize("name", sorted(CATALOGUE))
def test_no_two_rows_share_an_id(name: str) -> None:
    ids = [field.id for field in form_for(CATALOGUE[name], {"country": "IE"})]
    assert len(set(ids)) == len(ids)
    assert all(one.startswith(name.replace(".", "-").replace("_", "-") + "-") for one in ids)
