"""The page on which a person answers a company's question: what it says, and which form it has.

What they share already is only confirmed, in a few words: a company that asks wants to know that it is them, now.
Whatever goes beyond that is asked in full, on the same screen as when a company sends them here itself.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from flask import request
from flask_wtf import FlaskForm

from portal.consent import approvals, asking, later, queries, services, terms
from portal.consent.forms import LATER, NEVER, OFFER, SHARE, AskForm
from portal.db import now as clock
from portal.errors import RefusedError

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy.orm import Session

    from portal.consent.approvals import Question
    from portal.consent.asking import Ask
    from portal.consent.models import ApprovalRequest
    from portal.vault.keyring import Keyring


# What an answer in the portal's own time bears, beside the words of its page.
AFAR = {"asked_from_afar": True}


class ConfirmForm(FlaskForm):  # type: ignore[misc]  # Flask-WTF ships no annotations
    """Nothing to choose: approve what is shared already once more, or do not."""

    @property
    def declined(self) -> bool:
        """Whether the person pressed anything but "Approve"."""
        return request.form.get("answer") != SHARE


class PausedError(RefusedError):
    """What a question would add to is paused by its person, and an answer would end that unasked."""

    code = "sharing-paused"
    status = 409
    public = "You have paused sharing with them. Resume it first, then answer."


def build(session: Session, *, keyring: Keyring, row: ApprovalRequest) -> Ask:
    """Return what a waiting question asks; raises as `asking.build`.

    Where what it adds to is over: StoppedError, and PausedError while it is paused.
    """
    named = later.grant_of(row)
    if named is not None:
        _check_lives(session, row, named)
    return asking.build(
        session,
        keyring=keyring,
        person_id=row.person_id,
        client_id=row.client_id,
        purpose_id=row.purpose_id,
        wanted=terms.wanted(row.asked),
        effect=terms.Effect.AMEND if named is None else terms.Effect.MERGE,
    )


def form_of(ask: Ask, *, now: datetime) -> AskForm | ConfirmForm:
    """Return the short form when everything asked is shared already, else the whole one."""
    # Whoever was asked in full has chosen: that counts, also when another window has answered meanwhile.
    chosen = "duration" in request.values
    return ConfirmForm() if ask.covered(now) and not chosen else AskForm(ask).as_chosen()


def other_answers(question: Question) -> tuple[str, ...]:
    """Return what may be answered beside yes and no: who adds to what they share has nothing less to offer."""
    return (LATER,) if question.later else (OFFER, LATER, NEVER)


def refusal_of(question: Question, form: AskForm | ConfirmForm) -> Callable[..., object]:
    """Return what settles a question with the answer that was given: no, not now, or never again."""
    answer = form.answer if isinstance(form, AskForm) else ""
    if answer == LATER:
        return approvals.defer
    return later.decline if question.later else partial(approvals.deny, for_good=answer == NEVER)


def title(ask: Ask, form: AskForm | ConfirmForm) -> str:
    if isinstance(form, ConfirmForm):
        return f"{ask.organisation.name} asks for your approval"
    return f"Share more with {ask.organisation.name}?" if ask.keeps else ask.title


def shown(ask: Ask, form: AskForm | ConfirmForm) -> dict[str, Any]:
    """Return the exact text of the page without a value, and without the words of the organisation's own."""
    words = asking.shown(ask) | AFAR | {"title": title(ask, form)}
    if not isinstance(form, ConfirmForm):
        return words
    return words | {"replaces": "", "how": ask.how_now, "often": "", "answers": ["Approve", "Do not approve"]}


def _check_lives(session: Session, row: ApprovalRequest, named: UUID) -> None:
    held = queries.live_for_purpose(session, person_id=row.person_id, purpose_id=row.purpose_id)
    if held is None or held.grant_id != named or queries.over(session, held, now=clock()):
        raise services.StoppedError
    # An answer would also end a pause, which nobody asked about; what is frozen has to be unfrozen first.
    if held.state != "active" and held.frozen_at is None:
        raise PausedError
