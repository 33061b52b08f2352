"""The statements of receipts: which message a `jti` is of, and what a company has done with it.

They read across slices on purpose, as `portal.sync.statements` says; they write receipts, and on the outbox what was
applied.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import text

# What a message told of, as the record counts: the newest change among the versions that it gave.
_COVERED: Final = """
    (SELECT max(v.sequence) FROM jsonb_each_text(d.given) AS told(name, version)
       JOIN value v ON v.person_id = d.person_id AND v.attribute = told.name AND v.version = told.version::int)"""
# A message that was tried several times is as old as its first try.
TRIED = text("""
    SELECT DISTINCT ON (a.jti) a.jti, a.person_id, a.grant_id, a.generation, a.sequence, a.at
      FROM attempt a
     WHERE a.client_id = :client_id AND a.jti = ANY(:jtis) AND a.person_id IS NOT NULL AND a.grant_id IS NOT NULL
     ORDER BY a.jti, a.at
""")
# Handed out and not acknowledged: whoever polls may use a message long before that.
HANDED_OUT = text("""
    SELECT y.sent_jti AS jti, y.person_id, y.grant_id, y.sent_generation AS generation, y.sent_sequence AS sequence,
           :since AS at
      FROM delivery y
     WHERE y.client_id = :client_id AND y.sent_jti = ANY(:jtis)
""")
# Committed before the first byte left, so it is there however fast the company was.
JUST_SENT = text(f"""
    SELECT DISTINCT ON (d.message_id) d.message_id AS jti, d.person_id, d.grant_id, y.generation AS newest,
           {_COVERED} AS sequence, d.at
      FROM disclosure_context x
      JOIN disclosure d ON d.context_id = x.context_id
      JOIN delivery y ON y.person_id = d.person_id AND y.grant_id = d.grant_id
     WHERE x.company_id = :company_id AND x.client_id = :client_id
       AND d.at > :since AND d.message_id = ANY(:jtis)
     ORDER BY d.message_id, d.at
""")  # noqa: S608 - put together from constants
# The id of a pulled message is that of its row in the log, and says when it was made.
PULLED = text(f"""
    SELECT d.message_id AS jti, d.person_id, d.grant_id, 0 AS generation, {_COVERED} AS sequence, d.at
      FROM jsonb_to_recordset(CAST(:asked AS jsonb)) AS a(jti text, after timestamptz, before timestamptz)
      JOIN disclosure_context x ON x.company_id = :company_id AND x.client_id = :client_id
      JOIN disclosure d ON d.context_id = x.context_id AND d.at BETWEEN a.after AND a.before
       AND d.message_id = a.jti AND d.channel IN ('pull', 'batch') AND d.grant_id IS NOT NULL
       AND d.outcome <> 'denied'
""")  # noqa: S608 - put together from constants
# In one order, so that two requests about the same messages never wait for each other in a ring.
KEEP = text("""
    INSERT INTO receipt AS r (person_id, grant_id, jti, client_id, status, reason, words, generation, sequence,
                              applied_at, received_at)
    SELECT person_id, grant_id, jti, :client_id, status, reason, words, generation, sequence, applied_at, :now
      FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS v(
           person_id uuid, grant_id uuid, jti text, status text, reason text, words text, generation int,
           sequence int, applied_at timestamptz)
     ORDER BY person_id, grant_id, jti
        ON CONFLICT (person_id, grant_id, jti) DO UPDATE
       SET status = excluded.status, reason = excluded.reason, words = excluded.words,
           applied_at = excluded.applied_at, received_at = excluded.received_at
     WHERE r.status = 'rejected' AND excluded.status <> 'rejected'
 RETURNING r.jti
""")
KEPT = text("SELECT jti, status FROM receipt WHERE client_id = :client_id AND jti = ANY(:jtis)")
# Locked in the order in which a drain's finish locks.  Whatever is older than what is known adds what it covers only.
# What was rejected is not held there: nothing is sent again for it, but the next message says everything.
APPLY = text("""
    WITH said AS (
        SELECT * FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS row(
            person_id uuid, grant_id uuid, status text, generation int, covered int, applied_at timestamptz)),
    ours AS (
        SELECT d.person_id, d.grant_id,
               v.generation > d.applied_generation
                   OR v.generation = d.applied_generation AND d.applied_state = 'rejected' AS newer
          FROM delivery d JOIN said v ON v.person_id = d.person_id AND v.grant_id = d.grant_id
         ORDER BY d.person_id, d.grant_id FOR UPDATE OF d)
    UPDATE delivery d
       SET applied_state = CASE WHEN o.newer THEN v.status ELSE d.applied_state END,
           applied_generation = CASE WHEN o.newer THEN v.generation ELSE d.applied_generation END,
           applied_at = CASE WHEN o.newer THEN v.applied_at ELSE d.applied_at END,
           acked_sequence = CASE WHEN o.newer AND v.status = 'rejected' THEN 0 ELSE d.acked_sequence END,
           applied_sequence = GREATEST(d.applied_sequence, v.covered)
      FROM said v, ours o
     WHERE o.person_id = v.person_id AND o.grant_id = v.grant_id
       AND d.person_id = v.person_id AND d.grant_id = v.grant_id
""")
# Noted once an hour, and never waited for: somebody may hold the stream for as long as an edit takes.
SENDS_RECEIPTS = text("""
    UPDATE stream
       SET receipts_from = CASE WHEN receipts_at > :over THEN receipts_from ELSE :now END, receipts_at = :now
     WHERE stream_id IN (SELECT stream_id FROM stream
                          WHERE client_id = :client_id AND (receipts_at IS NULL OR receipts_at < :an_hour_ago)
                            FOR UPDATE SKIP LOCKED)
""")
FORGET = text("DELETE FROM receipt WHERE received_at < :before")
