"""The statements of a drain: which streams may be sent to, what they are owed, and what became of it.

They read across slices on purpose (docs/decisions/0005-one-drain-for-the-fast-lane.md) and write only the outbox.
"""

from __future__ import annotations

from sqlalchemy import text

from portal.db import Prepared
from portal.oauth.statements import GRANT_ITSELF, OFFER
from portal.sync import rules
from portal.sync.statements import DOUBT, HOW_TOLD, KEYS, NEWS, TOLD

_FREE = "(d.leased_until IS NULL OR d.leased_until <= clock_timestamp())"
# Clients that are owed something after one of them, with the day their longest wait ends: from one to the next by
# the index, so that ten thousand rows for one of them are one step.
_OWED = """
    RECURSIVE owed AS (
        (SELECT client_id, due_at FROM delivery WHERE generation > acked_generation AND client_id > {after}
          ORDER BY client_id, due_at LIMIT 1)
        UNION ALL
        SELECT n.client_id, n.due_at FROM owed o CROSS JOIN LATERAL (
            SELECT client_id, due_at FROM delivery WHERE generation > acked_generation AND client_id > o.client_id
             ORDER BY client_id, due_at LIMIT 1) n)"""
# What a second brings it, kept for one second at most.
_TOKENS = """LEAST(e.per_second, COALESCE(
        e.tokens + e.per_second * EXTRACT(EPOCH FROM clock_timestamp() - e.tokens_at), e.per_second))"""
# A circuit that has been open lets one message through, to see.
_AT_ONCE = "CASE WHEN e.circuit_step > 0 THEN 1 ELSE e.in_flight END"
_FLYING = "(SELECT count(*) FROM flight f WHERE f.stream_id = e.stream_id AND f.leased_until > clock_timestamp())"
_MAY_BE_SENT_TO = f"""
    e.state = 'enabled' AND e.method = 'push' AND (e.circuit_until IS NULL OR e.circuit_until <= clock_timestamp())
       AND {_TOKENS} >= 1 AND {_FLYING} < {_AT_ONCE}"""
_ABLE = f"""
    SELECT e.stream_id FROM owed o JOIN stream e ON e.client_id = o.client_id
     WHERE o.due_at <= clock_timestamp() AND {_MAY_BE_SENT_TO}"""  # noqa: S608 - put together from constants
_EVERYBODY = _OWED.format(after="''")
DUE = text(f"WITH {_EVERYBODY} SELECT EXISTS ({_ABLE})")
# A part of the round: however many clients are owed something, a look is short.
_SOME = _OWED.format(after=":after").replace("owed", "found")
LOOK = Prepared("look", f"""
    WITH {_SOME}, owed AS MATERIALIZED (SELECT * FROM found LIMIT :clients)
    SELECT (SELECT count(*) FROM owed) AS clients, (SELECT max(client_id) FROM owed) AS last,
           to_jsonb(ARRAY({_ABLE} AND e.stream_id <> ALL (CAST(:resting AS uuid[]))
                           ORDER BY o.due_at LIMIT 2 * :limit)) AS able
""")  # fmt: skip  # noqa: S608 - put together from constants
# What leave to send rests on: while this is the same, so is the decision, but for the time that a consent ends.
_OFFER_GROUND = """
    concat_ws(' ', p.version, p.withdrawn_at IS NULL, c.state, c.keys_stopped_at, co.state, n.state, n.url)"""
# What the messages for one purpose have in common.
_OFFERED = """
    purpose p JOIN client c ON c.client_id = p.client_id JOIN company co ON co.company_id = c.company_id
      JOIN stream n ON n.client_id = c.client_id"""
_OF_THESE = "p.purpose_id = ANY(CAST(:purpose_ids AS uuid[]))"
# Held until the claim is committed: two workers never share one stream's room.  What another holds is passed over.
HOLD = Prepared("hold", f"""
    SELECT e.stream_id FROM unnest(CAST(:stream_ids AS uuid[])) WITH ORDINALITY AS a(stream_id, place)
      JOIN stream e ON e.stream_id = a.stream_id
     WHERE {_MAY_BE_SENT_TO} ORDER BY a.place LIMIT :limit FOR NO KEY UPDATE OF e SKIP LOCKED
""")  # fmt: skip  # noqa: S608 - put together from constants
# Streams take turns request by request, and a request is as full as it can be.  No stream has more rows looked at than
# its share, or one request: others read them again next time.  Both locks skip what is taken: someone who stops sharing
# holds the grant and then wants the delivery, so waiting here could end in a deadlock.  Leases run by the database's
# clock only, one for each request.  `narrowed` are streams that take fewer messages at once than they said.
CLAIM = Prepared("claim", f"""
    WITH able AS MATERIALIZED (
        SELECT e.stream_id, e.client_id, {_TOKENS} AS tokens,
               CASE WHEN e.circuit_step > 0 THEN 1 ELSE LEAST(e.batch, n.batch, {rules.MOST_MESSAGES}) END AS size,
               GREATEST(0, LEAST({_AT_ONCE} - {_FLYING}, floor({_TOKENS})))::int AS room
          FROM stream e LEFT JOIN jsonb_to_recordset(CAST(:narrowed AS jsonb)) AS n(stream_id uuid, batch int)
            ON n.stream_id = e.stream_id
         WHERE e.stream_id = ANY(CAST(:stream_ids AS uuid[]))),
    waiting AS (
        SELECT a.stream_id, a.size, d.person_id, d.grant_id,
               row_number() OVER (PARTITION BY a.stream_id ORDER BY d.due_at) - 1 AS turn,
               min(d.due_at) OVER (PARTITION BY a.stream_id) AS since
          FROM able a CROSS JOIN LATERAL (
               SELECT d.person_id, d.grant_id, d.due_at FROM delivery d
                WHERE d.client_id = a.client_id AND d.generation > d.acked_generation
                  AND d.due_at <= clock_timestamp() AND {_FREE}
                ORDER BY d.due_at
                LIMIT LEAST(a.room * a.size, GREATEST(a.size, 1 + :limit / cardinality(CAST(:stream_ids AS uuid[]))))
               ) d),
    chosen AS (SELECT * FROM waiting ORDER BY turn / size, since, stream_id LIMIT :limit),
    due AS MATERIALIZED (
        SELECT d.person_id, d.grant_id, w.stream_id, w.size, w.turn, g.purpose_id
          FROM chosen w
          JOIN delivery d ON d.person_id = w.person_id AND d.grant_id = w.grant_id
          JOIN "grant" g ON g.person_id = d.person_id AND g.grant_id = d.grant_id
         WHERE d.generation > d.acked_generation AND {_FREE}
           FOR UPDATE OF d SKIP LOCKED FOR SHARE OF g SKIP LOCKED),
    turned AS (
        SELECT due.*, p.strict,
               row_number() OVER (PARTITION BY due.stream_id, p.strict ORDER BY due.turn) - 1 AS number
          FROM due JOIN purpose p ON p.purpose_id = due.purpose_id),
    numbered AS MATERIALIZED (
        SELECT *, CASE WHEN number % size = 0 THEN gen_random_uuid() END AS lease_id FROM turned),
    leased AS MATERIALIZED (
        SELECT person_id, grant_id, stream_id,
               first_value(lease_id) OVER (PARTITION BY stream_id, strict, number / size ORDER BY number) AS lease_id
          FROM numbered),
    request AS MATERIALIZED (SELECT DISTINCT stream_id, lease_id FROM leased),
    flown AS (
        INSERT INTO flight (stream_id, lease_id, leased_until)
        SELECT stream_id, lease_id, clock_timestamp() + make_interval(secs => :lease_seconds) FROM request),
    paid AS (
        UPDATE stream e SET tokens = a.tokens - r.spent, tokens_at = clock_timestamp()
          FROM able a JOIN (SELECT stream_id, count(*) AS spent FROM request GROUP BY 1) r USING (stream_id)
         WHERE e.stream_id = a.stream_id),
    t AS (
        UPDATE delivery d
           SET lease_id = l.lease_id, leased_until = clock_timestamp() + make_interval(secs => :lease_seconds)
          FROM leased l WHERE d.person_id = l.person_id AND d.grant_id = l.grant_id
        RETURNING d.person_id, d.grant_id, d.client_id, d.lease_id, d.generation, d.attempts, d.acked_sequence,
                  d.told_version, d.told_state, d.told_erasure, d.acked_generation, d.unsure_generation)
    SELECT {GRANT_ITSELF}, {NEWS}, g.purpose_id, t.lease_id, t.generation, t.attempts, s.sub
      FROM t
      JOIN "grant" g ON g.person_id = t.person_id AND g.grant_id = t.grant_id
      JOIN client c ON c.client_id = g.client_id
      LEFT JOIN subject s ON s.person_id = g.person_id AND s.company_id = c.company_id {TOLD}
""")  # fmt: skip  # noqa: S608 - put together from constants
# What those rows have in common, once for each purpose; `CLAIM` and this together are what `news.find` reads.
OFFERS = Prepared("offers", f"""
    SELECT p.purpose_id, {OFFER}, {HOW_TOLD}, p.strict, n.stream_id, n.url, n.batch, n.authorization_version,
           n.wrapped_authorization, e.keys, {_OFFER_GROUND} AS ground
      FROM {_OFFERED} {KEYS} WHERE {_OF_THESE}
""")  # fmt: skip  # noqa: S608 - put together from constants
# A request may take `seconds`: a lease that ends before would let another worker send the same at the same time.
_STILL_ALLOWED = f"""
    WITH offer AS MATERIALIZED (
        SELECT p.purpose_id, {_OFFER_GROUND} AS ground FROM {_OFFERED} WHERE {_OF_THESE})
    SELECT w.number, g.expires_at
      FROM unnest(CAST(:person_ids AS uuid[]), CAST(:grant_ids AS uuid[]), CAST(:grounds AS text[]))
           WITH ORDINALITY AS w(person_id, grant_id, ground, number)
      JOIN delivery d ON d.person_id = w.person_id AND d.grant_id = w.grant_id
      JOIN "grant" g ON g.person_id = d.person_id AND g.grant_id = d.grant_id
      JOIN offer ON offer.purpose_id = g.purpose_id
     WHERE d.lease_id = ANY(CAST(:lease_ids AS uuid[]))
       AND d.leased_until > clock_timestamp() + make_interval(secs => CAST(:seconds AS double precision))
       AND concat_ws(' ', g.version, g.state, offer.ground) = w.ground"""  # noqa: S608 - put together from constants
STILL_ALLOWED = Prepared("still_allowed", _STILL_ALLOWED)
# The same, and so it stays until the transaction ends.  Whoever is stopping it at this moment has come first.  Where
# the sender is heard of no more, the server ends it: nobody who stops waits longer than a request takes, and a little.
HELD_ALLOWED = Prepared("held_allowed", f"""{_STILL_ALLOWED}
       AND set_config('idle_in_transaction_session_timeout',
                      CAST(1000 * (CAST(:seconds AS double precision) + 2) AS int)::text, true) <> ''
     ORDER BY g.person_id, g.grant_id FOR SHARE OF g SKIP LOCKED
""")  # fmt: skip
# What left and was not acknowledged may have arrived all the same (`statements.DOUBT`).
# What is acknowledged counts for what was told since: whoever asked meanwhile for all of it gets all of it.
# What was refused for good waits a day; a message refused by itself may not be sent again under its old id
# (draft-deshpande-secevent-http-multi-set-push-03, "Uniqueness of SETs"), so it becomes a newer one.
FINISH = Prepared("finish", """
    WITH said AS (
        SELECT * FROM json_to_recordset(CAST(:rows AS json)) AS row(
            person_id uuid, grant_id uuid, lease_id uuid, done boolean, generation int, sequence int, version int,
            base_sequence int, base_version int, state text, erasure boolean, held boolean, renewed int,
            delay double precision, attempts int, problem text)),
    landed AS (
        DELETE FROM flight f USING jsonb_to_recordset(CAST(:landed AS jsonb)) AS l(stream_id uuid, lease_id uuid)
         WHERE f.stream_id = l.stream_id AND f.lease_id = l.lease_id),
    ours AS (
        SELECT d.person_id, d.grant_id, d.generation > v.generation AS newer,
               NOT v.done AND v.version IS NOT NULL AND v.problem <> '' AS tried,
               NOT v.done AND v.version <> d.told_version AND v.problem <> ''
                   AND d.unsure_generation <= d.acked_generation AS unsure,
               v.done AND d.acked_sequence = v.base_sequence AND d.told_version = v.base_version AS heard
          FROM delivery d JOIN said v
            ON v.person_id = d.person_id AND v.grant_id = d.grant_id AND v.lease_id = d.lease_id
         ORDER BY d.person_id, d.grant_id FOR UPDATE OF d)
    UPDATE delivery d
       SET acked_generation = CASE WHEN v.done THEN v.generation ELSE d.acked_generation END,
           acked_sequence = CASE WHEN o.heard THEN COALESCE(v.sequence, d.acked_sequence) ELSE d.acked_sequence END,
           told_version = CASE WHEN o.heard THEN v.version ELSE d.told_version END,
           told_state = CASE WHEN o.heard THEN v.state ELSE d.told_state END,
           told_erasure = d.told_erasure OR (o.heard AND v.erasure),
           sent_jti = CASE WHEN o.tried THEN NULL ELSE d.sent_jti END,
           unsure_generation = CASE WHEN o.unsure THEN v.generation ELSE d.unsure_generation END,
           acked_at = CASE WHEN v.done THEN clock_timestamp() ELSE d.acked_at END,
           lease_id = NULL, leased_until = NULL, last_problem = v.problem,
           attempts = CASE WHEN o.newer THEN d.attempts ELSE v.attempts END, held = v.held AND NOT o.newer,
           generation = d.generation + CASE WHEN o.newer THEN 0 ELSE v.renewed END,
           due_at = CASE WHEN v.done OR o.newer THEN d.due_at
                         ELSE clock_timestamp() + make_interval(secs => v.delay) END
      FROM said v, ours o
     WHERE o.person_id = v.person_id AND o.grant_id = v.grant_id
       AND d.person_id = v.person_id AND d.grant_id = v.grant_id AND d.lease_id = v.lease_id
""")  # fmt: skip
# Nobody noted what a worker had sent that then died: whoever may believe another version of the consent than it
# acknowledged is told again (`statements.DOUBT`), unless it is being told already or has acknowledged a later word of
# it.  Where that version is still true the next try says so under the same id, and only the doubt is noted; else it is
# told under a newer generation than any it may have had.
MAY_BELIEVE = text(f"""
    WITH unsure AS (
        SELECT t.person_id, t.grant_id, (g.version <> v.version)::int AS past
          FROM delivery t
          JOIN jsonb_to_recordset(CAST(:rows AS jsonb)) AS v(person_id uuid, grant_id uuid, version int, at timestamptz)
            ON v.person_id = t.person_id AND v.grant_id = t.grant_id
          JOIN "grant" g ON g.person_id = t.person_id AND g.grant_id = t.grant_id
         WHERE t.told_version <> v.version AND NOT ({DOUBT})
           AND NOT EXISTS (SELECT FROM attempt a
                            WHERE a.client_id = t.client_id AND a.person_id = t.person_id AND a.grant_id = t.grant_id
                              AND a.at > v.at AND a.outcome = 'completed' AND a.grant_version >= v.version
                              AND jsonb_exists(a.kinds, :consent))
         ORDER BY t.person_id, t.grant_id FOR UPDATE OF t)
    UPDATE delivery d
       SET unsure_generation = CASE WHEN d.unsure_generation > d.acked_generation THEN d.unsure_generation
                                    ELSE d.generation + u.past END,
           generation = d.generation + 2 * u.past,
           due_at = CASE WHEN u.past = 1 THEN LEAST(d.due_at, clock_timestamp()) ELSE d.due_at END
      FROM unsure u WHERE d.person_id = u.person_id AND d.grant_id = u.grant_id
""")  # noqa: S608 - put together from constants
FORGET_FLIGHTS = text("DELETE FROM flight WHERE leased_until < clock_timestamp() - interval '1 hour'")
