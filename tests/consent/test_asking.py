"""The consent screen: what it asks, what it never does by itself, and what is kept of it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from flask import render_template_string
from sqlalchemy import update

from portal import db
from portal.companies.models import Company
from portal.consent import asking, renewing, services, terms
from portal.consent.forms import AskForm
from tests.consent.offers import NOW, Offer

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

    from flask import Flask
    from sqlalchemy.orm import Session

    from portal.consent.asking import Ask
    from portal.vault.keyring import Keyring

NAME = "Zenobia Quill"
NARROW = terms.Wanted(
    attributes=("name.full", "phone.mobile"),
    mode="kept-up-to-date",
    retention_days=30,
    longest_days=365,
    open_ended=True,
)


def build(session: Session, keys: Keyring, offer: Offer, person_id: UUID, **narrowed: Any) -> Ask:  # noqa: ANN401 - `wanted`
    return asking.build(
        session,
        keyring=keys,
        person_id=person_id,
        client_id=offer.client_id,
        purpose_id=offer.purpose_id,
        **narrowed,
    )


def drawn(app: Flask, ask: Ask, **form: Any) -> tuple[AskForm, str]:  # noqa: ANN401 - form fields
    app.config["WTF_CSRF_ENABLED"] = False
    try:
        with app.test_request_context("/oauth/authorize?a=1", method="POST" if form else "GET", data=form or None):
            asked = AskForm(ask)
            asked.validate_on_submit()
            return asked, render_template_string('{% include "consent/_ask.html" %}', ask=ask, form=asked)
    finally:
        app.config["WTF_CSRF_ENABLED"] = True


def test_a_first_question_shows_values_and_ticks_nothing(
    *, app: Flask, session: Session, keys: Keyring, offer: Offer, person: Callable[..., UUID]
) -> None:
    who = person(name__full=NAME, email__main="zenobia@example.org")
    ask = build(session, keys, offer, who)
    assert ask.title == f"Share your details with {offer.name}?"
    assert [(item.attribute, item.value) for item in ask.needs] == [("name.full", NAME)]
    assert [item.value for item in ask.chooses] == ["zenobia@example.org", None]
    _, html = drawn(app, ask)
    assert '" checked' not in html
    said = ["They need these", "You choose these", "Nothing is ticked for you", "They will see: zenobia"]
    for words in (*said, "To send bills by email", "Not provided yet", "Good to know", "Legal name"):
        assert words in html
    assert html.count('<button class="btn" name="answer"') == 2


def test_what_is_kept_of_the_screen_has_every_word_and_no_value(
    session: Session, keys: Keyring, offer: Offer, person: Callable[..., UUID]
) -> None:
    ask = build(session, keys, offer, person(name__full=NAME))
    text = json.dumps(asking.shown(ask))
    assert NAME not in text
    assert NAME not in repr(ask)
    for words in (ask.sentence, ask.title, "To write to you", "They never see your password.", ask.durations[0].label):
        assert words in text


def test_nobody_has_checked_who_asks(
    *, app: Flask, session: Session, keys: Keyring, offer: Offer, person: Callable[..., UUID]
) -> None:
    who = person(name__full=NAME)
    checked = build(session, keys, offer, who)
    assert "We have not checked" not in drawn(app, checked)[1]
    session.execute(update(Company).where(Company.company_id == offer.company_id).values(state="draft"))
    ask = build(session, keys, offer, who)
    _, html = drawn(app, ask)
    before_the_question = html.partition("They need these")[0]
    assert f"We have not checked who {offer.name} is." in before_the_question
    assert f"Someone who gives the name {offer.name} Energy Ltd wants" in before_the_question
    assert asking.shown(ask)["warning"] == ask.warning


def test_without_a_needed_detail_nothing_can_be_shared(
    *, app: Flask, session: Session, keys: Keyring, offer: Offer, person: Callable[..., UUID]
) -> None:
    ask = build(session, keys, offer, person())
    form, html = drawn(app, ask, duration="until", answer="share")
    assert form.form_errors == ["Add your full name before you share."]
    assert 'href="/details/name.full/edit?next=/oauth/authorize%3Fa%3D1"' in html


@pytest.mark.parametrize("answer", [{}, {"answer": "decline"}, {"answer": "yes"}])
def test_only_the_answer_share_is_a_yes(
    *, app: Flask, session: Session, keys: Keyring, offer: Offer, person: Callable[..., UUID], answer: dict[str, str]
) -> None:
    ask = build(session, keys, offer, person(name__full=NAME))
    with app.test_request_context("/", method="POST", data=answer):
        assert AskForm(ask).declined


def test_a_choice_is_what_give_takes(
    *, app: Flask, session: Session, keys: Keyring, offer: Offer, person: Callable[..., UUID]
) -> None:
    ask = build(session, keys, offer, person(name__full=NAME))
    chosen = {"until": ("kept-up-to-date", None), "quarter": ("kept-up-to-date", 90), "once": ("once", 7)}
    for duration, expected in chosen.items():
        form, _ = drawn(app, ask, duration=duration, attributes=["email.main"], answer="share")
        assert not form.errors
        choice = form.choice()
        assert (choice.mode, choice.days) == expected
        assert choice.attributes == ["name.full", "email.main"]


def test_a_request_narrows_what_can_be_chosen_but_ends_nothing(
    session: Session, keys: Keyring, offer: Offer, person: Callable[..., UUID]
) -> None:
    who = person(name__full=NAME)
    asked = build(session, keys, offer, who, wanted=NARROW)
    assert [item.attribute for item in asked.chooses] == ["phone.mobile"]
    offer.give(session, who, attributes=["name.full", "email.main"])
    again = build(session, keys, offer, who, wanted=NARROW)
    assert [(item.attribute, item.held) for item in again.chooses] == [("email.main", True), ("phone.mobile", False)]
    with pytest.raises(terms.NotAskedError):
        build(session, keys, offer, who, wanted=replace(NARROW, attributes=("birth.date",)))


def test_asked_again_what_was_not_asked_before_is_new(
    session: Session, keys: Keyring, offer: Offer, person: Callable[..., UUID]
) -> None:
    who = person(name__full=NAME)
    before = asking.shown(build(session, keys, offer, who))
    before["chooses"] = before["chooses"][:1]
    grant = offer.give(session, who, shown=before)
    services.pause(session, person_id=who, grant_id=grant.grant_id, now=NOW)
    again = build(session, keys, offer, who)
    assert [(item.attribute, item.new) for item in again.chooses] == [("email.main", False), ("phone.mobile", True)]


@pytest.mark.parametrize(
    ("mode", "longest", "values"),
    [
        ("kept-up-to-date", 365, ["until", "year", "quarter", "once"]),
        ("asked", 730, ["until", "year", "quarter", "once"]),
        ("asked", 180, ["longest", "quarter", "once"]),
        ("asked", 90, ["quarter", "once"]),
        ("asked", 30, ["longest", "once"]),
        ("once", 365, ["once"]),
    ],
)
def test_durations_keep_to_the_purposes_longest(mode: str, longest: int, values: list[str]) -> None:
    open_ended = longest >= terms.YEAR
    offered = terms.durations(mode=mode, longest_days=longest, open_ended=open_ended)
    assert [one.value for one in offered] == values
    for one in offered:
        terms.expiry(mode=one.mode, days=one.days, longest_days=longest, open_ended=open_ended, now=NOW)


def test_saying_that_it_goes_on_does_not_widen_what_was_asked(
    session: Session, keys: Keyring, offer: Offer, person: Callable[..., UUID]
) -> None:
    """What was answered last is what stood on the consent screen, not on the page that asks whether it goes on."""
    narrow = terms.Wanted(
        attributes=("name.full", "email.main"), mode="asked", retention_days=7, longest_days=60, open_ended=False
    )
    who = person()
    ask = build(session, keys, offer, who, wanted=narrow)
    held = offer.give(session, who, mode="asked", days=60, wanted=narrow, shown=asking.shown(ask), asked_at=db.now())
    mine: dict[str, Any] = {"person_id": who, "grant_id": held.grant_id}
    before = asking.agreed(session, held=held)
    renewing.renew(session, **mine, level=1, shown={"title": "Is this still right?"}, now=db.now(), wanted=before)
    assert asking.agreed(session, held=held) == before
    assert (before.mode, before.longest_days, before.retention_days) == ("asked", 60, 7)
    again = build(session, keys, offer, who)
    assert [item.attribute for item in again.chooses if item.new] == ["phone.mobile"]
