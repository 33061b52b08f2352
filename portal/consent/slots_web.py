"""What other slices' pages say of what is shared: Home, and each of Your details."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from flask import g, render_template
from flask_login import current_user

from portal.consent import approvals, cards, queries
from portal.consumer.catalogue import CATALOGUE
from portal.web.access import person_id
from portal.web.context import now, session

if TYPE_CHECKING:
    from collections.abc import Collection
    from uuid import UUID

_COUNTED: Final = 1000


def shared_with_slot(attributes: Collection[str]) -> str:
    """Return how many organisations get changes of these details; the page asks once for all its rows."""
    if "recipients" not in g:
        g.recipients = queries.recipients(
            session(), person_id=current_user.person_id, attributes=tuple(CATALOGUE), now=now()
        )
    count = sum(not set(attributes).isdisjoint(one.attributes) for one in g.recipients)
    return render_template("consent/_shared_with.html", count=count)


def needs_attention_slot(absent: Collection[str]) -> str:
    """Return what the person should look at; empty when there is nothing.  `absent` are details not given."""
    found = cards.concerns(_all_cards(), absent=absent)
    waiting = approvals.waiting(session(), person_id=person_id(), now=now())
    if not found and not waiting:
        return ""
    return render_template("consent/_attention.html", concerns=found, questions=waiting)


def sharing_summary_slot() -> str:
    """Return with whom the person shares and since when, or how sharing begins."""
    live = [card for card in _all_cards() if card.live]
    return render_template("consent/_summary.html", live=live)


def purpose_shared_slot(client_id: str, purpose_id: UUID) -> str:
    """Return how many people share for a purpose, counted up to a thousand."""
    count = queries.sharing(session(), client_id=client_id, purpose_id=purpose_id, most=_COUNTED + 1)
    return render_template("consent/_purpose_shared.html", count=count, counted=_COUNTED)


def _all_cards() -> list[cards.Card]:
    """Return the person's cards, looked up once for all of a page's slots."""
    if "cards" not in g:
        g.cards = cards.of_person(session(), person_id=person_id(), now=now())
    made: list[cards.Card] = g.cards
    return made
