"""What the account services promise, on a real PostgreSQL."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from time import thread_time
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import select, text

from portal import db
from portal.identity import codes, queries, services
from portal.identity.models import Password, Person, SignInCode
from portal.vault.models import PersonKey

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy.orm import Session

    from portal.config import Settings
    from portal.vault.keyring import Keyring

NOW = db.now()


@pytest.fixture
def known(session: Session, keys: Keyring, password: str) -> UUID:
    person = services.register(session, keyring=keys, email="Wren@Example.org", now=NOW)
    services.confirm(session, keyring=keys, person_id=person.person_id)
    services.set_password(session, keyring=keys, person_id=person.person_id, password=password, now=NOW)
    return person.person_id


def check(session: Session, keys: Keyring, password: str, *, now: datetime = NOW) -> UUID | None:
    return services.check_password(session, keyring=keys, email="wren@example.org", password=password, now=now)


def test_nobody_is_found_before_the_address_is_proved(session: Session, keys: Keyring) -> None:
    services.register(session, keyring=keys, email="wren@example.org", now=NOW)
    assert queries.find_person(session, keyring=keys, email="wren@example.org") is None


def test_people_are_found_however_they_write_their_address(session: Session, keys: Keyring, known: UUID) -> None:
    assert queries.find_person(session, keyring=keys, email=" wREN@example.ORG ") == known


def test_the_address_is_nowhere_in_the_row(session: Session, keys: Keyring, known: UUID) -> None:
    row = session.get_one(Person, known)
    assert b"wren" not in row.sealed_email.lower()
    assert queries.email_of(session, keyring=keys, person_id=known) == "Wren@Example.org"


def test_a_second_account_for_an_address_leads_to_the_first(session: Session, keys: Keyring, known: UUID) -> None:
    second = services.register(session, keyring=keys, email="wren@example.org", now=NOW)
    assert services.confirm(session, keyring=keys, person_id=second.person_id) == known


def test_the_right_password_is_right(session: Session, keys: Keyring, known: UUID, password: str) -> None:
    assert check(session, keys, password) == known
    assert check(session, keys, password.upper()) is None


def test_a_password_is_the_same_in_either_unicode_form(session: Session, keys: Keyring, known: UUID) -> None:
    composed, decomposed = "caf\u00e9 au lait tabouret", "cafe\u0301 au lait tabouret"
    services.set_password(session, keyring=keys, person_id=known, password=composed, now=NOW)
    assert check(session, keys, decomposed) == known


def test_the_hash_has_the_cost_we_chose(session: Session, known: UUID) -> None:
    assert session.get_one(Password, known).hash.startswith("$argon2id$v=19$m=19456,t=2,p=1$")


def test_strangers_cost_a_hash_as_well(session: Session, keys: Keyring, known: UUID) -> None:
    def cost(email: str) -> float:
        before = thread_time()
        services.check_password(session, keyring=keys, email=email, password="wrong wrong wrong", now=NOW)
        return thread_time() - before

    cost("sky@example.org")
    assert known
    assert cost("sky@example.org") > cost("wren@example.org") / 3


def test_ten_wrong_passwords_close_the_way_for_a_quarter_of_an_hour(
    session: Session, keys: Keyring, known: UUID, password: str
) -> None:
    for _ in range(10):
        assert check(session, keys, "wrong wrong wrong") is None
    assert check(session, keys, password) is None
    assert check(session, keys, password, now=NOW + timedelta(minutes=15)) == known


def test_a_right_password_forgives_the_wrong_ones(session: Session, keys: Keyring, known: UUID, password: str) -> None:
    for _ in range(9):
        check(session, keys, "wrong wrong wrong")
    assert check(session, keys, password) == known
    assert session.get_one(Password, known).failures == 0


def test_guesses_sent_together_are_all_counted(settings: Settings, keys: Keyring, person: tuple[UUID, str]) -> None:
    def guess(_number: int) -> None:
        with db.transaction(settings.database_url) as own:
            services.check_password(own, keyring=keys, email=person[1], password="wrong wrong wrong", now=NOW)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(guess, range(9)))
    with db.transaction(settings.database_url) as own:
        assert own.get_one(Password, person[0]).failures == 9


def issue(session: Session, keys: Keyring, person_id: UUID) -> tuple[UUID, str]:
    code_id = codes.issue(session, keyring=keys, person_id=person_id, now=NOW)
    assert code_id
    code = queries.open_code(session, keyring=keys, person_id=person_id, code_id=code_id, now=NOW)
    assert code
    return code_id, code


def use(session: Session, keys: Keyring, person_id: UUID, code_id: UUID, code: str, *, minutes: int = 0) -> bool:
    now = NOW + timedelta(minutes=minutes)
    return codes.use(session, keyring=keys, person_id=person_id, code_ids=[code_id], code=code, now=now)


def other_than(code: str) -> str:
    return f"{(int(code) + 1) % 1_000_000:06d}"


def test_a_code_works_once(session: Session, keys: Keyring, known: UUID) -> None:
    code_id, code = issue(session, keys, known)
    assert use(session, keys, known, code_id, code)
    assert not use(session, keys, known, code_id, code)


def test_a_code_works_for_a_quarter_of_an_hour(session: Session, keys: Keyring, known: UUID) -> None:
    code_id, code = issue(session, keys, known)
    assert not use(session, keys, known, code_id, code, minutes=15)
    assert use(session, keys, known, code_id, code, minutes=14)


def test_five_wrong_tries_use_a_code_up(session: Session, keys: Keyring, known: UUID) -> None:
    code_id, code = issue(session, keys, known)
    for _ in range(5):
        assert not use(session, keys, known, code_id, other_than(code))
    assert not use(session, keys, known, code_id, code)


def test_a_code_is_only_for_its_person_and_browser(session: Session, keys: Keyring, known: UUID) -> None:
    first, code = issue(session, keys, known)
    second, _ = issue(session, keys, known)
    stranger = services.register(session, keyring=keys, email="sky@example.org", now=NOW).person_id
    assert not use(session, keys, stranger, first, code)
    tries = session.scalar(select(SignInCode.tries).where(SignInCode.code_id == second))
    assert tries == 0


def test_an_earlier_code_keeps_working(session: Session, keys: Keyring, known: UUID) -> None:
    (first, code), (second, _) = issue(session, keys, known), issue(session, keys, known)
    assert codes.use(session, keyring=keys, person_id=known, code_ids=[first, second], code=code, now=NOW)


def test_fifteen_codes_wait_at_most(session: Session, keys: Keyring, known: UUID) -> None:
    for _ in range(15):
        issue(session, keys, known)
    assert codes.issue(session, keyring=keys, person_id=known, now=NOW) is None
    assert codes.issue(session, keyring=keys, person_id=known, now=NOW + timedelta(minutes=15))


def test_wrong_codes_make_the_next_ones_longer(session: Session, keys: Keyring, known: UUID) -> None:
    """OWASP ASVS 5.0, 6.3.1 and 6.6.3: a stranger who guesses gets nowhere and locks nobody out."""
    for _ in range(5):
        code_id, code = issue(session, keys, known)
        assert len(code) == 6
        for _ in range(5):
            use(session, keys, known, code_id, other_than(code))
    code_id, code = issue(session, keys, known)
    assert len(code) == 12
    assert use(session, keys, known, code_id, code)


def test_wrong_codes_of_one_purpose_do_not_count_for_another(session: Session, keys: Keyring, known: UUID) -> None:
    issue(session, keys, known)
    session.execute(text("UPDATE sign_in_code SET tries = 30 WHERE person_id = :id"), {"id": known})
    code_id = codes.issue(session, keyring=keys, person_id=known, now=NOW, purpose=queries.SECOND_PROOF)
    assert code_id
    code = queries.open_code(session, keyring=keys, person_id=known, code_id=code_id, now=NOW)
    assert code
    assert len(code) == 6
    assert not use(session, keys, known, code_id, code)
    assert codes.use(
        session, keyring=keys, person_id=known, code_ids=[code_id], code=code, now=NOW, purpose=queries.SECOND_PROOF
    )


def test_of_two_who_use_a_code_at_once_one_wins(settings: Settings, keys: Keyring, person: tuple[UUID, str]) -> None:
    with db.transaction(settings.database_url) as own:
        code_id, code = issue(own, keys, person[0])

    def race(_number: int) -> bool:
        with db.transaction(settings.database_url) as own:
            return use(own, keys, person[0], code_id, code)

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(race, range(2))) == [False, True]


def test_the_code_is_nowhere_in_the_row(session: Session, keys: Keyring, known: UUID) -> None:
    code_id, code = issue(session, keys, known)
    assert code.encode() not in session.get_one(SignInCode, (known, code_id)).sealed_code


def sign_in(session: Session, person_id: UUID) -> str:
    return services.open_session(session, person_id=person_id, method="password", browser="Firefox", now=NOW)


def test_a_token_is_long_and_stored_by_its_hash(session: Session, known: UUID) -> None:
    token = sign_in(session, known)
    row = queries.session_of(session, token=token, now=NOW)
    assert len(token) >= 43
    assert row
    assert row.token_hash == queries.hash_of(token)


@pytest.mark.parametrize(("idle", "age"), [(timedelta(minutes=30), timedelta(minutes=30)), (None, timedelta(hours=12))])
def test_a_session_ends_by_itself(session: Session, known: UUID, idle: timedelta | None, age: timedelta) -> None:
    token = sign_in(session, known)
    if idle is None:
        session.execute(text("UPDATE browser_session SET seen_at = :at"), {"at": NOW + age})
    assert queries.session_of(session, token=token, now=NOW + age - timedelta(seconds=1))
    assert queries.session_of(session, token=token, now=NOW + age) is None


def test_use_keeps_a_session_alive(session: Session, known: UUID) -> None:
    token, later = sign_in(session, known), NOW + timedelta(minutes=29)
    row = queries.session_of(session, token=token, now=later)
    assert row
    services.touch(session, row=row, now=later)
    assert queries.session_of(session, token=token, now=later + timedelta(minutes=29))


def test_an_ended_session_is_over(session: Session, known: UUID) -> None:
    token = sign_in(session, known)
    assert services.end_session(session, person_id=known, token_hash=queries.hash_of(token), now=NOW)
    assert queries.session_of(session, token=token, now=NOW) is None


def test_nobody_ends_anothers_session(session: Session, keys: Keyring, known: UUID) -> None:
    token = sign_in(session, known)
    stranger = services.register(session, keyring=keys, email="sky@example.org", now=NOW).person_id
    assert not services.end_session(session, person_id=stranger, token_hash=queries.hash_of(token), now=NOW)
    assert queries.session_of(session, token=token, now=NOW)


def test_what_was_never_proved_is_forgotten_with_its_key(session: Session, keys: Keyring, known: UUID) -> None:
    unproved = services.register(session, keyring=keys, email="late@example.org", now=NOW).person_id
    codes.issue(session, keyring=keys, person_id=unproved, now=NOW)
    services.forget_unproved(session, now=NOW + timedelta(hours=25))
    session.expire_all()
    assert session.get(Person, unproved) is None
    assert session.get(PersonKey, unproved) is None
    assert session.get(Person, known) is not None
