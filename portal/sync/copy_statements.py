"""The statements that ask how a company's copy stands beside the master: of one change, and of all there are.

They read across slices on purpose, as `portal.sync.statements` says, and open no value: the record says in the clear
which version of a detail was made when.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import text

from portal.oauth.statements import GRANT
from portal.sync.statements import CLIENT

# Who may have a change: whoever shares one of the details that it, or one after it, touched.  A company is told
# only where an endpoint has proved itself; an endpoint without a row here is owed nothing.  It has the change with
# the first message that left after it was saved and arrived, and uses it by the first that it says so of.  One that
# is only told that something changed has it when it fetched it, told before or not.
STATUS = text(f"""
    WITH saved AS (
        SELECT min(changed_at) AS at FROM value WHERE person_id = :person_id AND sequence = :sequence)
    SELECT {GRANT}, g.given_at, co.trading_name, t.touched, d.attempts > 0 OR d.held AS failing, saved.at AS saved_at,
           COALESCE(d.acked_sequence >= :sequence, false) AS received, COALESCE(arrived.at, d.acked_at) AS received_at,
           d.person_id IS NOT NULL AND n.state = 'enabled' AS told,
           COALESCE(n.receipts_at > :receipts_after, false) AS sends_receipts,
           p.thin, fetched.at AS fetched_at, said.status, said.reason, said.applied_at
      FROM saved, (SELECT ARRAY(
               SELECT entry.key FROM current_record r, jsonb_each(r.entries) AS entry
                WHERE r.person_id = :person_id
                  AND (entry.value ->> 'sequence')::int >= :sequence) AS touched) t
      JOIN "grant" g ON g.person_id = :person_id AND jsonb_exists_any(g.attributes, t.touched) {CLIENT}
      LEFT JOIN delivery d ON d.person_id = g.person_id AND d.grant_id = g.grant_id
      LEFT JOIN stream n ON n.client_id = g.client_id
      LEFT JOIN LATERAL (
          SELECT min(o.reported_at) AS at
            FROM disclosure l
            JOIN disclosure_outcome o
              ON o.person_id = l.person_id AND o.at = l.at AND o.disclosure_id = l.disclosure_id
           WHERE l.person_id = g.person_id AND l.grant_id = g.grant_id AND l.at >= saved.at
             AND l.channel IN ('push', 'poll', 'notice') AND o.outcome = 'completed') arrived ON true
      LEFT JOIN LATERAL (
          SELECT min(COALESCE(o.reported_at, l.at)) AS at
            FROM disclosure l
            LEFT JOIN disclosure_outcome o
              ON o.person_id = l.person_id AND o.at = l.at AND o.disclosure_id = l.disclosure_id
           WHERE p.thin AND l.person_id = g.person_id AND l.grant_id = g.grant_id AND l.at >= saved.at
             AND l.channel IN ('pull', 'batch') AND 'completed' IN (l.outcome, o.outcome)
             AND NOT EXISTS (
                 SELECT 1 FROM value v
                  WHERE v.person_id = g.person_id AND v.sequence = :sequence AND jsonb_exists(g.attributes, v.attribute)
                    AND COALESCE((l.given ->> v.attribute)::int, 0) < v.version)) fetched ON true
      LEFT JOIN LATERAL (
          SELECT r.status, r.reason, r.applied_at FROM receipt r
           WHERE r.person_id = g.person_id AND r.grant_id = g.grant_id AND r.sequence >= :sequence
           ORDER BY r.status = 'rejected', CASE WHEN r.status <> 'rejected' THEN r.applied_at END, r.applied_at DESC
           LIMIT 1) said ON true
     WHERE g.state = 'active' AND g.mode = 'kept-up-to-date'
     ORDER BY lower(co.trading_name), g.grant_id
""")  # noqa: S608 - put together from constants
# Every consent under which a company is kept up to date now.  One whose stream the company itself has paused or
# turned off is left out; one that we stopped sending to, because it failed, is not.
_LIVE: Final = f"""
    FROM "grant" g {CLIENT}
    JOIN stream n ON n.client_id = g.client_id AND (n.state = 'enabled' OR n.disabled_at IS NOT NULL)"""
_IS_LIVE: Final = """
    g.state = 'active' AND g.mode = 'kept-up-to-date' AND (g.expires_at IS NULL OR g.expires_at > :now)
    AND c.state = 'active' AND co.state <> 'suspended' AND p.withdrawn_at IS NULL
    AND (CAST(:client_id AS text) IS NULL OR g.client_id = :client_id)"""
LIVE = text(f"SELECT count(*) {_LIVE} WHERE {_IS_LIVE}")
# Up to which change a copy is known to be right: by receipts where the client sends them, for what it acknowledged
# before by its acknowledgement, as where it sends none.  One that is only told that something changed, and sends no
# receipts, has what it fetched.  Only copies that may be behind are compared with the record.
STALE = text(f"""
    WITH behind AS MATERIALIZED (
        SELECT g.person_id, g.grant_id, g.attributes, p.thin AND NOT by.receipts AS fetches,
               CASE WHEN by.receipts THEN d.applied_sequence
                    ELSE GREATEST(COALESCE(d.acked_sequence, 0), COALESCE(d.applied_sequence, 0)) END AS upto
          {_LIVE}
          LEFT JOIN delivery d ON d.person_id = g.person_id AND d.grant_id = g.grant_id
          CROSS JOIN LATERAL (
              SELECT COALESCE(n.receipts_at > :receipts_after AND d.acked_at >= n.receipts_from, false) AS receipts) by
         WHERE {_IS_LIVE}
           AND (d.person_id IS NULL OR d.generation > d.acked_generation OR d.applied_state = 'rejected'
                OR by.receipts AND d.applied_sequence < d.acked_sequence OR p.thin))
    SELECT count(*) AS stale, count(*) FILTER (WHERE owed.since > :settled_before) AS fresh
      FROM behind
     CROSS JOIN LATERAL (
          SELECT min((entry.value ->> 'changed_at')::timestamptz) AS since
            FROM current_record r, jsonb_each(r.entries) AS entry
           WHERE r.person_id = behind.person_id AND jsonb_exists(behind.attributes, entry.key)
             AND CASE WHEN behind.fetches THEN NOT EXISTS (
                          SELECT 1 FROM disclosure l
                            LEFT JOIN disclosure_outcome o
                              ON o.person_id = l.person_id AND o.at = l.at AND o.disclosure_id = l.disclosure_id
                           WHERE l.person_id = behind.person_id AND l.grant_id = behind.grant_id
                             AND l.at >= (entry.value ->> 'changed_at')::timestamptz
                             AND 'completed' IN (l.outcome, o.outcome)
                             AND (l.given ->> entry.key)::int >= (entry.value ->> 'version')::int)
                      ELSE (entry.value ->> 'sequence')::int > behind.upto END) owed
     WHERE owed.since IS NOT NULL
""")  # noqa: S608 - put together from constants
