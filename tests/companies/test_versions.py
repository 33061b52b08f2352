"""What a purpose says is never changed: it is drafted, reviewed, live or sent back, and then replaced."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import ProgrammingError

from portal import db
from portal.companies import ceilings, declared, purpose_queries, queries, services, versions
from portal.companies.models import CompanyLetter, PurposeVersion
from portal.errors import NotFoundError
from portal.oauth import rich_authorization

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

    from sqlalchemy.orm import Session

    from portal.companies.purpose_queries import VersionFacts
    from portal.companies.queries import CompanyFacts
    from portal.config import Settings

    Make = Callable[..., dict[str, Any]]

CATALOGUE = {"name.full", "address.home", "email.main"}
CODE = "bills"
SAID: dict[str, Any] = {
    "sentence": "send bills", "dpv": "PaymentManagement", "mode": "kept-up-to-date",
    "required": [("name.full", "To address you")], "optional": [("email.main", "To send a copy")],
    "retention_days": 30, "catalogue": CATALOGUE,
}  # fmt: skip
OPERATOR = uuid4()


@pytest.fixture
def owned(session: Session, facts: Make) -> CompanyFacts:
    return services.register_company(session, **facts(verified=True, owner=uuid4()))


def client_of(session: Session, company: CompanyFacts, environment: str) -> str:
    return services.create_client(
        session, company_id=company.company_id, name="Bills", redirect_uris=["https://brightwell.example/back"],
        environment=environment, now=db.now(),
    )  # fmt: skip


@pytest.fixture
def live(session: Session, owned: CompanyFacts) -> str:
    """A live app whose purpose is drafted."""
    client_id = client_of(session, owned, "live")
    services.declare_purpose(session, client_id=client_id, code=CODE, now=db.now(), **SAID)
    return client_id


@pytest.fixture
def test_app(session: Session, owned: CompanyFacts) -> str:
    client_id = client_of(session, owned, "test")
    services.declare_purpose(session, client_id=client_id, code=CODE, now=db.now(), **SAID)
    return client_id


def states(session: Session, client_id: str) -> list[tuple[int, str, bool]]:
    """Return number, state and use of each version, the first first."""
    found = purpose_queries.of_purpose(session, client_id=client_id, code=CODE)
    return [(one.purpose.version, one.state, one.in_use) for one in reversed(found)]


def send(session: Session, client_id: str) -> VersionFacts:
    return versions.send(session, client_id=client_id, code=CODE, now=db.now())


def revise(session: Session, client_id: str, **said: Any) -> VersionFacts:  # noqa: ANN401 - as `declared.columns` takes it
    return versions.revise(session, client_id=client_id, code=CODE, now=db.now(), **SAID | said)


def decide(session: Session, sent: VersionFacts, act: Callable[..., None], by: UUID = OPERATOR) -> None:
    purpose = sent.purpose
    act(session, purpose_id=purpose.purpose_id, version=purpose.version, by=by, words="Ask for less.", now=db.now())


def asked(session: Session, client_id: str) -> queries.PurposeFacts | None:
    return queries.purpose_by_code(session, client_id, CODE)


def test_a_live_app_asks_once_an_operator_has_put_it_live(session: Session, live: str) -> None:
    request = f'[{{"type":"ucm_profile","purpose":"{CODE}"}}]'
    assert states(session, live) == [(1, "draft", False)]
    for _ in range(2):
        assert asked(session, live) is None
        assert queries.purposes_of(session, live) == []
        with pytest.raises(rich_authorization.PurposeNotLiveError):
            rich_authorization.read(session, client_id=live, text=request, scope="openid", issuer="https://p.example")
        if states(session, live)[0][1] == "draft":
            sent = send(session, live)
    decide(session, sent, versions.put_live)
    assert states(session, live) == [(1, "live", True)]
    read = rich_authorization.read(session, client_id=live, text=request, scope="openid", issuer="https://p.example")
    assert (read.purpose.version, read.purpose.reviewed) == (1, True)


def test_a_test_app_asks_at_once_and_says_that_nobody_looked(session: Session, test_app: str) -> None:
    found = asked(session, test_app)
    assert found is not None
    assert not found.reviewed
    with pytest.raises(versions.NoReviewNeededError):
        send(session, test_app)
    revise(session, test_app, sentence="send bills by email")
    assert states(session, test_app) == [(1, "replaced", False), (2, "draft", True)]


def test_a_test_app_keeps_to_the_same_ceilings(session: Session, test_app: str) -> None:
    with pytest.raises(declared.OverAskingError):
        revise(session, test_app, dpv="DirectMarketing", retention_days=365)
    assert states(session, test_app) == [(1, "draft", True)]


def test_what_is_sent_back_is_mended_by_another_version(session: Session, live: str) -> None:
    decide(session, send(session, live), versions.send_back)
    mended = revise(session, live)
    assert (mended.purpose.version, mended.state) == (2, "draft")
    decide(session, send(session, live), versions.put_live)
    assert states(session, live) == [(1, "sent-back", False), (2, "live", True)]
    newest, first = purpose_queries.of_purpose(session, client_id=live, code=CODE)
    assert (first.words, newest.decided_at is not None) == ("Ask for less.", True)


def test_a_live_version_is_asked_under_until_the_next_is_live(session: Session, live: str) -> None:
    decide(session, send(session, live), versions.put_live)
    revise(session, live, optional=[])
    assert states(session, live) == [(1, "live", True), (2, "draft", False)]
    decide(session, send(session, live), versions.send_back)
    assert states(session, live) == [(1, "live", True), (2, "sent-back", False)]
    revise(session, live, optional=[], retention_days=9)
    decide(session, send(session, live), versions.put_live)
    assert states(session, live) == [(1, "replaced", False), (2, "sent-back", False), (3, "live", True)]


def test_saying_the_same_makes_no_version(session: Session, live: str) -> None:
    assert revise(session, live).purpose.version == 1
    send(session, live)
    assert revise(session, live).state == "waiting"
    assert revise(session, live, retention_days=31).purpose.version == 2
    assert states(session, live) == [(1, "replaced", False), (2, "draft", False)]


def test_what_waits_is_taken_back(session: Session, live: str) -> None:
    sent = send(session, live)
    with pytest.raises(versions.NoDraftError):
        send(session, live)
    assert versions.take_back(session, client_id=live, code=CODE).state == "draft"
    with pytest.raises(versions.NoDraftError):
        versions.take_back(session, client_id=live, code=CODE)
    for act in (versions.put_live, versions.send_back):
        with pytest.raises(versions.NotWaitingError):
            decide(session, sent, act)


def test_nobody_decides_on_their_own_organisations_purpose(session: Session, owned: CompanyFacts, live: str) -> None:
    own = uuid4()
    services.add_staff(session, company_id=owned.company_id, person_id=own)
    with pytest.raises(versions.OwnPurposeError):
        decide(session, send(session, live), versions.put_live, by=own)


def test_a_ceiling_that_was_lowered_meanwhile_holds(
    session: Session, live: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = send(session, live)
    monkeypatch.setattr(ceilings, "CEILINGS", {"PaymentManagement": ceilings.Ceiling(retention_days=3)})
    with pytest.raises(declared.OverAskingError):
        decide(session, sent, versions.put_live)
    versions.take_back(session, client_id=live, code=CODE)
    with pytest.raises(declared.OverAskingError):
        send(session, live)


def test_the_company_reads_what_was_decided(session: Session, owned: CompanyFacts, live: str) -> None:
    decide(session, send(session, live), versions.send_back)
    revise(session, live)
    decide(session, send(session, live), versions.put_live)
    mine = select(CompanyLetter).where(CompanyLetter.company_id == owned.company_id).order_by(CompanyLetter.written_at)
    letters = session.scalars(mine).all()
    # Each goes to its owner and to the address of a company that was checked.
    assert [letter.kind for letter in letters] == ["purpose_sent_back"] * 2 + ["purpose_live"] * 2
    assert letters[0].about["words"] == "Ask for less."


def test_fifty_versions_a_day(session: Session, live: str) -> None:
    for number in range(49):
        revise(session, live, retention_days=number)
    with pytest.raises(versions.TooManyVersionsError):
        revise(session, live, retention_days=100)


def test_fifty_purposes_of_one_app(session: Session, test_app: str) -> None:
    for number in range(2, 51):
        services.declare_purpose(session, client_id=test_app, code=f"bills-{number}", now=db.now(), **SAID)
    with pytest.raises(services.TooManyPurposesError):
        services.declare_purpose(session, client_id=test_app, code="bills-51", now=db.now(), **SAID)


@pytest.mark.parametrize("code", ["nothing", "a\x00b"])
def test_an_unknown_purpose_is_not_found(session: Session, live: str, code: str) -> None:
    for act in (versions.send, versions.revise):
        more = SAID if act is versions.revise else {}
        with pytest.raises(NotFoundError):
            act(session, client_id=live, code=code, now=db.now(), **more)
    with pytest.raises(NotFoundError):
        purpose_queries.of_purpose(session, client_id=live, code=code)


REFUSED = [
    "UPDATE purpose_version SET sentence = 'sell what we know' WHERE purpose_id = :id",
    "UPDATE purpose_version SET retention_days = 3650 WHERE purpose_id = :id",
    "UPDATE purpose_version SET optional = '[]' WHERE purpose_id = :id",
    "UPDATE purpose_version SET version = 7 WHERE purpose_id = :id",
    "DELETE FROM purpose_version WHERE purpose_id = :id",
    "TRUNCATE purpose_version CASCADE",
]


@pytest.mark.parametrize("statement", REFUSED)
@pytest.mark.parametrize("owner", [False, True])
def test_the_database_refuses_to_change_what_a_version_says(settings: Settings, statement: str, *, owner: bool) -> None:
    url = settings.database_owner_url if owner else settings.database_url
    with db.sessions(url)() as session:
        which = {"id": session.scalar(select(PurposeVersion.purpose_id).limit(1)) or make(session)}
        with pytest.raises(ProgrammingError, match=r"never changed|permission denied|append-only"):
            session.execute(text(statement), which)


@pytest.mark.parametrize(("before", "after"), [("live", "draft"), ("sent-back", "live"), ("replaced", "live")])
def test_the_database_refuses_a_way_back(session: Session, live: str, before: str, after: str) -> None:
    sent = send(session, live)
    decide(session, sent, versions.send_back if before == "sent-back" else versions.put_live)
    which = {"id": sent.purpose.purpose_id, "before": before, "after": after}
    if before == "replaced":
        session.execute(text("UPDATE purpose_version SET state = 'replaced' WHERE purpose_id = :id"), which)
    with pytest.raises(ProgrammingError, match="never changed"):
        session.execute(
            text("UPDATE purpose_version SET state = :after WHERE purpose_id = :id AND state = :before"), which
        )


def test_of_two_changes_at_once_each_gets_a_number(settings: Settings, facts: Make) -> None:
    with db.transaction(settings.database_url) as session:
        company = services.register_company(session, **facts(verified=True))
        client_id = client_of(session, company, "test")
        services.declare_purpose(session, client_id=client_id, code=CODE, now=db.now(), **SAID)

    def change(days: int) -> int:
        with db.transaction(settings.database_url) as own:
            return revise(own, client_id, retention_days=days).purpose.version

    with ThreadPoolExecutor(4) as threads:
        made = sorted(threads.map(change, range(1, 5)))
    assert made == [2, 3, 4, 5]
    with db.transaction(settings.database_url) as session:
        assert states(session, client_id)[-1] == (5, "draft", True)


def make(session: Session) -> UUID:
    company = services.register_company(
        session, legal_name="Made Ltd", trading_name=f"Made {uuid4().hex}", registration_number="IE 1", country="IE",
        contact_email="p@made.example", privacy_url="https://made.example/", now=db.now(),
    )  # fmt: skip
    client_id = client_of(session, company, "test")
    return services.declare_purpose(session, client_id=client_id, code=CODE, now=db.now(), **SAID).purpose_id
