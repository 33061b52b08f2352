"""Each kind of purpose has a ceiling, and what goes beyond it is said part by part, with how to mend it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from portal.companies import ceilings, declared
from portal.companies.ceilings import CEILINGS, Asked, Ceiling
from portal.companies.purposes import BASES, EU_GDPR, PURPOSES, USES
from portal.config import asset_folder
from portal.consumer.catalogue import CATALOGUE

if TYPE_CHECKING:
    from collections.abc import Iterable

WIDEST = list(USES)


def fits(ceiling: Ceiling) -> Asked:
    """Return the most that a kind of purpose may ask."""
    return Asked(
        attributes=ceiling.attributes,
        use=ceiling.use,
        retention_days=ceiling.retention_days,
        longest_days=ceiling.longest_days,
        pulls_a_day=ceiling.pulls_a_day,
        lawful_basis=min(ceiling.bases),
    )


def pointers(found: Iterable[ceilings.Beyond]) -> set[str]:
    return {one.pointer for one in found}


def test_every_kind_has_one_of_details_that_there_are() -> None:
    assert CEILINGS.keys() == PURPOSES.keys()
    for ceiling in CEILINGS.values():
        assert ceiling.attributes <= CATALOGUE.keys()
        assert ceiling.bases <= BASES.keys()
        assert ceiling.uses[0] == ceiling.use
    assert EU_GDPR.keys() == BASES.keys()


@pytest.mark.parametrize("kind", CEILINGS)
def test_what_reaches_the_ceiling_passes_and_each_step_beyond_is_pointed_at(kind: str) -> None:
    ceiling = CEILINGS[kind]
    most = fits(ceiling)
    assert ceilings.beyond(kind, most) == []
    for name in CATALOGUE.keys() - ceiling.attributes:
        assert pointers(ceilings.beyond(kind, most._replace(attributes=[name]))) == {f"/attributes/{name}"}
    for use in set(USES) - set(ceiling.uses):
        assert "/mode" in pointers(ceilings.beyond(kind, most._replace(use=use)))
    for use in ceiling.uses:
        assert "/mode" not in pointers(ceilings.beyond(kind, most._replace(use=use)))
    for basis in BASES.keys() - ceiling.bases:
        assert pointers(ceilings.beyond(kind, most._replace(lawful_basis=basis))) == {"/lawful_basis"}
    longer = most._replace(retention_days=ceiling.retention_days + 1, longest_days=ceiling.longest_days + 1)
    assert pointers(ceilings.beyond(kind, longer)) == {"/retention_days", "/longest_days"}


@pytest.mark.parametrize("kind", [kind for kind, ceiling in CEILINGS.items() if ceiling.pulls_a_day])
@pytest.mark.parametrize("more", [None, 1])
def test_whoever_has_a_number_of_looks_to_keep_states_one(kind: str, more: int | None) -> None:
    ceiling = CEILINGS[kind]
    asked = None if more is None else (ceiling.pulls_a_day or 0) + more
    assert pointers(ceilings.beyond(kind, fits(ceiling)._replace(pulls_a_day=asked))) == {"/pulls_a_day"}


@pytest.mark.parametrize("kind", ["DirectMarketing", "SellDataToThirdParties", "PersonalisedAdvertising"])
def test_advertising_and_selling_rest_on_consent_alone(kind: str) -> None:
    assert CEILINGS[kind].bases == {"consent"}
    assert "birth.date" not in CEILINGS[kind].attributes


def test_every_sentence_says_how_to_mend_it() -> None:
    asked = Asked(list(CATALOGUE), "kept-up-to-date", 3650, 365, None, "public-task")
    found = ceilings.beyond("AgeVerification", asked._replace(lawful_basis="consent"))
    words = {one.pointer: one.sentence for one in found}
    assert words["/mode"].endswith("choose seen once.")
    assert words["/retention_days"].endswith("may keep details for nothing: enter 0.")
    assert words["/longest_days"].endswith("asks again after 30 days at the latest.")
    assert "leave it out" in words["/attributes/name.full"]
    assert all(one.sentence.isascii() for one in found)


def test_a_declaration_names_all_that_is_too_much() -> None:
    said: dict[str, Any] = {
        "sentence": "send you offers", "dpv": "DirectMarketing", "mode": "kept-up-to-date", "retention_days": 400,
        "required": [("birth.date", "To congratulate you")], "optional": [("email.main", "To write to you")],
        "catalogue": CATALOGUE, "lawful_basis": "legitimate-interest",
    }  # fmt: skip
    with pytest.raises(declared.OverAskingError) as refusal:
        declared.columns(**said)
    expected = {"/attributes/birth.date", "/retention_days", "/pulls_a_day", "/lawful_basis"}
    assert pointers(refusal.value.found) == expected
    assert refusal.value.pointer in expected


def test_the_guide_shows_every_ceiling() -> None:
    rows = (asset_folder("docs") / "companies" / "purposes.md").read_text().splitlines()
    for kind, ceiling in CEILINGS.items():
        [row] = [line for line in rows if line.startswith(f"| `{kind}` |")]
        _, _, details, use, kept, longest, looks, bases, _ = (cell.strip() for cell in row.split("|"))
        assert (use, kept, longest) == (f"`{ceiling.use}`", str(ceiling.retention_days), str(ceiling.longest_days))
        assert looks == str(ceiling.pulls_a_day or "")
        assert bases in {"any", ", ".join(f"`{one}`" for one in BASES if one in ceiling.bases)}
        named = {"all": ceilings.ALL, "all but `birth.date`": ceilings.REACH}
        assert named.get(details, frozenset(details.replace("`", "").split(", "))) == ceiling.attributes
