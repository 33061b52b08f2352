"""What leaves in one request: messages sealed and signed, put in one body, and the answer read for each of them.

One message goes as RFC 8935 has it, many as draft-deshpande-secevent-http-multi-set-push-03 has it.
"""

from __future__ import annotations

import json
import logging
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from portal.errors import PortalError
from portal.sync import messages, push_header, rules, stream_events
from portal.sync.messages import Message
from portal.sync.outbox import Parcel, Place, Sent
from portal.sync.rules import Outcome, Result
from portal.sync.stream_events import StreamParcel
from portal.vault import envelope
from portal.vault.keyring import SealBrokenError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from uuid import UUID

    from sqlalchemy.orm import Session

    from portal.egress.client import Answer
    from portal.vault.keyring import Keyring
    from portal.vault.signing import Signer

log = logging.getLogger(__name__)

MANY = "application/secevents+json"
# Their names, their quotes and what stands around them.
_AROUND = 100


@dataclass(eq=False, kw_only=True)
class Consignment:
    """One request under way to one endpoint: its messages, and how far it is.

    `began` is when it was claimed (monotonic seconds); `left` says that its first byte may have, `again` that a line
    was closed before any byte left and another is tried; `held` is the transaction that keeps a strict one's consents
    as they were checked.
    """

    key: UUID
    place: Place
    parcels: Sequence[Parcel | StreamParcel]
    began: float
    sets: dict[str, Message] = field(default_factory=dict, repr=False)
    left: bool = False
    again: bool = False
    held: Session | None = None

    @property
    def strict(self) -> bool:
        return any(isinstance(parcel, Parcel) and parcel.strict for parcel in self.parcels)

    @property
    def headers(self) -> dict[str, str]:
        kind = MANY if self.place.batched else messages.MEDIA_TYPE
        asked = {"Content-Type": kind, "Accept": "application/json"}
        return asked | {"Authorization": self.place.authorization} if self.place.authorization else asked

    @property
    def body(self) -> bytes:
        """The request's body; a `jti` and a token are plain letters, so nothing in them needs escaping."""
        if not self.place.batched:
            [message] = self.sets.values()
            return message.token.encode()
        named = ",".join(f'"{jti}":"{message.token}"' for jti, message in self.sets.items())
        return f'{{"sets":{{{named}}}}}'.encode()

    def sent(self, parcel: Parcel | StreamParcel, result: Result) -> Sent:
        message = self.sets.get(parcel.jti)
        return Sent(parcel, result, message.payload if message else "")


def of_people(parcels: Iterable[Parcel], now: float) -> list[Consignment]:
    """Return a request for each lease."""
    found: dict[UUID, list[Parcel]] = {}
    for parcel in parcels:
        found.setdefault(parcel.lease_id, []).append(parcel)
    return [Consignment(key=key, place=each[0].place, parcels=each, began=now) for key, each in found.items()]


def of_streams(parcels: Iterable[StreamParcel], keyring: Keyring, now: float) -> list[Consignment]:
    """Return a request for each message about a stream; one whose header cannot be opened waits for its lease's end."""
    found = []
    for parcel in parcels:
        with suppress(SealBrokenError):
            header = push_header.unwrap(
                keyring,
                client_id=parcel.client_id,
                version=parcel.authorization_version,
                wrapped=parcel.wrapped_authorization,
            )
            place = Place(
                stream_id=parcel.stream_id,
                client_id=parcel.client_id,
                url=parcel.url or "",
                batched=parcel.batch > 1,
                authorization=header,
            )
            found.append(Consignment(key=parcel.stream_event_id, place=place, parcels=[parcel], began=now))
    return found


def seal(consignment: Consignment, signer: Signer, *, issuer: str) -> list[Sent]:
    """Seal and sign its messages once, and return those that stay behind: they cannot be sealed, or do not fit."""
    if consignment.sets:
        return []
    sealing, room, behind = envelope.Sealing(), rules.MOST_BYTES, []
    for parcel in consignment.parcels:
        made = _message(parcel, signer, issuer, sealing)
        if isinstance(made, Message) and len(made.token) + _AROUND > room:
            made = Result(outcome=Outcome.SUPPRESSED, detail="Not sent: it leaves with the next request.")
        if isinstance(made, Result):
            behind.append(Sent(parcel, made))
            continue
        consignment.sets[parcel.jti] = made
        room -= len(made.token) + _AROUND
    _keep(consignment)
    return behind


def leave_behind(consignment: Consignment, parcels: Collection[Parcel]) -> list[Sent]:
    """Take `parcels` out of it, as they may not be sent any more."""
    result = Result(outcome=Outcome.SUPPRESSED, detail="Not sent: something changed first.")
    behind = [consignment.sent(parcel, result) for parcel in parcels]
    for parcel in parcels:
        del consignment.sets[parcel.jti]
    _keep(consignment)
    return behind


def all_sent(consignment: Consignment, result: Result) -> list[Sent]:
    """Return what became of its messages where it is the same for all."""
    return [consignment.sent(parcel, result) for parcel in consignment.parcels]


def answered(consignment: Consignment, answer: Answer) -> list[Sent]:
    """Return what the answer says of each message."""
    count = len(consignment.parcels)
    result = rules.judge(
        answer.status, milliseconds=answer.milliseconds, retry_after=answer.retry_after, messages=count
    )
    if not consignment.place.batched or result.outcome is not Outcome.COMPLETED:
        return all_sent(consignment, result)
    acknowledged, errors = _read(answer.body)
    return [consignment.sent(each, _own(each.jti, result, acknowledged, errors)) for each in consignment.parcels]


def _message(parcel: Parcel | StreamParcel, signer: Signer, issuer: str, sealing: envelope.Sealing) -> Message | Result:
    try:
        if isinstance(parcel, StreamParcel):
            return stream_events.build(parcel, signer, issuer=issuer, now=parcel.created_at)
        return messages.build(
            signer, issuer=issuer, to=parcel.to, jti=parcel.jti, now=parcel.at, news=parcel.news, sealing=sealing
        )
    except PortalError as error:
        return Result(outcome=Outcome.FAILED, detail=error.public, ours=True)
    except Exception as error:  # noqa: BLE001 - one message's fault must not cost the others their outcome
        log.error("sealing broke: %s", type(error).__name__)  # noqa: TRY400 - a traceback may hold values
        return Result(outcome=Outcome.FAILED, detail="Something went wrong on our side.", ours=True)


def _keep(consignment: Consignment) -> None:
    consignment.parcels = [parcel for parcel in consignment.parcels if parcel.jti in consignment.sets]


def _read(body: bytes) -> tuple[Collection[str], Mapping[str, Any]]:
    """Return the ids that are acknowledged and the errors by id; whatever is not as the draft has it says nothing."""
    try:
        said = json.loads(body)
    except (ValueError, RecursionError):
        return (), {}
    if not isinstance(said, dict):
        return (), {}
    acknowledged, errors = said.get("ack"), said.get("setErrs")
    return (
        {jti for jti in acknowledged if isinstance(jti, str)} if isinstance(acknowledged, list) else (),
        errors if isinstance(errors, dict) else {},
    )


def _own(jti: str, result: Result, acknowledged: Collection[str], errors: Mapping[str, Any]) -> Result:
    if jti in errors:
        return replace(result, outcome=Outcome.FAILED, unlike=True, detail=_words(errors[jti]))
    if jti in acknowledged:
        return result
    return replace(result, outcome=Outcome.UNKNOWN, detail="It did not say whether it took this message.")


def _words(error: object) -> str:
    code = error.get("err") if isinstance(error, dict) else None
    if not isinstance(code, str) or not rules.ERROR_CODE.fullmatch(code):
        return "It refused this message."
    return f"It refused this message: {code}."
