"""Letters about questions: to the company when one is asked, due, overdue, taken on or decided; to the person of news.

Neither says what it is about: that stands in the portal.  A company's are worded when they are sent, and not sent when
they are no longer true.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from sqlalchemy import text

from portal import db, tray
from portal.companies import letters
from portal.companies import queries as companies
from portal.companies.letters import Words
from portal.disputes import queries, rules
from portal.identity import queries as identity
from portal.tray import Letter, Tray

if TYPE_CHECKING:
    from sqlalchemy import Row
    from sqlalchemy.orm import Session

    from portal.config import Settings
    from portal.disputes.models import Dispute

ASKED: Final = "question_asked"
DUE: Final = "question_due"
OVERDUE: Final = "question_overdue"
ESCALATED: Final = "question_escalated"
DECIDED: Final = "question_decided"
# What a question must be for a letter about it to be true still.
_TRUE_OF: Final = {
    ASKED: (rules.ASKED,),
    DUE: (rules.ASKED, rules.MENDING),
    OVERDUE: (rules.ESCALATED,),
    ESCALATED: (rules.ESCALATED,),
    DECIDED: (rules.DECIDED, rules.MENDING),
}
KINDS: Final = tuple(_TRUE_OF)
# Whoever is asked more often in a day looks at the list anyway.
_MOST_A_DAY: Final = 10
# News of last week is read where it stands.
_UNSENT = "letter_at <= clock_timestamp() AND changed_at > clock_timestamp() - interval '7 days'"
_PENDING = text(f"SELECT EXISTS (SELECT 1 FROM dispute WHERE {_UNSENT})")  # noqa: S608 - a constant
_TAKE = text(f"""
    UPDATE dispute SET letter_at = clock_timestamp() + interval '5 minutes'
     WHERE (person_id, disclosure_id) = (
           SELECT person_id, disclosure_id FROM dispute WHERE {_UNSENT}
            ORDER BY letter_at LIMIT 1 FOR UPDATE SKIP LOCKED)
    RETURNING person_id, disclosure_id, steps
""")  # noqa: S608 - a constant
# What came meanwhile is another letter's.
_DONE = text("""
    UPDATE dispute SET letter_at = NULL
     WHERE person_id = :person_id AND disclosure_id = :disclosure_id AND steps = :steps
""")


def to_company(session: Session, held: Dispute, kind: str) -> None:
    """Have its company written to about a question, once for each of its steps; one to an operator has none."""
    if held.company_id is None:
        return
    letters.write_once(
        session, client_id=held.client_id, kind=kind, about={"question": str(held.disclosure_id)},
        once=f"{kind} {held.disclosure_id} {held.steps}", most=_MOST_A_DAY,
    )  # fmt: skip


def words(session: Session, row: Row[Any], settings: Settings) -> Words | None:
    """Word a letter to a company; None when what it is about is over."""
    held = queries.by_row(session, disclosure_id=UUID(row.about["question"]), company_id=row.company_id)
    client = companies.client(session, row.client_id)
    if held is None or client is None or held.state not in _TRUE_OF[row.kind]:
        return None
    return Words(row.kind, {
        "app": client.name,
        "due": letters.moment(held.due_at) if held.due_at else "",
        "decision": held.last_step,
        "page": f"{settings.url}/org/questions/{held.disclosure_id}",
    })  # fmt: skip


def to_person(session: Session, held: Dispute) -> None:
    """Have the person written to that there is news of a question, once this is committed."""
    held.letter_at = db.now()
    session.flush()
    TRAY.ring(session)


def _news(session: Session, settings: Settings, row: Row[Any]) -> Letter | None:
    email = identity.address_of(session, settings, person_id=row.person_id)
    once = f"question {row.person_id} {row.disclosure_id} {row.steps}"
    return tray.letter(settings, to=email, template="question_news", once=once) if email else None


def _done(session: Session, row: Row[Any], _sent: bool) -> None:  # noqa: FBT001 - as a tray says it
    session.execute(_DONE, row._asdict())


TRAY: Final = Tray(
    job="portal.disputes.jobs.tell_of_questions",
    about="a letter about a question",
    pending=tray.any_of(_PENDING),
    take=tray.one_of(_TAKE),
    word=_news,
    done=_done,
)
