"""What a company's server sends and gets about its stream (OpenID Shared Signals 1.0 section 8, RFC 8936)."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator, model_validator

from portal.sync import polling, streams

_Text = Annotated[str, StringConstraints(strict=True, max_length=255, pattern=r"^[^\x00-\x1f\x7f]*$")]
_Name = Annotated[str, StringConstraints(strict=True, min_length=1, max_length=255, pattern=r"^[\x21-\x7e]+$")]
_Header = Annotated[
    str, StringConstraints(strict=True, min_length=1, max_length=2048, pattern=r"^[\x21-\x7e][\x20-\x7e]*$")
]
_Url = Annotated[str, StringConstraints(strict=True, min_length=1, max_length=2048, pattern=r"^[\x21-\x7e]+$")]
_Events = Annotated[list[_Name], Field(max_length=100)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Delivery(_Strict):
    """How a stream is delivered.

    `authorization_header` is sent with every push and never shown; `batch` is how many tokens one request may hold.
    """

    method: Literal[streams.PUSH, streams.POLL, streams.PUSH_MANY]  # type: ignore[valid-type] # constants
    endpoint_url: _Url | None = None
    authorization_header: _Header | None = None
    batch: int | None = Field(default=None, ge=2, le=streams.MOST_IN_ONE, strict=True)
    in_flight: int | None = Field(default=None, ge=1, le=streams.MOST_IN_FLIGHT, strict=True)
    per_second: int | None = Field(default=None, ge=1, le=streams.MOST_PER_SECOND, strict=True)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.batch is not None and self.method != streams.PUSH_MANY:
            raise ValueError(f"batch goes with the method {streams.PUSH_MANY}")
        return self


class StreamRequest(_Strict):
    """A stream to make: pushed or polled, with all events unless `events_requested` names fewer."""

    delivery: Delivery = Delivery(method=streams.POLL)
    events_requested: _Events | None = None
    description: _Text = ""

    @field_validator("events_requested")
    @classmethod
    def _each_once(cls, events: list[str] | None) -> list[str] | None:
        return events and list(dict.fromkeys(events))


class _Ours(_Strict):
    """What a client reads in its configuration and may send back unchanged."""

    stream_id: str
    iss: str | None = None
    aud: Any = None
    events_supported: Any = None
    events_delivered: Any = None
    min_verification_interval: Any = None


class StreamReplacement(_Ours):
    """The whole configuration: what is left out is back to where a stream begins."""

    delivery: Delivery
    events_requested: _Events | None = None
    description: _Text = ""


class StreamUpdate(_Ours):
    """What is to change; everything that is left out stays."""

    delivery: Delivery | None = None
    events_requested: _Events | None = None
    description: _Text | None = None


class StreamQuery(BaseModel):
    """Which stream; left out, all that you have."""

    stream_id: str | None = Field(default=None, max_length=255)


class DeliveryShown(BaseModel):
    """How a stream is delivered, and where."""

    method: str
    endpoint_url: str
    batch: int | None = None
    in_flight: int | None = None
    per_second: int | None = None


class StreamConfiguration(BaseModel):
    """A stream as it is."""

    stream_id: str
    iss: str
    aud: str
    delivery: DeliveryShown
    events_supported: list[str]
    events_requested: list[str] | None = None
    events_delivered: list[str]
    min_verification_interval: int
    description: str


class StatusRequest(_Strict):
    """What a stream's status is to be, and why."""

    stream_id: str
    status: Literal["enabled", "paused", "disabled"]
    reason: _Text = ""


class StreamStatus(BaseModel):
    """What a stream's status is, and why."""

    stream_id: str
    status: Literal["enabled", "paused", "disabled"]
    reason: str | None = None


class VerificationRequest(_Strict):
    """Ask for a verification event; `state` comes back in it."""

    stream_id: str
    state: Annotated[str, StringConstraints(strict=True, max_length=1024, pattern=r"^[^\x00-\x1f\x7f]*$")] | None = None


class SetError(BaseModel):
    """Why a token could not be used: a code of RFC 8935 section 2.4."""

    err: Annotated[str, StringConstraints(strict=True)]
    description: Annotated[str, StringConstraints(strict=True)] = ""


# Whatever is none of ours is passed over: one odd member must not keep the others from being noted.
_Jti = Annotated[str, StringConstraints(strict=True)]


class PollRequest(BaseModel):
    """A poll (RFC 8936 section 2.2); what it does not know is left unread."""

    max_events: int = Field(default=polling.USUAL, ge=0, le=2**31 - 1, strict=True, alias="maxEvents")
    return_immediately: bool = Field(default=False, strict=True, alias="returnImmediately")
    ack: list[_Jti] = Field(default=[], max_length=2 * polling.MOST)
    set_errs: dict[_Jti, SetError] = Field(default={}, max_length=2 * polling.MOST, alias="setErrs")


class PollAnswer(BaseModel):
    """Tokens by their `jti` (RFC 8936 section 2.3), in the order of the stream."""

    sets: dict[str, str]
    moreAvailable: bool  # noqa: N815 - the RFC's name


class ChangesQuery(BaseModel):
    """From where: the `after` of an earlier answer; left out, from the beginning."""

    after: str | None = Field(default=None, max_length=255)


class Change(BaseModel):
    """Somebody of whom there was something to tell."""

    sub: str
    grant_id: UUID


class Changes(BaseModel):
    """Whom something was told about since, in the order of the stream, and where to go on."""

    changes: list[Change]
    after: str
    moreAvailable: bool  # noqa: N815 - as in a poll
