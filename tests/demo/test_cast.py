from __future__ import annotations

import pytest

from portal.consumer import formats
from portal.consumer.catalogue import CATALOGUE
from portal.demo.cast import BRIGHTWELL, CAST, COMPANIES, DANA, MERIDIAN, OLU, DemoPerson
from portal.demo.residents import COUNT, residents

EVERYBODY = [*CAST, DANA, OLU]


@pytest.mark.parametrize("person", EVERYBODY, ids=lambda person: person.email)
def test_every_detail_is_one_the_form_would_take(person: DemoPerson) -> None:
    for name, form in person.details.items():
        attribute = CATALOGUE[name]
        assert formats.display(attribute, formats.parse(attribute, form))


def test_passwords_are_long_and_different() -> None:
    assert min(len(person.password) for person in EVERYBODY) >= 15
    assert len({person.password for person in EVERYBODY}) == len(EVERYBODY)


def test_the_cast_has_the_difficult_ones() -> None:
    assert len(CAST) >= 12
    names = [person.name for person in CAST]
    assert any(" " not in name for name in names)
    assert any(len(name) == 60 for name in names)
    assert any(not name.isascii() and not any(letter.isascii() for letter in name if letter != " ") for name in names)
    countries = {person.details["address.home"]["country"] for person in CAST}
    assert countries >= {"IE", "GB", "DE", "JP", "BR", "US"}
    assert any("address.post" in person.details for person in CAST)
    assert any(not {"phone.mobile", "phone.home"} & person.details.keys() for person in CAST)
    assert {share.then for person in CAST for share in person.shares} == {"", "paused", "withdrawn", "expiring"}
    assert any(not person.shares for person in CAST)


def test_people_share_only_what_is_asked_and_nobody_shares_with_meridian() -> None:
    asked = {(company.slug, purpose.code): purpose for company in COMPANIES for purpose in company.purposes}
    for share in (share for person in [*CAST, *residents()] for share in person.shares):
        assert share.company != MERIDIAN
        assert set(share.optional) <= asked[share.company, share.purpose].optional.keys()


def test_residents_are_many_and_the_same_each_time() -> None:
    assert len({person.email for person in residents()}) == COUNT == 200
    assert residents() == residents()
    assert all(share.company == BRIGHTWELL for person in residents() for share in person.shares)
    assert not any(person.password for person in residents())


def test_a_person_does_not_print_their_details() -> None:
    assert "Aoife Byrne" not in repr(CAST[0])
    assert CAST[0].password not in repr(CAST[0])
