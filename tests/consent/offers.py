"""A company with one app and one use of details, as they stand in the database."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

from portal import db
from portal.companies.models import Client, Company, Purpose, PurposeVersion
from portal.consent import services
from tests.purposes import amend

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from portal.consent.models import Grant

NOW = db.now()
NEEDS = [{"attribute": "name.full", "reason": "To write to you"}]
CHOOSES = [
    {"attribute": "email.main", "reason": "To send bills by email"},
    {"attribute": "phone.mobile", "reason": "To text you before a visit"},
]


class Offer:
    """One client with one purpose, as they stand in the database."""

    def __init__(self, session: Session, **purpose: Any) -> None:  # noqa: ANN401 - columns of a purpose
        name = f"Brightwell {uuid4().hex[:6]}"
        self.company_id, self.client_id, self.purpose_id = uuid4(), f"test_{uuid4().hex}", uuid4()
        self.name = name
        company = Company(
            company_id=self.company_id,
            slug=name.lower().replace(" ", "-"),
            legal_name=f"{name} Energy Ltd",
            trading_name=name,
            registration_number="123456",
            country="IE",
            contact_email="privacy@brightwell.example",
            privacy_url="https://brightwell.example/privacy",
            stop_effect="Bills go to your last known address.",
            state="verified",
            created_at=NOW,
            verified_at=NOW,
        )
        client = Client(
            client_id=self.client_id,
            company_id=self.company_id,
            name=name,
            environment="live",
            redirect_uris=[],
            created_at=NOW,
        )
        said: dict[str, Any] = {
            "sentence": "send bills to the right address",
            "dpv": "PaymentManagement",
            "lawful_basis": "consent",
            "mode": "kept-up-to-date",
            "required": NEEDS,
            "optional": CHOOSES,
            "retention_days": 30,
            "longest_days": 365,
        } | purpose
        code = str(said.pop("code", "billing"))
        declared = Purpose(
            purpose_id=self.purpose_id, client_id=self.client_id, code=code, version=1, created_at=NOW,
            attributes=[item["attribute"] for item in (*said["required"], *said["optional"])],
        )  # fmt: skip
        state = str(said.pop("state", "live"))
        first = PurposeVersion(purpose_id=self.purpose_id, version=1, state=state, drafted_at=NOW, **said)
        for row in (company, client, declared, first):
            session.add(row)
            session.flush()

    def give(self, session: Session, person_id: UUID, **choice: Any) -> Grant:  # noqa: ANN401 - arguments of `give`
        terms: dict[str, Any] = {"attributes": ["name.full"], "mode": "kept-up-to-date", "days": None, "level": 1}
        terms |= {"shown": {"title": "Share?"}, "now": NOW} | choice
        return services.give(
            session, person_id=person_id, client_id=self.client_id, purpose_id=self.purpose_id, **terms
        )

    def alter(self, session: Session, **columns: Any) -> None:  # noqa: ANN401 - columns of a purpose
        """Change what the purpose states, as a later version of it."""
        amend(session, self.purpose_id, **columns)
