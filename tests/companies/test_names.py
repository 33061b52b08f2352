"""Nobody registers under a name that reads as a checked company's."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

import pytest

from portal import db
from portal.companies import names, services

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.orm import Session

    Make = Callable[..., dict[str, Any]]

ALIKE = [
    ("Brightwell Energy", "BRIGHTWELL ENERGY"), ("Brightwell Energy", "Bright-well  Energy"),
    ("Brightwell Energy", "Brightwell Energy Ltd."), ("Brightwell Energy", "BrightweII Energy"),
    ("Brightwell Energy", "Brightwe11 Energy"), ("Brightwell Energy", "The Brightwell Energy Company"),
    ("Brightwell Energy", "Brightwéll Energy"), ("Brightwell Energy", "\uff22rightwell Energy"),
    ("Modern", "Modem"), ("Coop", "\u0441\u043e\u043e\u0440"), ("Tova", "\u03a4\u03bf\u03bd\u03b1"), ("Zoo", "Z00"),
    ("O'Brien", "O’Brien & Co."), ("A.B.C.", "ABC GmbH"),
]  # fmt: skip
DIFFERENT = [("Brightwell Energy", "Brightwell Water"), ("Linden Books", "Linden"), ("京都電力", "東京電力"),
             ("Ltd", "The"), ("Jäger", "Jogger")]  # fmt: skip


@pytest.mark.parametrize(("one", "other"), ALIKE)
def test_names_that_read_the_same_have_one_shape(one: str, other: str) -> None:
    assert names.shape(one) == names.shape(other)


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_names_that_differ_have_two(one: str, other: str) -> None:
    assert names.shape(one) != names.shape(other)


def test_a_checked_companys_name_is_taken(session: Session, facts: Make) -> None:
    name = f"Linden {secrets.token_hex(4)}"
    services.register_company(session, **facts(trading_name=name, legal_name=f"{name} Holding", verified=True))
    for squatted in (f"{name.upper()} Ltd", name.replace(" ", "-"), f"{name} Holding."):
        with pytest.raises(names.CompanyTakenError) as refusal:
            services.register_company(session, **facts(trading_name=squatted))
        assert refusal.value.pointer == "/trading_name"
    assert services.register_company(session, **facts(trading_name=f"{name} of Cork"))


def test_a_name_nobody_checked_reserves_nothing_but_cannot_be_checked_twice(session: Session, facts: Make) -> None:
    name = f"Linden {secrets.token_hex(4)}"
    first = services.register_company(session, **facts(trading_name=name))
    second = services.register_company(session, **facts(trading_name=name.replace(" ", " - ") + " Ltd"))
    services.verify_company(session, slug=first.slug, now=db.now())
    with pytest.raises(names.CompanyTakenError):
        services.verify_company(session, slug=second.slug, now=db.now())
    services.verify_company(session, slug=first.slug, now=db.now())
