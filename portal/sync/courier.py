"""One loop that sends: it claims what is due, seals it, asks the consent again, posts, and notes what came of it.

A receiver that hangs costs a socket and nobody's time, so there is one lane for all.  Each thread that drains has a
courier of its own, which keeps its lines, and what is still under way, from one drain to the next.
docs/decisions/0013-one-loop-sends-without-threads.md says why.
"""

from __future__ import annotations

import logging
import threading
import time
import weakref
from collections import Counter, deque
from typing import TYPE_CHECKING, cast

from portal import db, faults
from portal.egress.exchanges import Answered, Exchanges, Failed, Ready
from portal.egress.guard import UnsafeAddressError
from portal.sync import consignments, health, outbox, push_statements, rules, stream_events
from portal.sync.health import Heard
from portal.sync.outbox import Parcel
from portal.sync.rooms import Rooms
from portal.sync.rules import Outcome, Result
from portal.vault import keyring as keyrings
from portal.vault import signing

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence
    from uuid import UUID

    from sqlalchemy.orm import Session

    from portal.config import Settings
    from portal.egress.client import NoAnswerError
    from portal.egress.exchanges import Event
    from portal.sync.consignments import Consignment
    from portal.sync.outbox import Sent
    from portal.vault.signing import Signer

# Longer than a line and an answer may take: what is leased is nobody else's while its request is under way.
LEASE_SECONDS = 20.0
# RQ ends a job after 60 s; what is due then is another drain's, and what is under way the next one's in this process.
_LONGEST_SECONDS = 40.0
# Whoever has not answered by then is left to the next drain.
_PROMPT_SECONDS = 0.25
# Messages claimed at once; strict requests under way, and how many of them to slow streams; messages sealed before
# they leave.
_CLAIMED = 400
_STRICT, _SLOW_STRICT = 8, 6
_SEALED = 64
# How often is looked for what is due: often while there is something, and never too late for news.
_SOONEST_LOOK, _LATEST_LOOK = 0.005, 0.04
_STREAMS_LOOK = 0.1
# Longer than any pause between looks: where news comes again and again, a job for each costs more than to stay.
_STAY_SECONDS = 0.06
# Answers are noted together: so many, or what came in so long.
_NOTED, _NOTED_SECONDS = 200, 0.01
_IN_VAIN = 3
_SIGNER_SECONDS = 1.0
_NARROW_SECONDS = 600.0
_DISTURBED = "the sender was disturbed."

log = logging.getLogger(__name__)
_own = threading.local()


def of(settings: Settings) -> Courier:
    """Return this thread's courier; another one where the settings have changed, or it was closed."""
    known: Courier | None = getattr(_own, "courier", None)
    if known is None or known.closed or known.settings != settings:
        if known is not None:
            known.close()
        known = _own.courier = Courier(settings)
    return known


def drain(settings: Settings) -> bool:
    """Send what is due until nothing is, or for as long as a job may; return whether more may be left."""
    return of(settings).drain(time.monotonic() + _LONGEST_SECONDS)


class Courier:
    """What one thread has under way, by the names of its requests, and answers that are not noted yet."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._keyring = keyrings.load(settings.keyring_file)
        self._lines = Exchanges(allow=settings.egress_allow)
        # A thread that ends takes its courier with it.
        self._close_lines = weakref.finalize(self, self._lines.close)
        self._under_way: dict[UUID, Consignment] = {}
        self._rooms = Rooms()
        # What is told of a request is told once: a drain that ends before its time leaves the rest to the next one.
        self._heard: deque[Event] = deque()
        self._ready: deque[Consignment] = deque()
        self._strict: deque[Consignment] = deque()
        self._held: Counter[UUID] = Counter()
        self._sent: list[Sent] = []
        self._sent_since = 0.0
        self._landed: set[tuple[UUID, UUID]] = set()
        self._said: list[Heard] = []
        self._in_vain = 0
        self._narrowed: dict[UUID, tuple[int, float]] = {}
        self._look_at = self._look_at_streams = self._stays_until = 0.0
        self._pause = _SOONEST_LOOK
        self._after, self._found_in_round = "", False
        self._signer: tuple[float, Signer] | None = None

    @property
    def closed(self) -> bool:
        return not self._close_lines.alive

    def close(self) -> None:
        for consignment in self._under_way.values():
            self._release(consignment)
        self._close_lines()

    def warm(self) -> None:
        """Load what the first message would wait for: the key to sign with, and a connection."""
        with db.transaction(self.settings.database_url) as session:
            self._find_signer(session, time.monotonic())

    def drain(self, ends: float) -> bool:
        """Go on until nothing is due and nothing under way; after `ends` (monotonic) nothing new is begun."""
        self._look_at = self._look_at_streams = self._stays_until = 0.0
        self._after = ""
        try:
            while True:
                now = time.monotonic()
                if self._is_time_to_note(now):
                    self._note(now)
                found = self._claim(now) if now < ends and self._is_time_to_look(now) else False
                self._depart()
                if self._is_over(now, ends) and not found and now >= min(self._stays_until, ends):
                    return now >= ends
                self._heard.extend(self._lines.poll(self._patience(time.monotonic())))
                while self._heard:
                    self._take(self._heard.popleft())
        except BaseException:
            self._leave_unsent()
            self._lose_what_cannot_be_noted()
            raise

    def _is_over(self, now: float, ends: float) -> bool:
        if self._sent or self._ready:
            return False
        waiting = self._under_way.values()
        return not waiting or (now >= ends and all(now - each.began > _PROMPT_SECONDS for each in waiting))

    def _patience(self, now: float) -> float:
        """Return how long to wait for lines: until something else is to be done."""
        if self._ready:
            return 0.0
        until = min(self._look_at, self._sent_since + _NOTED_SECONDS) if self._sent else self._look_at
        return min(max(0.0, until - now), _LATEST_LOOK)

    # What is due.

    def _is_time_to_look(self, now: float) -> bool:
        if self._ready or now < self._look_at:
            return False
        return self._rooms.open(self._under_way, self._lines.is_late, now)

    def _claim(self, now: float) -> bool:
        """Take what is due and begin its requests; return whether there was anything, or may be more."""
        at_streams = now >= self._look_at_streams
        with db.transaction(self.settings.database_url) as session:
            told = stream_events.claim(session, limit=_CLAIMED, lease_seconds=LEASE_SECONDS) if at_streams else []
            claimed = outbox.claim(
                session, keyring=self._keyring, now=db.now(), limit=_CLAIMED, lease_seconds=LEASE_SECONDS,
                narrowed=self._narrow(now), after=self._after, resting=self._rooms.resting,
            )  # fmt: skip
            if told or claimed.parcels:
                self._find_signer(session, now)
        found = bool(told or claimed.rows)
        if found:
            faults.reach("claim.committed")
        self._pause = _SOONEST_LOOK if found else min(2 * self._pause, _LATEST_LOOK)
        self._look_at = now + self._pause
        if found:
            self._stays_until = now + _STAY_SECONDS
        if at_streams:
            self._look_at_streams = now + _STREAMS_LOOK
        for consignment in consignments.of_streams(told, self._keyring, now):
            self._begin(consignment)
        for consignment in consignments.of_people(claimed.parcels, now):
            self._begin(consignment)
        return self._go_round(claimed.after, found=found)

    def _go_round(self, after: str, *, found: bool) -> bool:
        """Note how far the clients have been looked at; return whether a round has yet to find nothing."""
        self._found_in_round = found or (self._found_in_round and self._after != "")
        self._after = after
        unfinished = self._found_in_round or after != ""
        if unfinished and not self._under_way:
            self._look_at = 0.0
        return unfinished

    def _find_signer(self, session: Session, now: float) -> None:
        # A key that was withdrawn signs nothing a second later.
        if self._signer is None or now - self._signer[0] > _SIGNER_SECONDS:
            self._signer = now, signing.current(session, keyring=self._keyring)

    def _narrow(self, now: float) -> dict[UUID, int]:
        self._narrowed = {key: (most, until) for key, (most, until) in self._narrowed.items() if until > now}
        return {key: most for key, (most, _until) in self._narrowed.items()}

    def _begin(self, consignment: Consignment) -> None:
        self._under_way[consignment.key] = consignment
        self._lines.connect(consignment.key, consignment.place.url, seconds=rules.CONNECT_SECONDS)

    # What has a line.

    def _depart(self) -> None:
        """Seal and sign some of what has a line, ask the consent again in one statement, and send at once."""
        if self._ready:
            faults.reach("send.connected")
            some = self._sealed()
            faults.reach("send.sealed")
            self._strict.extend(each for each in some if each.strict)
            self._send([each for each in some if not each.strict])
        while self._strict and (consignment := self._next_strict()):
            self._send_strict(consignment)

    def _next_strict(self) -> Consignment | None:
        """Take turns by stream; those that are slow come last, and never have all there is."""
        chosen = min(self._strict, key=lambda each: (self._is_slow(each), self._held[each.place.stream_id]))
        slow = sum(held for stream_id, held in self._held.items() if self._rooms.is_slow(stream_id))
        if self._held.total() >= _STRICT or (self._is_slow(chosen) and slow >= _SLOW_STRICT):
            return None
        self._strict.remove(chosen)
        return chosen

    def _is_slow(self, consignment: Consignment) -> bool:
        return self._rooms.is_slow(consignment.place.stream_id)

    def _sealed(self) -> list[Consignment]:
        assert self._signer is not None  # noqa: S101 - whatever has a line was claimed
        some, count = [], 0
        while self._ready and count < _SEALED:
            consignment = self._ready.popleft()
            count += len(consignment.parcels)
            self._stay(consignments.seal(consignment, self._signer[1], issuer=self.settings.issuer))
            if consignment.parcels:
                some.append(consignment)
            else:
                self._give_back(consignment)
        return some

    def _send(self, some: Sequence[Consignment]) -> None:
        if not some:
            return
        people = [parcel for each in some for parcel in each.parcels if isinstance(parcel, Parcel)]
        asked = outbox.asked(people, seconds=rules.PUSH_SECONDS)
        rows = push_statements.STILL_ALLOWED.all(self.settings.database_url, asked) if people else []
        allowed = outbox.still_allowed(people, rows, now=db.now())
        faults.reach("send.checked")
        for consignment in some:
            self._send_one(consignment, allowed, rules.PUSH_SECONDS)

    def _send_strict(self, consignment: Consignment) -> None:
        """Send with the consents held as they are, until the answer: who stops sharing waits for it."""
        people = [parcel for parcel in consignment.parcels if isinstance(parcel, Parcel)]
        consignment.held = db.sessions(self.settings.database_url)()
        self._held[consignment.place.stream_id] += 1
        rows = push_statements.HELD_ALLOWED.within(consignment.held, outbox.asked(people, seconds=rules.STRICT_SECONDS))
        self._send_one(consignment, outbox.still_allowed(people, rows, now=db.now()), rules.STRICT_SECONDS)

    def _send_one(self, consignment: Consignment, allowed: Collection[UUID], seconds: float) -> None:
        gone = [each for each in consignment.parcels if isinstance(each, Parcel) and each.disclosure_id not in allowed]
        self._stay(consignments.leave_behind(consignment, gone))
        if not consignment.parcels:
            self._give_back(consignment)
            return
        consignment.left = True
        try:
            self._lines.send(consignment.key, body=consignment.body, headers=consignment.headers, seconds=seconds)
        except ValueError:
            # A header that could be taken for something else.
            self._lines.drop(consignment.key)
            self._land(consignment, _failed("Its Authorization header cannot be sent.", ours=True))

    # What came of it.

    def _take(self, event: Event) -> None:
        consignment = self._under_way.get(cast("UUID", event.key))
        if consignment is None:
            # Given up before this was looked at.
            return
        if isinstance(event, Ready):
            self._ready.append(consignment)
        elif isinstance(event, Answered):
            faults.reach("send.answered")
            self._arrive(consignment, consignments.answered(consignment, event.answer))
        elif isinstance(event, Failed):
            self._fail(consignment, event.error)
        else:
            faults.reach("send.written")

    def _fail(self, consignment: Consignment, error: NoAnswerError | UnsafeAddressError) -> None:
        if isinstance(error, UnsafeAddressError):
            self._land(consignment, _failed(error.public))
        elif error.stale and not error.maybe_sent and not consignment.again:
            # Nothing of it left.  Where something may have, the receiver may have it all: that waits for its turn in
            # the table, by when there is often newer news to send instead.
            self._release(consignment)
            consignment.again, consignment.left = True, False
            self._lines.connect(consignment.key, consignment.place.url, seconds=rules.CONNECT_SECONDS)
        else:
            spent = round((time.monotonic() - consignment.began) * 1000)
            outcome = Outcome.UNKNOWN if error.maybe_sent else Outcome.FAILED
            result = Result(outcome=outcome, detail=error.public, too_slow=error.too_slow, milliseconds=spent)
            self._land(consignment, result)

    def _land(self, consignment: Consignment, result: Result) -> None:
        self._arrive(consignment, consignments.all_sent(consignment, result))

    def _arrive(self, consignment: Consignment, sent: Sequence[Sent]) -> None:
        """Note what became of a request that is over."""
        self._release(consignment)
        del self._under_way[consignment.key]
        place = consignment.place
        self._landed.add((place.stream_id, consignment.key))
        self._stay(sent)
        # What is the same for many messages is said once of their stream; most have one result between them.
        for result in dict.fromkeys({id(each.result): each.result for each in sent}.values()):
            self._said.append(Heard(place.stream_id, place.url, result))
            if result.narrower is not None:
                self._narrowed[place.stream_id] = result.narrower, time.monotonic() + _NARROW_SECONDS

    def _stay(self, sent: Iterable[Sent]) -> None:
        if not self._sent:
            self._sent_since = time.monotonic()
        self._sent.extend(sent)

    def _give_back(self, consignment: Consignment) -> None:
        """End a request of which nothing is left to send."""
        self._lines.drop(consignment.key)
        self._arrive(consignment, [])

    def _release(self, consignment: Consignment) -> None:
        held, consignment.held = consignment.held, None
        if held is not None:
            self._held[consignment.place.stream_id] -= 1
            held.close()

    def _leave_unsent(self) -> None:
        """Give up what has not set out, as this drain ends before its time: the next one notes it and begins anew.

        What was heard of one request may be what disturbed it: nobody will hear of that again, and nobody waits for it.
        """
        self._ready.clear()
        self._strict.clear()
        heard = {event.key for event in self._heard}
        for consignment in list(self._under_way.values()):
            if not consignment.left:
                self._lines.drop(consignment.key)
                self._land(consignment, Result(outcome=Outcome.SUPPRESSED, detail=f"Not sent: {_DISTURBED}"))
            elif consignment.key not in heard and consignment.key not in self._lines:
                self._land(consignment, Result(outcome=Outcome.UNKNOWN, detail=f"Nobody read the answer: {_DISTURBED}"))

    def _lose_what_cannot_be_noted(self) -> None:
        """Leave to the reconciler what could not be noted three times over: it must not hold up the rest."""
        self._in_vain = self._in_vain + 1 if self._sent else 0
        if self._in_vain >= _IN_VAIN:
            log.error("what became of %d messages cannot be noted", len(self._sent))
            self._sent, self._landed, self._said, self._in_vain = [], set(), [], 0

    # Noting it.

    def _is_time_to_note(self, now: float) -> bool:
        if not self._sent and not self._landed:
            return False
        ripe = len(self._sent) >= _NOTED or now - self._sent_since >= _NOTED_SECONDS
        return ripe or not self._under_way

    def _note(self, now: float) -> None:
        at = db.now()
        with db.transaction(self.settings.database_url) as session:
            outbox.finish(session, self._sent, landed=self._landed, now=at)
            unsaid = health.note(session, self._said)
            faults.reach("finish.noted")
        self._sent, self._landed, self._said, self._in_vain = [], set(), unsaid, 0
        self._look_at = min(self._look_at, now + _SOONEST_LOOK)
        self._stays_until = now + _STAY_SECONDS
        faults.reach("finish.committed")


def _failed(words: str, *, ours: bool = False) -> Result:
    return Result(outcome=Outcome.FAILED, detail=words, ours=ours)
