"""The table of limits in the guide says what the program does."""

from __future__ import annotations

import re
from http import HTTPStatus
from pathlib import Path

import pytest

from portal.companies import keys, proofs, registration
from portal.companies import rules as companies
from portal.config import Settings
from portal.consent import approvals
from portal.ledger import refusals
from portal.oauth import ceilings
from portal.sync import drift, proving, receipts, rules, streams, streams_api
from portal.web.reference import BY_CODE, ENTRIES

_TABLE = (Path(__file__).parents[2] / "docs" / "companies" / "limits.md").read_text()
_ROWS = [[cell.strip() for cell in row.split("|")[1:4]] for row in _TABLE.splitlines() if row.startswith("| ")]

_QUESTIONS = [approvals._WAITING_AT_ONCE, approvals._IN_A_DAY, approvals._REFUSED_IN_A_DAY]  # noqa: SLF001


def default(name: str) -> int:
    return int(str(Settings.__dataclass_fields__[name].default))


@pytest.mark.parametrize(
    ("what", "numbers"),
    [
        ("Looks at one", [default("grant_pulls")]),
        ("The same", [companies.PULLS_A_DAY]),
        ("Checks of one", [drift.CHECKS_A_DAY, ceilings.GUESSES_COUNT_FOR.days]),
        ("Calls of the API", [default("api_requests")]),
        ("Pushed requests", [default("client_requests")]),
        ("Requests from one address", [default("machine_failures")]),
        ("Batches of one app", [rules.MOST_UNFINISHED, rules.MOST_SUBJECTS]),
        ("People in all results", [rules.MOST_KEPT]),
        ("Changes of your stream", [streams_api._CHANGES.amount]),  # noqa: SLF001 - the number itself
        ("Verification events", [60 // streams.VERIFICATION_INTERVAL.seconds]),
        ("Proofs of an endpoint, by", [proving._TRIES.amount, proving._SECONDS.amount]),  # noqa: SLF001
        ("Your questions", _QUESTIONS),
        ("Tries at one challenge", [proofs.TRIES]),
        ("Keys of one app", [keys.KEYS, keys.KEYS]),
        ("Tokens to register", [registration.LIVE_TOKENS, registration.MOST_USES, registration.MOST_DAYS]),
        ("In one request", [rules.MOST_SUBJECTS, receipts.MOST, drift.MOST]),
        ("Refusals that stand", [refusals.MOST_A_DAY]),
    ],
)
def test_the_guide_names_the_numbers_that_hold(what: str, numbers: list[int]) -> None:
    [words] = [most for each, most, _beyond in _ROWS if each.startswith(what)]
    assert [int(number.replace(",", "")) for number in re.findall(r"\d[\d,]*", words)] == numbers


def test_every_refusal_of_the_table_is_explained() -> None:
    named = {code for _what, _most, beyond in _ROWS for code in re.findall(r"`([a-z]+(?:-[a-z]+)+)`", beyond)}
    assert named
    assert named <= set(BY_CODE)


def test_every_wait_of_the_reference_is_in_the_table() -> None:
    waits = {entry.code for entry in ENTRIES if entry.status == HTTPStatus.TOO_MANY_REQUESTS}
    assert {code for code in waits if f"`{code}`" not in _TABLE} == set()


def test_a_refusal_is_explained_once() -> None:
    assert len(BY_CODE) == len(ENTRIES)
