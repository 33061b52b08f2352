"""What machines send and get: undeclared members are refused on the way in and absent on the way out."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator

from portal.consumer.catalogue import CATALOGUE
from portal.sync.rules import MOST_SUBJECTS

if TYPE_CHECKING:
    from collections.abc import Iterable

Sub = Annotated[str, StringConstraints(strict=True, min_length=1, max_length=255, pattern=r"^[\x21-\x7e]+$")]


class PullQuery(BaseModel):
    """What to ask of one person; left out, everything that they share."""

    attributes: str | None = Field(default=None, description="Names of details, parted by commas.")


class Conditional(BaseModel):
    """What the company has already; it is told 304 when nothing has changed."""

    held: str | None = Field(default=None, alias="If-None-Match", description="The `ETag` of an earlier answer.")


class Repeatable(BaseModel):
    """A name of this request: sent again with it, the request is the same and begins nothing new."""

    key: str | None = Field(
        default=None, alias="Idempotency-Key", pattern=r"^[A-Za-z0-9-]{1,255}$",
        description="A text of your own, a UUID for example; good for 24 hours.",
    )  # fmt: skip


class PullRequest(BaseModel):
    """Whom to ask about; without `attributes` everything that each of them shares."""

    model_config = ConfigDict(extra="forbid")

    subjects: list[Sub] = Field(min_length=1, max_length=MOST_SUBJECTS)
    attributes: list[str] | None = Field(default=None, min_length=1, max_length=100)

    @field_validator("subjects")
    @classmethod
    def _each_once(cls, subjects: list[str]) -> list[str]:
        if len(set(subjects)) != len(subjects):
            raise ValueError("each subject once")
        return subjects

    @field_validator("attributes")
    @classmethod
    def _known(cls, attributes: list[str] | None) -> list[str] | None:
        if unknown_attributes(attributes or ()):
            raise ValueError("names of the catalogue only")
        return sorted(set(attributes)) if attributes else None


class PullLinks(BaseModel):
    """Where to look next; `result` is there once the pull is done."""

    self: str
    result: str | None = None


class PullState(BaseModel):
    """How far a pull is; `expired` when the result is no longer kept."""

    id: UUID
    state: Literal["queued", "running", "done", "expired"]
    total: int
    answered: int
    refused: int
    requested_at: datetime
    expires_at: datetime
    links: PullLinks


class PullAnswer(BaseModel):
    """One subject's answer: the signed message, or the problem type's last part."""

    sub: str
    message: str | None = None
    problem: str | None = None


class ResultQuery(BaseModel):
    """Where a page of results begins; `links.next` of the page before says it."""

    after: str | None = Field(default=None, description="As `links.next` has it.", pattern=r"^[0-9]{1,4}$")


class ResultLinks(BaseModel):
    """Where the following answers are; null when these are the last."""

    next: str | None = None


class PullResult(BaseModel):
    """The subjects' answers, in the order they were asked about: all of them, unless they are very long."""

    id: UUID
    results: list[PullAnswer]
    links: ResultLinks


def unknown_attributes(names: Iterable[str]) -> list[str]:
    """Return those of `names` that the catalogue does not have."""
    return [name for name in names if name not in CATALOGUE]
