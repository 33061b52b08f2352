"""The statements of whoever polls: places in its stream, what it is handed, and what it says of that.

They read across slices on purpose, as `portal.sync.statements` says; they write only the outbox and attempts.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import text

from portal.oauth.statements import GRANT
from portal.sync.statements import CLIENT, HOW_TOLD, KEYS, NEWS, TOLD

# What its client refused waits for newer news, or a day; where the endpoint refused it, whoever polls may take it.
# `sent_jti` tells them apart: it is of what was handed out last, unless it was pushed since.
_FREE: Final = """t.generation > t.acked_generation
       AND (t.leased_until IS NULL OR t.leased_until <= clock_timestamp())
       AND (NOT t.held OR t.due_at <= clock_timestamp() OR n.method = 'push' AND t.sent_jti IS NULL)"""
# One after the other: only who holds the stream's row gives out positions, and commits before the next one does.
HOLD_STREAM = text("SELECT last_position FROM stream WHERE client_id = :client_id FOR NO KEY UPDATE")
# A statement of its own, after the lock: it sees what the one before it numbered.  What a transaction under way has
# touched is left out, and numbered higher when it is there: who has read up to a position has missed nothing below.
NUMBER = text("""
    WITH fresh AS (
        SELECT person_id, grant_id, generation FROM delivery
         WHERE client_id = :client_id AND positioned < generation AND (:settled OR generation > acked_generation)
         ORDER BY person_id, grant_id LIMIT :limit FOR UPDATE SKIP LOCKED),
    placed AS (
        SELECT *, row_number() OVER (ORDER BY person_id, grant_id) AS place FROM fresh),
    moved AS (
        UPDATE delivery d SET position = :last + f.place, positioned = f.generation
          FROM placed f WHERE d.person_id = f.person_id AND d.grant_id = f.grant_id
        RETURNING d.person_id)
    UPDATE stream SET last_position = last_position + (SELECT count(*) FROM moved)
     WHERE client_id = :client_id AND EXISTS (SELECT FROM moved)
 RETURNING last_position
""")
# Both locks skip what is taken, as in a drain: whoever stops sharing holds the grant and wants the delivery.  What is
# read here holds until the transaction ends: nobody stops between the look and the answer.
CLAIM = text(f"""
    SELECT {GRANT}, {NEWS}, {HOW_TOLD}, t.generation, t.position, s.sub, e.keys
      FROM delivery t
      JOIN "grant" g ON g.person_id = t.person_id AND g.grant_id = t.grant_id {CLIENT}
      JOIN stream n ON n.client_id = g.client_id
      LEFT JOIN subject s ON s.person_id = g.person_id AND s.company_id = c.company_id {KEYS} {TOLD}
     WHERE t.client_id = :client_id AND t.position > :after AND {_FREE}
     ORDER BY t.position LIMIT :limit
       FOR UPDATE OF t SKIP LOCKED FOR SHARE OF g SKIP LOCKED
""")  # noqa: S608 - put together from constants
WAITING = text(f"""
    SELECT EXISTS (SELECT FROM delivery t JOIN stream n ON n.client_id = t.client_id
                    WHERE t.client_id = :client_id AND {_FREE})
""")  # noqa: S608 - put together from constants
# The message is its own lease: until it runs out, or is acknowledged, nothing else of this person is handed out.
HANDED = text("""
    UPDATE delivery d
       SET lease_id = CAST(v.jti AS uuid), leased_until = clock_timestamp() + make_interval(secs => :lease_seconds),
           sent_jti = v.jti, sent_generation = v.generation, sent_sequence = v.sequence, sent_version = v.version,
           sent_state = v.state, sent_erasure = v.erasure, sent_after = d.acked_sequence,
           unsure_generation = CASE WHEN v.version <> d.told_version AND d.unsure_generation <= d.acked_generation
                                    THEN v.generation ELSE d.unsure_generation END
      FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS v(
           person_id uuid, grant_id uuid, jti text, generation int, sequence int, version int, state text,
           erasure boolean)
     WHERE d.person_id = v.person_id AND d.grant_id = v.grant_id
""")
NOTHING_TO_TELL = text("""
    UPDATE delivery d
       SET acked_generation = v.generation, acked_sequence = COALESCE(v.sequence, d.acked_sequence),
           told_version = v.version, told_state = v.state, acked_at = clock_timestamp(), attempts = 0, held = false,
           lease_id = NULL, leased_until = NULL, last_problem = ''
      FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS v(
           person_id uuid, grant_id uuid, generation int, sequence int, version int, state text)
     WHERE d.person_id = v.person_id AND d.grant_id = v.grant_id
""")
PUT_ASIDE = text("""
    UPDATE delivery d
       SET lease_id = NULL, leased_until = clock_timestamp() + make_interval(secs => v.seconds),
           last_problem = v.problem
      FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS v(
           person_id uuid, grant_id uuid, seconds double precision, problem text)
     WHERE d.person_id = v.person_id AND d.grant_id = v.grant_id
""")
# Only the message that was handed out last says anything.  One that told changes counts for what it told as long as
# what it built on is still acknowledged: whoever asked meanwhile for everything again gets everything.
ACKNOWLEDGE = text("""
    WITH ours AS (
        SELECT person_id, grant_id, acked_sequence IS NOT DISTINCT FROM sent_after AS heard FROM delivery
         WHERE client_id = :client_id AND sent_jti = ANY(:jtis) AND sent_generation > acked_generation
         ORDER BY person_id, grant_id FOR UPDATE)
    UPDATE delivery d
       SET acked_generation = d.sent_generation,
           acked_sequence = CASE WHEN o.heard THEN COALESCE(d.sent_sequence, d.acked_sequence)
                                 ELSE d.acked_sequence END,
           told_version = CASE WHEN o.heard THEN d.sent_version ELSE d.told_version END,
           told_state = CASE WHEN o.heard THEN d.sent_state ELSE d.told_state END,
           told_erasure = d.told_erasure OR (o.heard AND d.sent_erasure),
           acked_at = clock_timestamp(), attempts = 0, held = false, last_problem = '',
           leased_until = CASE WHEN d.lease_id = CAST(d.sent_jti AS uuid) THEN NULL ELSE d.leased_until END,
           lease_id = NULLIF(d.lease_id, CAST(d.sent_jti AS uuid))
      FROM ours o WHERE d.person_id = o.person_id AND d.grant_id = o.grant_id
""")
# Refused by itself: it waits, and under another id, as a refused one must not come again.
REFUSE = text("""
    WITH ours AS (
        SELECT d.person_id, d.grant_id, d.generation = d.sent_generation AS newest, v.problem
          FROM delivery d JOIN jsonb_to_recordset(CAST(:rows AS jsonb)) AS v(jti text, problem text)
            ON d.sent_jti = v.jti
         WHERE d.client_id = :client_id AND d.sent_generation > d.acked_generation
           AND d.lease_id = CAST(d.sent_jti AS uuid)
         ORDER BY d.person_id, d.grant_id FOR UPDATE OF d)
    UPDATE delivery d
       SET generation = d.generation + CASE WHEN o.newest THEN 1 ELSE 0 END, held = o.newest,
           due_at = CASE WHEN o.newest THEN clock_timestamp() + make_interval(secs => :seconds) ELSE d.due_at END,
           attempts = d.attempts + 1, last_problem = o.problem, lease_id = NULL, leased_until = NULL
      FROM ours o WHERE d.person_id = o.person_id AND d.grant_id = o.grant_id
""")
# Of a message that was handed out several times the last time is the one that is answered.
SETTLE = text("""
    WITH said AS (
        SELECT * FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS v(jti text, outcome text, problem text)),
    newest AS (
        SELECT DISTINCT ON (a.jti) a.client_id, a.at, a.attempt_id, s.outcome, s.problem
          FROM attempt a JOIN said s ON s.jti = a.jti
         WHERE a.client_id = :client_id AND a.channel = 'poll'
         ORDER BY a.jti, a.at DESC)
    UPDATE attempt a
       SET outcome = n.outcome, detail = n.problem,
           milliseconds = LEAST(2147483647, 1000 * EXTRACT(EPOCH FROM CAST(:now AS timestamptz) - a.at))::int
      FROM newest n
     WHERE a.client_id = n.client_id AND a.at = n.at AND a.attempt_id = n.attempt_id
       AND a.outcome NOT IN ('completed', 'failed')
 RETURNING a.person_id, a.at, a.attempt_id, a.outcome, a.detail, a.milliseconds
""")
UNANSWERED = text("""
    UPDATE attempt SET outcome = 'unknown', detail = :problem
     WHERE (client_id, at, attempt_id) IN (
           SELECT client_id, at, attempt_id FROM attempt
            WHERE outcome = 'sending' AND channel = 'poll' AND at < :before LIMIT 500)
 RETURNING person_id, at, attempt_id, outcome, detail, milliseconds
""")
# One row a grant: one that was told of something several times since stands at the newest place.
CHANGED = text("""
    SELECT s.sub, d.grant_id, d.position
      FROM delivery d
      JOIN client c ON c.client_id = d.client_id
      JOIN subject s ON s.person_id = d.person_id AND s.company_id = c.company_id
     WHERE d.client_id = :client_id AND d.position > :after
     ORDER BY d.position LIMIT :limit
""")
