"""Who has which version of one detail ("who holds my old mobile number?"), and what one of them sees today."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from flask import Blueprint

from portal.consent import cards, holders, queries
from portal.consent.holders import Holds
from portal.consumer import formats
from portal.consumer import queries as consumer
from portal.consumer.catalogue import CATALOGUE
from portal.errors import NotFoundError
from portal.web.access import person_id, person_required
from portal.web.context import keyring, now, session
from portal.web.dates import day
from portal.web.pages import page

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID

    from flask import Response

    from portal.consent.holders import Holder, Row
    from portal.consumer.queries import PastValue

pages = Blueprint("holders", __name__)


_WIDTH = 200


@dataclass(frozen=True, kw_only=True)
class Span:
    """The time in which one organisation has had a version, drawn to `_WIDTH`: it `begins`, and `turns` old or worse.

    `said` is the picture in words, `shape` what it turned into.
    """

    begins: int
    turns: int
    shape: str
    said: str


@dataclass(frozen=True, kw_only=True)
class Version:
    """One version of a detail as its person reads it, empty where they removed it, and who has it."""

    past: PastValue
    text: str = field(repr=False)
    holders: Sequence[Holder]
    spans: Sequence[Span]

    @property
    def current(self) -> bool:
        return self.past.replaced_at is None


@pages.get("/sharing/by-detail/<attribute>")
@person_required
def detail(attribute: str) -> Response:
    if attribute not in CATALOGUE:
        raise NotFoundError
    row = holders.of_detail(session(), person_id=person_id(), attribute=attribute, now=now())
    versions = _versions(row)
    held = [one for one in versions if one.current or one.holders]
    return page(
        "consent/detail.html",
        row=row,
        noun=CATALOGUE[attribute].noun,
        versions=held,
        others=len(versions) - len(held),
        waiting=[one for one in row.holders if one.holds is Holds.NOTHING],
        gone=[one for one in row.holders if one.holds is Holds.DELETED],
    )


@pages.get("/sharing/<uuid:grant_id>/today")
@person_required
def today(grant_id: UUID) -> Response:
    held = queries.grant(session(), person_id=person_id(), grant_id=grant_id)
    if held is None:
        raise NotFoundError
    return page("consent/today.html", card=cards.of_grant(session(), held=held, now=now()))


def _versions(row: Row) -> list[Version]:
    past = consumer.history(session(), keyring=keyring(), person_id=person_id(), attribute=row.attribute)
    oldest = min((one.since for one in row.holders if one.since), default=now())
    return [_version(one, row, oldest) for one in past]


def _version(past: PastValue, row: Row, oldest: datetime) -> Version:
    has = [one for one in row.holders if one.version == past.version and one.holds is not Holds.DELETED]
    text = formats.display(CATALOGUE[row.attribute], past.value)
    return Version(past=past, text=text, holders=has, spans=[_span(one, past, oldest) for one in has])


def _span(one: Holder, past: PastValue, oldest: datetime) -> Span:
    since = one.since or oldest
    turned = None
    if one.look.shape == "left":
        turned = one.left_at
    elif past.replaced_at is not None:
        turned = past.replaced_at
    turned = max(since, turned) if turned else None
    what = "no longer shared" if one.look.shape == "left" else "no longer the current one"
    return Span(
        begins=_place(since, oldest),
        turns=_WIDTH if turned is None else _place(turned, oldest),
        shape=one.look.shape,
        said=f"Held since {day(since)}" + (f", {what} since {day(turned)}" if turned else ""),
    )


def _place(moment: datetime, oldest: datetime) -> int:
    whole = (now() - oldest).total_seconds()
    return round(_WIDTH * (moment - oldest).total_seconds() / whole) if whole > 0 else 0
