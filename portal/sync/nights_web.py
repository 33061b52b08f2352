"""For operators: whether the log says what happened, night by night, and who else signs it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from flask import Blueprint, render_template

from portal.ledger import published, witnessing
from portal.ledger.witnessing import WitnessesUnreadableError
from portal.sync import reconciliation
from portal.web import context
from portal.web.access import operator_required
from portal.web.context import now, session
from portal.web.pages import page

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from flask import Response

    from portal.ledger.published import PublishedLog
    from portal.ledger.witnessing import Witness

pages = Blueprint("nights", __name__, url_prefix="/ops/log")

_SHOWN = 31


@dataclass(frozen=True, kw_only=True)
class Night:
    """A look at the log: when, how much of what, and what was wrong, in words; `over` says whether it is finished."""

    began_at: datetime
    over: bool
    counts: Mapping[str, int]
    wrong: list[str]


@dataclass(frozen=True, kw_only=True)
class Watch:
    """One who signs the log as well: up to how many entries, when, and what is wrong."""

    name: str
    size: int
    signed_at: datetime | None
    problem: str


@pages.get("")
@operator_required
def overview() -> Response:
    log = published.newest(session())
    nights = [
        Night(
            began_at=each.began_at, over=each.finished_at is not None, counts=each.counts,
            wrong=reconciliation.said(each),
        )
        for each in reconciliation.nights(session(), most=_SHOWN)
    ]  # fmt: skip
    missed = reconciliation.is_missed(session(), now=now())
    named, unreadable = _named()
    watches = _watches(log, named)
    return page("sync/nights.html", log=log, nights=nights, missed=missed, watches=watches, unreadable=unreadable)


def log_wrong_slot() -> str:
    """Return the line for the operators' first page; nothing while the log says what happened and nobody disagrees."""
    night = reconciliation.newest(session(), finished=True)
    wrong = bool(night and night.wrong) or reconciliation.is_missed(session(), now=now())
    named, unreadable = _named()
    wrong = wrong or bool(unreadable or (named and witnessing.wrong(session(), named, now=now())))
    return render_template("sync/_log_wrong.html") if wrong else ""


def _named() -> tuple[list[Witness], str]:
    """Return who is to sign the log as well, and why that cannot be read, if so."""
    try:
        return witnessing.read(context.settings().log_witnesses), ""
    except WitnessesUnreadableError as error:
        return [], error.public


def _watches(log: PublishedLog | None, named: Sequence[Witness]) -> list[Watch]:
    stands = {each.verifier: each for each in witnessing.standings(session(), log)} if log else {}
    found = []
    for each in named:
        known = stands.get(each.verifier)
        found.append(
            Watch(
                name=each.verifier.name,
                size=known.size if known else 0,
                signed_at=known.signed_at if known else None,
                problem=known.problem if known else "",
            )
        )
    return found
