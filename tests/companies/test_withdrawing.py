"""Withdrawing a purpose: by its company or an operator, once, for good, and for a reason where it is not their own."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import select, update
from sqlalchemy.exc import ProgrammingError

from portal import db
from portal.companies import purpose_queries, queries, services, versions, withdrawing
from portal.companies.models import CompanyLetter, Purpose, PurposeVersion
from portal.errors import NotFoundError
from tests.companies import test_purpose_pages as pages
from tests.companies.test_purpose_pages import CODE, SAID, declared, versions_of, words

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any
    from uuid import UUID

    from flask import Flask
    from sqlalchemy.orm import Session

    from portal.companies.queries import CompanyFacts
    from portal.config import Settings
    from tests.companies.browser import Browser

live, operator, own = pages.live, pages.operator, pages.own
WHY = "What you do is not what it says."


@pytest.fixture
def asked(settings: Settings, staff: Browser, live: str) -> UUID:
    """A purpose of the live app's, which people are asked for."""
    place = declared(staff, live)
    staff.send(f"{place}/review", act="send")
    purpose_id = versions_of(settings, live)[0].purpose.purpose_id
    put = partial(versions.put_live, purpose_id=purpose_id, version=1, by=db.new_id(), words="", now=db.now())
    transact(settings, put)
    return purpose_id


def transact(settings: Settings, work: Callable[[Session], Any]) -> Any:  # noqa: ANN401 - whatever the work returns
    with db.transaction(settings.database_url) as session:
        return work(session)


def test_the_company_withdraws_it_after_reading_what_that_means(
    settings: Settings, staff: Browser, live: str, asked: UUID
) -> None:
    place = f"/org/apps/{live}/purposes/{CODE}"
    assert f'href="{place}/withdraw"' in staff.get(place).text
    page = words(staff.get(f"{place}/withdraw").text)
    for said in ("Nobody can be asked for it any more", "Nobody shares for it now", "It cannot be taken back"):
        assert said in page
    assert staff.send(f"{place}/withdraw").location == place
    assert "Withdrawn" in staff.get(place).text
    assert "Change it" not in staff.get(place).text
    assert "Withdrawn" in words(staff.get(f"/org/apps/{live}").text)
    for gone in (f"{place}/change", f"{place}/withdraw"):
        assert staff.get(gone).status_code == 404
    assert staff.send(f"{place}/withdraw").status_code == 404
    kept = transact(settings, lambda session: session.get(Purpose, asked))
    assert (kept.withdrawn_role, kept.withdrawn_by, kept.withdrawn_words) == ("company", staff.person_id, "")
    assert transact(settings, lambda session: queries.purposes_of(session, live)) == []


def test_an_operator_takes_it_down_for_a_reason_that_the_company_reads(
    settings: Settings, staff: Browser, operator: Browser, live: str, *, asked: UUID
) -> None:
    place = f"/ops/purposes/{asked}/take-down"
    assert f'href="{place}"' in operator.get(f"/ops/purposes/{asked}/1").text
    for act in ("ask", "take-down"):
        refused = operator.send(place, act=act, words=" ")
        assert refused.status_code == 422
        assert "Say why, for the organisation." in refused.text
    sure = operator.send(place, act="ask", words=WHY).text
    assert f'name="words" value="{WHY}"' in sure
    assert f"{WHY}</textarea>" in operator.send(place, act="back", words=WHY).text
    assert transact(settings, lambda session: session.get(Purpose, asked)).withdrawn_at is None
    assert operator.send(place, act="take-down", words=WHY).location == place
    assert "Taken down" in operator.get(place).text
    for page in (f"/org/apps/{live}", f"/org/apps/{live}/purposes/{CODE}"):
        assert WHY in staff.get(page).text
    letters = select(CompanyLetter).where(CompanyLetter.client_id == live, CompanyLetter.kind == "purpose_taken_down")
    found = transact(settings, lambda session: session.scalars(letters).all())
    assert {letter.about["words"] for letter in found} == {WHY}
    again = operator.send(place, act="take-down", words="Once more.")
    assert again.status_code == 409
    assert "Once more." in again.text
    kept = transact(settings, lambda session: session.get(Purpose, asked))
    assert (kept.withdrawn_role, kept.withdrawn_by, kept.withdrawn_words) == ("operator", operator.person_id, WHY)


def test_whoever_acts_for_the_company_does_not_take_it_down(
    settings: Settings, operator: Browser, own: CompanyFacts, asked: UUID
) -> None:
    hire = partial(services.add_staff, company_id=own.company_id, person_id=operator.person_id)
    transact(settings, hire)
    place = f"/ops/purposes/{asked}/take-down"
    assert "another operator decides" in operator.get(place).text
    assert operator.send(place, act="take-down", words=WHY).status_code == versions.OwnPurposeError.status
    assert transact(settings, lambda session: session.get(Purpose, asked)).withdrawn_at is None


def test_what_was_to_come_next_is_nobodys_any_more(settings: Settings, staff: Browser, live: str, asked: UUID) -> None:
    staff.send(f"/org/apps/{live}/purposes/{CODE}/change", **SAID | {"retention_days": "20"})
    staff.send(f"/org/apps/{live}/purposes/{CODE}/review", act="send")
    transact(settings, partial(withdrawing.withdraw, client_id=live, code=CODE, by=None, now=db.now()))
    states = select(PurposeVersion.state).where(PurposeVersion.purpose_id == asked).order_by(PurposeVersion.version)
    assert transact(settings, lambda session: session.scalars(states).all()) == ["live", "replaced"]
    for act in (
        partial(versions.put_live, purpose_id=asked, version=2, by=db.new_id(), words="", now=db.now()),
        partial(withdrawing.take_down, purpose_id=asked, by=db.new_id(), words=WHY, now=db.now()),
    ):
        with pytest.raises((versions.NotWaitingError, withdrawing.NotInUseError)):
            transact(settings, act)
    for later in (
        partial(versions.send, client_id=live, code=CODE, now=db.now()),
        partial(withdrawing.withdraw, client_id=live, code=CODE, by=None, now=db.now()),
    ):
        with pytest.raises(NotFoundError):
            transact(settings, later)


def test_its_code_is_not_used_again(staff: Browser, live: str, asked: UUID) -> None:
    assert asked
    staff.send(f"/org/apps/{live}/purposes/{CODE}/withdraw")
    answer = staff.send(f"/org/apps/{live}/purposes/new", **SAID)
    assert answer.status_code == 422
    assert "There is a problem" in answer.text


def test_what_nobody_was_asked_for_is_not_taken_down(settings: Settings, staff: Browser, live: str) -> None:
    declared(staff, live)
    purpose_id = versions_of(settings, live)[0].purpose.purpose_id
    with pytest.raises(withdrawing.NotInUseError):
        transact(
            settings, partial(withdrawing.take_down, purpose_id=purpose_id, by=db.new_id(), words="", now=db.now())
        )
    transact(settings, partial(withdrawing.withdraw, client_id=live, code=CODE, by=None, now=db.now()))
    [gone] = transact(settings, lambda session: purpose_queries.withdrawn(session, live))
    assert (gone.code, gone.taken_down) == (CODE, False)


@pytest.mark.parametrize("change", [{"withdrawn_at": None}, {"withdrawn_words": "x"}, {"withdrawn_role": "company"}])
def test_the_database_refuses_to_take_it_back(settings: Settings, asked: UUID, change: dict[str, Any]) -> None:
    transact(settings, partial(withdrawing.take_down, purpose_id=asked, by=db.new_id(), words=WHY, now=db.now()))
    again = update(Purpose).where(Purpose.purpose_id == asked).values(**change)
    with pytest.raises(ProgrammingError, match="stays so"):
        transact(settings, lambda session: session.execute(again))


def test_only_who_may_finds_the_pages(
    app: Flask, settings: Settings, staff: Browser, operator: Browser, live: str, *, asked: UUID
) -> None:
    assert staff.get(f"/ops/purposes/{asked}/take-down").status_code == 404
    assert operator.get(f"/org/apps/{live}/purposes/{CODE}/withdraw").location == "/org"
    stranger = app.test_client()
    for place in (f"/ops/purposes/{asked}/take-down", f"/org/apps/{live}/purposes/{CODE}/withdraw"):
        assert stranger.get(place, base_url=settings.url).location.startswith("/account/sign-in")
