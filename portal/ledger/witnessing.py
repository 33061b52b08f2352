"""Having the log's checkpoints signed by others as well, who have seen it only grow (C2SP tlog-witness).

Whoever asks a witness holds no transaction meanwhile, and believes nothing that its key has not signed.  What a
witness says that contradicts the log is kept, for operators to see: it is what witnesses are for.
"""

from __future__ import annotations

import re
from base64 import b64encode
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import text

from portal import db
from portal.egress import client as outbound
from portal.egress.guard import UnsafeAddressError
from portal.errors import MisconfiguredError, PortalError
from portal.ledger import published
from portal.vault import notes
from portal.vault.notes import WITNESS, NoteRefusedError, Verifier, VerifierUnreadableError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from pathlib import Path

    from sqlalchemy.orm import Session

    from portal.config import Settings
    from portal.egress.client import Answer, Client
    from portal.ledger.published import PublishedLog

ASK: Final = "portal.ledger.jobs.ask_witness"
MOST: Final = 16
# A log grows every second; one that has not grown is signed again, so that it can be seen to be watched.
_EVERY: Final = timedelta(seconds=10)
_FAILED_EVERY: Final = timedelta(minutes=1)
_ANYWAY: Final = timedelta(hours=1)
_SECONDS: Final = 5.0
_OK, _CONFLICT = 200, 409
_SIZE_TYPE: Final = "text/x.tlog.size"
_SIZE: Final = re.compile(rb"(0|[1-9][0-9]{0,17})\n")
_LINE: Final = re.compile(r"witness (?P<name>\S+) (?P<verifier>\S+) (?P<url>https?://\S+)")
_TOLD: Final = {
    403: "The witness does not accept the log's key.",
    404: "The witness does not know the log.",
    422: "The witness does not accept the proof that the log has only grown.",
}
_STANDS = text("SELECT verifier, size, asked_at, signed_at, problem FROM log_witness WHERE log_id = :log_id")
_TAKE = text("""
    INSERT INTO log_witness AS w (log_id, verifier, size, asked_at, problem)
    VALUES (:log_id, :verifier, 0, :now, '')
        ON CONFLICT (log_id, verifier) DO UPDATE SET asked_at = :now WHERE w.asked_at <= :before
    RETURNING size
""")
_KEEP = text("""
    UPDATE log_witness SET size = :size, note = :note, line = :line, signed_at = :now, problem = ''
     WHERE log_id = :log_id AND verifier = :verifier AND size <= :size
""")
_FAIL = text("UPDATE log_witness SET problem = :problem WHERE log_id = :log_id AND verifier = :verifier")
_LINES = text("""
    SELECT line FROM log_witness WHERE log_id = :log_id AND note = :note AND line IS NOT NULL ORDER BY verifier
""")
_WITNESSED = text("""
    SELECT note, array_agg(line ORDER BY verifier) AS lines FROM log_witness
     WHERE log_id = :log_id AND line IS NOT NULL GROUP BY note, size ORDER BY size DESC, count(*) DESC LIMIT 1
""")


class WitnessesUnreadableError(MisconfiguredError):
    code = "witnesses-unreadable"
    public = "LOG_WITNESSES names no file with one witness a line: witness NAME VERIFIER-KEY URL, sixteen at most."


class WitnessRefusedError(PortalError):
    """A witness has not signed; the public sentence says why."""

    code = "witness-refused"
    status = 502
    public = "The witness gave an answer that is not one of the protocol."


class WitnessDisagreesError(WitnessRefusedError):
    """Either the log was rewritten or the witness is wrong: somebody has to look."""

    code = "witness-disagrees"
    public = "The witness has signed another history of the log than this one."


class WitnessAheadError(WitnessRefusedError):
    code = "witness-ahead"
    public = "The witness has signed more entries than the log has: the log was restored to an earlier state."


class OtherSizeError(WitnessRefusedError):
    """It goes on from another size (409)."""

    code = "witness-other-size"

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size


@dataclass(frozen=True)
class Witness:
    """Who signs, and where: `url` is the submission prefix."""

    verifier: Verifier
    url: str


@dataclass(frozen=True)
class Standing:
    """How a witness stands: entries signed last and when, and what was wrong when it was asked last, if anything."""

    verifier: Verifier
    size: int
    asked_at: datetime
    signed_at: datetime | None
    problem: str


@dataclass(frozen=True)
class _Offer:
    log: PublishedLog
    old: int
    path: Sequence[bytes]

    @property
    def body(self) -> bytes:
        path = "".join(f"{b64encode(each).decode()}\n" for each in self.path)
        return f"old {self.old}\n{path}\n{self.log.note}".encode()


def read(file: Path | None) -> list[Witness]:
    """Return the witnesses that a file names as a C2SP tlog-policy does; none without a file.

    Raises `WitnessesUnreadableError`.
    """
    try:
        written = file.read_text(encoding="utf-8").splitlines() if file else []
        found = [_witness(line) for each in written if (line := each.strip()) and not line.startswith("#")]
    except (OSError, UnicodeDecodeError, VerifierUnreadableError) as error:
        raise WitnessesUnreadableError from error
    if len(found) > MOST or len({each.verifier for each in found}) < len(found):
        raise WitnessesUnreadableError
    return found


def due(session: Session, witnesses: Sequence[Witness], *, now: datetime) -> list[Witness]:
    """Return the witnesses that are to be asked now: where the log has grown, or the last signature is old."""
    log = published.newest(session) if witnesses else None
    if log is None or not log.checkpoint.size:
        return []
    stands = {each.verifier: each for each in standings(session, log)}
    return [each for each in witnesses if _is_due(stands.get(each.verifier), log.checkpoint.size, now)]


def wrong(session: Session, witnesses: Sequence[Witness], *, now: datetime) -> list[str]:
    """Return what is wrong with those who are to sign the log, one sentence each; none when all have signed lately."""
    log = published.newest(session)
    stands = {each.verifier: each for each in standings(session, log)} if log else {}
    found = []
    for each in witnesses:
        known = stands.get(each.verifier)
        if known is not None and known.problem:
            found.append(f"{each.verifier.name}: {known.problem}")
        elif known is None or known.signed_at is None or known.signed_at < now - 2 * _ANYWAY:
            found.append(f"{each.verifier.name} has not signed the log for two hours.")
    return found


def standings(session: Session, log: PublishedLog) -> list[Standing]:
    """Return how each witness stands that was asked to sign this log."""
    return [
        Standing(Verifier.read(row.verifier), row.size, row.asked_at, row.signed_at, row.problem)
        for row in session.execute(_STANDS, {"log_id": log.log_id})
    ]


def cosigned(session: Session, log: PublishedLog) -> str:
    """Return the log's newest note with the signatures of those witnesses that have signed just this one."""
    lines = session.scalars(_LINES, {"log_id": log.log_id, "note": log.note})
    return log.note + "".join(lines)


def witnessed(session: Session, log: PublishedLog) -> str | None:
    """Return the newest note that any witness has signed, with the signatures of all that have; None without one."""
    found = session.execute(_WITNESSED, {"log_id": log.log_id}).one_or_none()
    return found.note + "".join(found.lines) if found else None


def ask(settings: Settings, witness: Witness, *, client: Client | None = None) -> None:
    """Have one witness sign what is published, within ten seconds, and keep its signature or what was wrong.

    It opens transactions of its own, none of them while it waits.
    """
    url = settings.database_url
    with db.transaction(url) as session:
        offer = _take(session, witness, now=db.now())
    if offer is None:
        return
    sender = client or outbound.shared(settings.egress_allow)
    try:
        line = _signed(sender, url, witness, offer)
    except (WitnessRefusedError, outbound.NoAnswerError, UnsafeAddressError) as error:
        with db.transaction(url) as session:
            session.execute(_FAIL, _which(offer, witness) | {"problem": error.public})
        return
    kept = {"size": offer.log.checkpoint.size, "note": offer.log.note, "line": line, "now": db.now()}
    with db.transaction(url) as session:
        session.execute(_KEEP, _which(offer, witness) | kept)


def _witness(line: str) -> Witness:
    found = _LINE.fullmatch(line)
    verifier = Verifier.read(found["verifier"]) if found else None
    if found is None or verifier is None or verifier.kind != WITNESS:
        raise WitnessesUnreadableError
    return Witness(verifier, found["url"].rstrip("/"))


def _is_due(stands: Standing | None, size: int, now: datetime) -> bool:
    if stands is None:
        return True
    if stands.asked_at > now - (_FAILED_EVERY if stands.problem else _EVERY):
        return False
    return stands.size != size or stands.signed_at is None or stands.signed_at <= now - _ANYWAY or bool(stands.problem)


def _take(session: Session, witness: Witness, *, now: datetime) -> _Offer | None:
    """Return what a witness is to sign; None where there is nothing, or it was asked a moment ago."""
    log = published.newest(session)
    if log is None or not log.checkpoint.size:
        return None
    values = {"log_id": log.log_id, "verifier": str(witness.verifier), "now": now, "before": now - _EVERY}
    size = session.scalar(_TAKE, values)
    return None if size is None else _offer(session, log, min(size, log.checkpoint.size))


def _offer(session: Session, log: PublishedLog, old: int) -> _Offer:
    grown = 0 < old < log.checkpoint.size
    return _Offer(log, old, published.consistency(session, log, first=old) if grown else [])


def _signed(client: Client, url: str, witness: Witness, offer: _Offer) -> str:
    """Return the witness's line, asked once more from where it says that it is."""
    try:
        return _line(witness, offer, _posted(client, witness, offer))
    except OtherSizeError as error:
        size = error.size
    if size > offer.log.checkpoint.size:
        raise WitnessAheadError
    with db.transaction(url) as session:
        again = _offer(session, offer.log, size)
    try:
        return _line(witness, again, _posted(client, witness, again))
    except OtherSizeError as error:
        raise WitnessRefusedError from error


def _posted(client: Client, witness: Witness, offer: _Offer) -> Answer:
    address = f"{witness.url}/add-checkpoint"
    return client.post(address, offer.body, content_type="text/plain", accept="text/plain", seconds=_SECONDS)


def _line(witness: Witness, offer: _Offer, answer: Answer) -> str:
    """Return the line that is the witness's signature of what it was offered; raises `WitnessRefusedError`."""
    if answer.status == _CONFLICT:
        found = _SIZE.fullmatch(answer.body) if answer.content_type == _SIZE_TYPE else None
        if offer.old == offer.log.checkpoint.size and (found is None or int(found[1]) == offer.old):
            raise WitnessDisagreesError
        if found is None or int(found[1]) == offer.old:
            raise WitnessRefusedError
        raise OtherSizeError(int(found[1]))
    if answer.status != _OK:
        raise WitnessRefusedError(_TOLD.get(answer.status, f"The witness answered {answer.status}."))
    for each in answer.body.decode("utf-8", "replace").split("\n")[: notes.MOST_SIGNATURES]:
        line = f"{each}\n"
        try:
            notes.opened(notes.signed(offer.log.checkpoint.text, line), witness.verifier)
        except NoteRefusedError:
            continue
        return line
    raise WitnessRefusedError("The witness's answer bears no signature by its key.")


def _which(offer: _Offer, witness: Witness) -> dict[str, Any]:
    return {"log_id": offer.log.log_id, "verifier": str(witness.verifier)}
