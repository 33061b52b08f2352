"""What a company is told of consents given to it, and what it says of what it was asked to delete."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Literal
from uuid import UUID

from pydantic import (
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    field_validator,
    model_validator,
)

from portal.consent import deletion_rules as rules
from portal.consumer.catalogue import CATALOGUE

MOST_LISTED = 200
State = Literal[
    "countered", "active", "paused", "refused", "deferred", "withdrawn", "ended", "expired", "invalidated"
]  # fmt: skip
Reason = Literal["accounts", "other-law", "legal-claim", "not-settled", "authority"]


def _day(given: object) -> object:
    # A number would be read as seconds, and a moment as its day.
    if given is None or isinstance(given, date):
        return given
    if not isinstance(given, str) or len(given) != len("2026-01-01"):
        raise ValueError("a day of RFC 3339, such as 2032-12-31")
    return given


Day = Annotated[date, BeforeValidator(_day)]


class GrantsQuery(BaseModel):
    """Which of your grants; left out, all of them, those given first before the others."""

    model_config = ConfigDict(extra="forbid")

    state: State | None = None
    sub: str | None = Field(default=None, max_length=255, description="Of one person, as you know them.")
    limit: int = Field(default=50, ge=1, le=MOST_LISTED)
    after: str | None = Field(default=None, description="As `links.next` has it.")


class Next(BaseModel):
    """Where the list goes on; null at its end."""

    next: str | None = None


class GrantOut(BaseModel):
    """One consent as it stands; `attributes` are what it covers, or covered before it was over."""

    grant_id: UUID
    sub: str
    purpose: str
    state: State
    version: int
    attributes: list[str]
    mode: Literal["kept-up-to-date", "asked", "once"]
    retention_days: int
    pulls_a_day: int | None = None
    given_at: AwareDatetime
    changed_at: AwareDatetime
    expires_at: AwareDatetime | None = None
    deletion_asked_at: AwareDatetime | None = None


class Grants(BaseModel):
    """A page of your grants."""

    grants: list[GrantOut]
    links: Next


class StepOut(BaseModel):
    """One step of a consent; `hash` covers it and the hash of the one before."""

    version: int
    at: AwareDatetime
    step: str
    actor: Literal["person", "company", "portal", "operator"]
    state: str
    hash: str


class Links(BaseModel):
    """Where more of it is; `deletion` is there once somebody asked for it."""

    self: str
    receipt: str
    deletion: str | None = None


class GrantStatus(GrantOut):
    """One consent with its steps; `left_out` are optional details that are not shared.

    `may_ask_from` is when you may ask for those once more; null where you may now, or there is nothing to ask for.
    """

    left_out: list[str]
    may_ask_from: AwareDatetime | None = None
    steps: list[StepOut]
    links: Links


class LaterAsk(BaseModel):
    """Optional details that the person left out."""

    model_config = ConfigDict(extra="forbid")

    attributes: list[Annotated[str, StringConstraints(strict=True)]] = Field(min_length=1, max_length=20)

    @field_validator("attributes")
    @classmethod
    def _known(cls, names: list[str]) -> list[str]:
        if any(name not in CATALOGUE for name in names):
            raise ValueError("names of the catalogue only")
        if len(set(names)) != len(names):
            raise ValueError("each once")
        return names


class LaterAnswer(BaseModel):
    """A question to the person; `attributes` were asked for, `shared` are those of them that are shared now."""

    request_id: UUID
    grant_id: UUID
    state: Literal["waiting", "approved", "denied", "deferred", "cancelled", "expired"]
    attributes: list[str]
    shared: list[str]
    asked_at: AwareDatetime
    expires_at: AwareDatetime
    answered_at: AwareDatetime | None = None


class DetailSaid(BaseModel):
    """What you say of one detail: `deleted`, or `held` with a reason and the day on which you will delete it."""

    model_config = ConfigDict(extra="forbid")

    attribute: Annotated[str, StringConstraints(strict=True, min_length=1, max_length=100)]
    status: Literal["deleted", "held"]
    reason: Reason | None = None
    until: Day | None = Field(default=None, description="A day after today, at most ten years ahead.")
    words: (
        Annotated[str, StringConstraints(strict=True, max_length=rules.LONGEST_WORDS, pattern=rules.WORDS)] | None
    ) = Field(default=None, description="The name of a law, for example: letters only, and nothing of the person's.")

    @model_validator(mode="after")
    def _says_why(self) -> DetailSaid:
        held = self.status == "held"
        if held != (self.reason is not None) or held != (self.until is not None):
            raise ValueError("a reason and a day with held, and with nothing else")
        if self.words and not held:
            raise ValueError("words only beside a reason")
        return self


class DeletionSaid(BaseModel):
    """What you say of some or all of the details; said again it changes nothing."""

    model_config = ConfigDict(extra="forbid")

    details: list[DetailSaid] = Field(min_length=1, max_length=len(CATALOGUE))

    @field_validator("details")
    @classmethod
    def _each_once(cls, details: list[DetailSaid]) -> list[DetailSaid]:
        if len({each.attribute for each in details}) != len(details):
            raise ValueError("each attribute once")
        return details


class DetailOut(BaseModel):
    """One detail to delete; `due_at` is by when, or until when it is held.  `lifted`: it is shared with you again."""

    attribute: str
    state: Literal["asked", "held", "deleted", "lifted"]
    due_at: AwareDatetime
    overdue: bool
    changed_at: AwareDatetime
    reason: Reason | None = None
    words: str | None = None


class DeletionOut(BaseModel):
    """What somebody asked you to delete, detail by detail."""

    grant_id: UUID
    sub: str
    asked_at: AwareDatetime
    details: list[DetailOut]


class DeletionsQuery(BaseModel):
    """Which details: what is `open` (asked or held), what of it is `overdue`, or what is `done`."""

    model_config = ConfigDict(extra="forbid")

    state: Literal["open", "overdue", "done"] = "open"
    limit: int = Field(default=50, ge=1, le=MOST_LISTED)
    after: str | None = Field(default=None, description="As `links.next` has it.")


class ListedDetail(DetailOut):
    """One detail of a list, and whose it is."""

    grant_id: UUID
    sub: str
    asked_at: AwareDatetime


class Deletions(BaseModel):
    """Details to delete over all your grants, the most pressing first; what is done, the latest first."""

    details: list[ListedDetail]
    links: Next
