"""Somebody whose details a company used, and what they ask about it: real rows, each step in its own transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from portal import db
from portal.consumer import services as consumer
from portal.disputes import queries as dispute_queries
from portal.disputes import services as disputes
from portal.ledger import queries as ledger_queries
from portal.ledger import services as ledger
from portal.vault import persons
from tests.consent.offers import NOW, Offer

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy.orm import Session

    from portal.config import Settings
    from portal.disputes.models import Dispute
    from portal.disputes.queries import Said
    from portal.ledger.queries import Entry
    from portal.vault.keyring import Keyring

WORDS = "Zirkonia: I closed my account there in spring."


class Asker:
    """A person, a company that they share with or not, and as many rows of their log as are wanted."""

    def __init__(
        self, settings: Settings, keys: Keyring, person_id: UUID | None = None, *, shares: bool = True
    ) -> None:
        self.settings, self.keys = settings, keys
        self.person_id = person_id or db.new_id()
        with db.transaction(settings.database_url) as session:
            if person_id is None:
                persons.create(session, keyring=keys, person_id=self.person_id)
                changes = {"name.full": "Ada Byrne"}
                consumer.save(session, keyring=keys, person_id=self.person_id, changes=changes, now=NOW)
            self.offer = Offer(session)
            self.grant_id: Any = self.offer.give(session, self.person_id).grant_id if shares else None

    def transact(self, work: Callable[[Session], Any]) -> Any:  # noqa: ANN401 - whatever the work returns
        with db.transaction(self.settings.database_url) as session:
            return work(session)

    def row(self, **columns: Any) -> Entry:  # noqa: ANN401 - columns of a disclosure
        """Log one more use of their details, and return it."""

        def log(session: Session) -> Entry | None:
            context_id = ledger.context(
                session, company_id=self.offer.company_id, client_id=self.offer.client_id,
                company_name=self.offer.name, purpose="send bills to the right address",
            )  # fmt: skip
            facts: dict[str, Any] = {
                "person_id": self.person_id, "at": db.now(), "context_id": context_id, "channel": "pull",
                "outcome": "completed", "asked": ["name.full"], "given": {"name.full": 1},
                "grant_id": self.grant_id, "grant_version": 1 if self.grant_id else None,
            }  # fmt: skip
            made = ledger.NewDisclosure(**facts | columns)
            ledger.record(session, made)
            return ledger_queries.one(session, person_id=self.person_id, disclosure_id=made.disclosure_id)

        found: Entry | None = self.transact(log)
        assert found is not None
        return found

    def ask(self, entry: Entry | None = None, **answers: Any) -> UUID:  # noqa: ANN401 - arguments of `ask`
        entry = entry or self.row()
        chosen: dict[str, Any] = {"choice": "not-this-use", "words": WORDS, "pause": False, "now": db.now()} | answers
        self.transact(lambda session: disputes.ask(session, keyring=self.keys, entry=entry, **chosen))
        return entry.disclosure_id

    def answer(self, disclosure_id: UUID, words: str = "For your bill.", now: datetime | None = None) -> None:
        self.transact(self.answering(disclosure_id, words, now=now))

    def answering(
        self, disclosure_id: UUID, words: str = "For your bill.", now: datetime | None = None
    ) -> Callable[[Session], Dispute]:
        return lambda session: disputes.answer(
            session, keyring=self.keys, company_id=self.offer.company_id, disclosure_id=disclosure_id, words=words,
            now=now or db.now(),
        )  # fmt: skip

    def escalate(self, disclosure_id: UUID, words: str = "No.", now: datetime | None = None) -> None:
        self.transact(
            lambda session: disputes.escalate(
                session, keyring=self.keys, person_id=self.person_id, disclosure_id=disclosure_id, words=words,
                now=now or db.now(),
            )
        )  # fmt: skip

    def settle(self, disclosure_id: UUID) -> None:
        self.transact(
            lambda session: disputes.settle(
                session, person_id=self.person_id, disclosure_id=disclosure_id, now=db.now()
            )
        )

    def decide(self, disclosure_id: UUID, decision: str, **more: Any) -> None:  # noqa: ANN401 - arguments of `decide`
        chosen: dict[str, Any] = {"words": "We looked.", "operator_id": db.new_id(), "now": db.now()} | more
        self.transact(
            lambda session: disputes.decide(
                session, keyring=self.keys, disclosure_id=disclosure_id, decision=decision, **chosen
            )
        )

    def with_operator(self) -> UUID:
        """Return a question that was answered, to no avail."""
        disclosure_id = self.ask()
        self.answer(disclosure_id)
        self.escalate(disclosure_id)
        return disclosure_id

    def held(self, disclosure_id: UUID) -> Dispute:
        found: Dispute | None = self.transact(
            lambda session: dispute_queries.one(session, person_id=self.person_id, disclosure_id=disclosure_id)
        )
        assert found is not None
        return found

    def said(self, disclosure_id: UUID) -> list[Said]:
        def read(session: Session) -> list[Said]:
            held = dispute_queries.one(session, person_id=self.person_id, disclosure_id=disclosure_id)
            assert held is not None
            return dispute_queries.steps(session, keyring=self.keys, held=held)

        found: list[Said] = self.transact(read)
        return found

    def steps(self, disclosure_id: UUID) -> list[tuple[str, str]]:
        said = self.said(disclosure_id)
        assert [one.number for one in said] == list(range(1, len(said) + 1)), "none is missing, none is twice"
        assert self.held(disclosure_id).steps == len(said)
        return [(one.step, one.actor) for one in said]
