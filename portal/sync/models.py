"""The outbox: where each company is told, what each has, and what is due."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from portal.db import Base, new_id


class Stream(Base):
    """How and where a client is told (OpenID Shared Signals Framework 1.0 section 8): one stream a client.

    `method` is `push` (RFC 8935; up to `batch` tokens in one request) or `poll` (RFC 8936, without `url`).
    `state` is `enabled`, `paused` or `disabled`, `reason` why.  `events` lists the event types asked for, None all.
    `wrapped_authorization` is the header that a push carries, wrapped by the keyring.  `last_position` is the one that
    was given out last (`Delivery.position`).

    Its health: `failures` in a row, the last twenty outcomes as the bits of `recent` (1 failed) of which `tries` are
    known, the circuit open until `circuit_until` for the `circuit_step`th time, `warned` letters sent since
    `failing_since`.  Of its being off, its people have been told up to `people_told_after`, all at `people_told_at`.
    What it bears: `in_flight` requests at once, `per_second`, and what is left of that in `tokens`.

    The client has sent receipts since `receipts_from`, the last at `receipts_at`, which may be an hour behind.
    """

    __tablename__ = "stream"

    stream_id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    client_id: Mapped[str] = mapped_column(unique=True)
    method: Mapped[str] = mapped_column(default="push")
    url: Mapped[str | None]
    batch: Mapped[int] = mapped_column(default=1)
    events: Mapped[list[str] | None]
    description: Mapped[str] = mapped_column(default="")
    authorization_version: Mapped[int | None]
    wrapped_authorization: Mapped[bytes | None]
    state: Mapped[str]
    reason: Mapped[str] = mapped_column(default="")
    last_position: Mapped[int] = mapped_column(BigInteger, default=0)
    created_at: Mapped[datetime]
    verified_at: Mapped[datetime | None]
    verification_asked_at: Mapped[datetime | None]
    in_flight: Mapped[int] = mapped_column(default=4)
    per_second: Mapped[int] = mapped_column(default=100)
    tokens: Mapped[float] = mapped_column(default=0.0)
    tokens_at: Mapped[datetime | None]
    failures: Mapped[int] = mapped_column(default=0)
    recent: Mapped[int] = mapped_column(default=0)
    tries: Mapped[int] = mapped_column(default=0)
    failing_since: Mapped[datetime | None]
    circuit_until: Mapped[datetime | None]
    circuit_step: Mapped[int] = mapped_column(default=0)
    warned: Mapped[int] = mapped_column(default=0)
    disabled_at: Mapped[datetime | None]
    people_told_at: Mapped[datetime | None]
    people_told_after: Mapped[UUID | None]
    receipts_from: Mapped[datetime | None]
    receipts_at: Mapped[datetime | None]
    last_problem: Mapped[str] = mapped_column(default="")


class Delivery(Base):
    """What one subscription (a grant with push) has and what it is owed.

    A change raises `generation`; changes that pile up are one delivery of the newest state.  It is due when
    `generation > acked_generation` and `due_at` has come.  `acked_sequence` is the record's sequence the
    company has acknowledged; `told_version` and `told_state` are the grant version and state it has been told of,
    `told_erasure` that it has been asked to delete what it holds.  `held` says that nothing is sent again by itself,
    because the receiver refused what it got.

    `position` is its place in the client's stream: given out in the order in which rows were committed, so that
    whoever polls misses nothing; `positioned` is the generation that it was given for.  `sent_jti`, `sent_generation`,
    `sent_sequence`, `sent_version`, `sent_state` and `sent_erasure` are of the message that was handed out last, for
    whoever acknowledges it later, and `sent_after` is the sequence that had been acknowledged then.
    `unsure_generation` is of the first message that told of another version of the grant than was acknowledged, and
    may have arrived; it says nothing once a later one is acknowledged.  `applied_...` is what the company reported of
    having used it: `applied`, `rejected` or `superseded`.
    """

    __tablename__ = "delivery"
    __table_args__ = (
        Index("delivery_due_idx", "client_id", "due_at", postgresql_where=text("generation > acked_generation")),
        Index(None, "client_id"),
        Index("delivery_position_idx", "client_id", "position", postgresql_where=text("generation > acked_generation")),
        Index("delivery_sent_idx", "client_id", "sent_jti", postgresql_where=text("sent_jti IS NOT NULL")),
        # Room for what a lease makes of a row: it stays on its page, and no index hears of it.
        {"postgresql_with": {"fillfactor": 50}},
    )

    person_id: Mapped[UUID] = mapped_column(primary_key=True)
    grant_id: Mapped[UUID] = mapped_column(primary_key=True)
    client_id: Mapped[str]
    generation: Mapped[int] = mapped_column(default=1)
    acked_generation: Mapped[int] = mapped_column(default=0)
    acked_sequence: Mapped[int] = mapped_column(default=0)
    told_version: Mapped[int] = mapped_column(default=0)
    told_state: Mapped[str] = mapped_column(default="")
    told_erasure: Mapped[bool] = mapped_column(default=False)
    due_at: Mapped[datetime]
    attempts: Mapped[int] = mapped_column(default=0)
    held: Mapped[bool] = mapped_column(default=False)
    lease_id: Mapped[UUID | None]
    leased_until: Mapped[datetime | None]
    acked_at: Mapped[datetime | None]
    last_problem: Mapped[str] = mapped_column(default="")
    position: Mapped[int | None] = mapped_column(BigInteger)
    positioned: Mapped[int] = mapped_column(default=0)
    sent_jti: Mapped[str | None]
    sent_generation: Mapped[int | None]
    sent_sequence: Mapped[int | None]
    sent_version: Mapped[int | None]
    sent_state: Mapped[str | None]
    sent_erasure: Mapped[bool | None]
    sent_after: Mapped[int | None]
    unsure_generation: Mapped[int] = mapped_column(default=0, server_default="0")
    applied_state: Mapped[str] = mapped_column(default="")
    applied_generation: Mapped[int] = mapped_column(default=0)
    applied_sequence: Mapped[int] = mapped_column(default=0)
    applied_at: Mapped[datetime | None]


class Flight(Base):
    """One request on its way to a client's endpoint: what its deliveries are leased by, and until when it counts."""

    __tablename__ = "flight"

    stream_id: Mapped[UUID] = mapped_column(primary_key=True)
    lease_id: Mapped[UUID] = mapped_column(primary_key=True)
    leased_until: Mapped[datetime]


class Attempt(Base):
    """One message handed to a client, or tried to be; kept for thirty days, for its staff.

    `attempt_id` is the id of its row in the disclosure log when it is about a person.  `payload` is the message's
    claims as they were signed, every sealed value replaced by its length; `kinds` are its event types.
    """

    __tablename__ = "attempt"
    __table_args__ = (
        Index(None, "client_id", "jti"),
        Index("attempt_failed_idx", "client_id", "at", postgresql_where=text("outcome <> 'completed'")),
        Index("attempt_person_idx", "client_id", "person_id", "at", postgresql_where=text("person_id IS NOT NULL")),
        Index("attempt_sending_idx", "at", postgresql_where=text("outcome = 'sending'")),
        Index("attempt_at_idx", "at", postgresql_using="brin"),
        {"info": {"directory": "found by the client whose staff look at it"}},
    )

    client_id: Mapped[str] = mapped_column(primary_key=True)
    at: Mapped[datetime] = mapped_column(primary_key=True)
    attempt_id: Mapped[UUID] = mapped_column(primary_key=True)
    jti: Mapped[str]
    person_id: Mapped[UUID | None]
    grant_id: Mapped[UUID | None]
    generation: Mapped[int | None]
    sequence: Mapped[int | None]
    grant_version: Mapped[int | None]
    channel: Mapped[str]
    kinds: Mapped[list[str]]
    outcome: Mapped[str]
    status: Mapped[int | None]
    milliseconds: Mapped[int]
    detail: Mapped[str]
    payload: Mapped[str]


class StreamEvent(Base):
    """A message to a client that is about its stream and about nobody: verification, status, keys.

    Delivered by the same push and poll as a person's news, before them.
    """

    __tablename__ = "stream_event"
    __table_args__ = (Index("stream_event_due_idx", "due_at", postgresql_where=text("delivered_at IS NULL")),)

    stream_event_id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    client_id: Mapped[str] = mapped_column(index=True)
    kind: Mapped[str]
    payload: Mapped[dict[str, Any]]
    created_at: Mapped[datetime]
    due_at: Mapped[datetime]
    attempts: Mapped[int] = mapped_column(default=0)
    lease_id: Mapped[UUID | None]
    leased_until: Mapped[datetime | None]
    delivered_at: Mapped[datetime | None]
    last_problem: Mapped[str] = mapped_column(default="")


class AwayLetter(Base):
    """A letter to a person: some organisation they share with accepts no updates since `about`.

    One row a person, however many organisations that are; a day lies between two letters at least.
    """

    __tablename__ = "away_letter"
    __table_args__ = (Index("away_letter_unsent_idx", "about", postgresql_where=text("sent_at IS NULL")),)

    person_id: Mapped[UUID] = mapped_column(primary_key=True)
    about: Mapped[datetime]
    leased_until: Mapped[datetime | None]
    last_sent_at: Mapped[datetime | None]
    sent_at: Mapped[datetime | None]


class Receipt(Base):
    """What a company says it did with a message: `applied`, `rejected` (with a reason) or `superseded`.

    `generation` and `sequence` are the message's, as `Delivery` counts; a pulled message has generation 0.  `words`
    are the company's own about the reason, and hold no value.
    """

    __tablename__ = "receipt"
    __table_args__ = (Index(None, "client_id", "jti"), Index(None, "received_at"))

    person_id: Mapped[UUID] = mapped_column(primary_key=True)
    grant_id: Mapped[UUID] = mapped_column(primary_key=True)
    jti: Mapped[str] = mapped_column(primary_key=True)
    client_id: Mapped[str]
    status: Mapped[str]
    reason: Mapped[str] = mapped_column(default="")
    words: Mapped[str] = mapped_column(default="")
    generation: Mapped[int]
    sequence: Mapped[int | None]
    applied_at: Mapped[datetime]
    received_at: Mapped[datetime]


class GrantUse(Base):
    """How often a company has used a grant on one day (UTC).

    `kind` is `pull`, `check` for asking whether anything has changed when nothing had, `drift` for checks of its
    copy, or `guess` for details it was wrong about in those.
    """

    __tablename__ = "grant_use"

    person_id: Mapped[UUID] = mapped_column(primary_key=True)
    grant_id: Mapped[UUID] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(primary_key=True)
    day: Mapped[date] = mapped_column(primary_key=True, index=True)
    used: Mapped[int]


class IdempotencyKey(Base):
    """A key by which a client may repeat a request without asking twice; kept as its SHA-256.

    `fingerprint` is of the request that came first, `pull_id` what it made.
    """

    __tablename__ = "idempotency_key"

    client_id: Mapped[str] = mapped_column(primary_key=True)
    key_hash: Mapped[bytes] = mapped_column(primary_key=True)
    fingerprint: Mapped[bytes]
    pull_id: Mapped[UUID]
    expires_at: Mapped[datetime] = mapped_column(index=True)


class Replay(Base):
    """Staff's wish to send many deliveries again; `scope` is `failed` or `missing`, worked through by a job.

    `state` is `queued`, `running`, `done` or `stopped`; `total` was counted and shown before.
    """

    __tablename__ = "replay"
    __table_args__ = (
        Index("replay_unfinished_key", "client_id", unique=True, postgresql_where=text("finished_at IS NULL")),
    )

    replay_id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    client_id: Mapped[str] = mapped_column(index=True)
    scope: Mapped[str]
    since: Mapped[datetime]
    total: Mapped[int]
    done: Mapped[int] = mapped_column(default=0)
    state: Mapped[str] = mapped_column(default="queued")
    asked_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]
    after_person: Mapped[UUID | None]
    after_grant: Mapped[UUID | None]
    leased_until: Mapped[datetime | None]


class BatchPull(Base):
    """A pull of many people, answered by a job; `state` is `queued`, `running`, `done` or `expired`.

    `epk` is a public key for this pull alone (a JWK), where the client sent one: answers are sealed to it as well.
    """

    __tablename__ = "batch_pull"

    pull_id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    client_id: Mapped[str] = mapped_column(index=True)
    state: Mapped[str] = mapped_column(default="queued")
    attributes: Mapped[list[str]]
    total: Mapped[int]
    requested_at: Mapped[datetime]
    leased_until: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    expires_at: Mapped[datetime] = mapped_column(index=True)
    epk: Mapped[dict[str, Any] | None]


class BatchPullItem(Base):
    """One subject of a batch pull: `waiting`, `answered` (with the envelope, sealed to the company) or `refused`.

    An answered one names its row in the disclosure log, which stays `sending` until the company fetches.
    """

    __tablename__ = "batch_pull_item"
    __table_args__ = ({"info": {"directory": "found by the pull a company asks for"}},)

    pull_id: Mapped[UUID] = mapped_column(primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True)
    sub: Mapped[str]
    state: Mapped[str] = mapped_column(default="waiting")
    problem: Mapped[str | None]
    message: Mapped[str | None]
    person_id: Mapped[UUID | None]
    disclosed_at: Mapped[datetime | None]
    disclosure_id: Mapped[UUID | None]


class Conduct(Base):
    """How a company conducts itself, gathered once a day: what can be counted cheaply is counted when it is read.

    Of the last thirty days: `changes` that it said it had applied, those of how many `people`, half of them within
    `median_seconds` of being saved; `asked_to_delete` is how many consents it was asked to delete details of within a
    year.  On `looks_on` (UTC) it looked `looks` times at details of people whose consents, `looked_at` in number, say
    how often it may, which was `looks_allowed` times together.
    """

    __tablename__ = "conduct"

    company_id: Mapped[UUID] = mapped_column(primary_key=True)
    gathered_at: Mapped[datetime]
    changes: Mapped[int]
    people: Mapped[int]
    median_seconds: Mapped[float | None]
    sends_receipts: Mapped[bool]
    asked_to_delete: Mapped[int]
    looks: Mapped[int] = mapped_column(BigInteger)
    looks_allowed: Mapped[int] = mapped_column(BigInteger)
    looked_at: Mapped[int]
    looks_on: Mapped[date | None]


class Reconciliation(Base):
    """One night's look at whether the log says what happened, from `since` to `until`; it is never deleted.

    `phase` and `after` are how far it is.  `counts` has what was looked at, by its name; `wrong` what has no
    counterpart, by `sync.reconciliation.WORDS`: `{"count", "some"}`, with ids.  Operators were told at `told_at`.
    """

    __tablename__ = "reconciliation"

    began_at: Mapped[datetime] = mapped_column(primary_key=True)
    since: Mapped[datetime]
    until: Mapped[datetime]
    phase: Mapped[str]
    after: Mapped[str]
    counts: Mapped[dict[str, Any]]
    wrong: Mapped[dict[str, Any]]
    stepped_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]
    told_at: Mapped[datetime | None]
