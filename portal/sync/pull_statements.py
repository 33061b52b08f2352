"""The statements of pulls: one person's in two round trips, many people's some at a time.

They read across slices on purpose, as `portal.sync.statements` says; they write only a used proof, a disclosure and
what a batch has prepared.
"""

from __future__ import annotations

from sqlalchemy import text

from portal.db import Prepared
from portal.oauth.statements import GRANT, logging
from portal.sync.statements import KEYS

# A client that asks without naming a grant is answered from the active one, or told how the last one ended.
NEWEST_GRANT = """
    LEFT JOIN LATERAL (
        SELECT * FROM "grant"
         WHERE person_id = s.person_id AND client_id = c.client_id
           AND (CAST(:grant_id AS uuid) IS NULL OR grant_id = :grant_id)
         ORDER BY state = 'active' DESC, state = 'paused' DESC, state NOT IN ('refused', 'deferred', 'countered') DESC,
                  changed_at DESC
         LIMIT 1) g ON true"""

# A token is good here when it names this person or, being the client's own, may read people.
_PULL = f"""
    SELECT t.company_id, t.jkt, t.scope, t.person_id AS token_person, t.expires_at AS token_expires_at,
           t.client_id AS token_client, t.level, t.authenticated_at, co.trading_name,
           s.person_id AS subject_person, {GRANT}, g.pulls_a_day,
           r.sequence, r.entries, k.keyring_version, k.wrapped_root, k.commitment, e.keys, p.key_groups,
           y.kid AS signing_kid, y.keyring_version AS signing_version, y.wrapped_private
      FROM access_token t
      JOIN client c ON c.client_id = t.client_id
      JOIN company co ON co.company_id = c.company_id
      LEFT JOIN subject s ON s.sub = :sub AND s.company_id = t.company_id
      {NEWEST_GRANT.replace("CAST(:grant_id AS uuid)", "t.grant_id").replace(":grant_id", "t.grant_id")}
      LEFT JOIN purpose p ON p.purpose_id = g.purpose_id
      LEFT JOIN current_record r ON r.person_id = s.person_id
      LEFT JOIN person_key k ON k.person_id = s.person_id {KEYS}
      LEFT JOIN LATERAL (
          SELECT kid, keyring_version, wrapped_private FROM signing_key
           ORDER BY signs_from <= clock_timestamp() DESC, signs_from DESC LIMIT 1) y ON true
     WHERE t.token_hash = :token_hash AND t.revoked_at IS NULL
"""  # noqa: S608 - put together from constants
PULL = Prepared("pull", _PULL)
_LOG = logging("pull")
PULL_LOG = Prepared("pull_log", _LOG)
# A grant for one request is held before the ledger is asked whether it was used: the second of two waits.
PULL_LOG_HELD = text(_LOG)
LEASE_PULL = text("""
    UPDATE batch_pull
       SET state = 'running', leased_until = clock_timestamp() + make_interval(secs => :lease_seconds)
     WHERE pull_id = :pull_id AND state IN ('queued', 'running')
       AND (leased_until IS NULL OR leased_until <= clock_timestamp())
 RETURNING pull_id, client_id, attributes, epk
""")
# Companies take turns, whoever was served longest ago first, and of one company's pulls the oldest comes first.
NEXT_PULL = text("""
    SELECT p.pull_id
      FROM batch_pull p JOIN client c ON c.client_id = p.client_id
     CROSS JOIN LATERAL (
           SELECT max(b.leased_until) AS at FROM client o JOIN batch_pull b ON b.client_id = o.client_id
            WHERE o.company_id = c.company_id) served
     WHERE p.state IN ('queued', 'running') AND p.expires_at > clock_timestamp()
       AND p.requested_at <= clock_timestamp() - make_interval(secs => :seconds)
       AND (p.leased_until IS NULL OR p.leased_until <= clock_timestamp())
     ORDER BY served.at NULLS FIRST, p.requested_at LIMIT 1
""")
ANSWER_ITEMS = text("""
    UPDATE batch_pull_item i
       SET state = v.state, problem = v.problem, message = v.message,
           person_id = v.person_id, disclosed_at = v.disclosed_at, disclosure_id = v.disclosure_id
      FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS v(
           position int, state text, problem text, message text, person_id uuid, disclosed_at timestamptz,
           disclosure_id uuid)
     WHERE i.pull_id = :pull_id AND i.position = v.position AND i.state = 'waiting'
""")
REFUSE_ITEMS = text("""
    UPDATE batch_pull_item i SET state = 'refused', problem = v.problem, message = NULL
      FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS v(position int, problem text)
     WHERE i.pull_id = :pull_id AND i.position = v.position
""")
COUNT_ITEMS = text("""
    SELECT count(*) FILTER (WHERE state = 'answered') AS answered, count(*) FILTER (WHERE state = 'refused') AS refused
      FROM batch_pull_item WHERE pull_id = :pull_id
""")
OLD_PULLS = text("""
    SELECT pull_id FROM batch_pull WHERE state <> 'expired' AND expires_at < :now
     ORDER BY expires_at LIMIT 20 FOR UPDATE SKIP LOCKED
""")
UNFETCHED = text("""
    SELECT i.person_id, i.disclosed_at, i.disclosure_id
      FROM batch_pull_item i
     WHERE i.pull_id = ANY(:pull_ids) AND i.state = 'answered'
       AND NOT EXISTS (SELECT 1 FROM disclosure_outcome o WHERE o.person_id = i.person_id
                          AND o.at = i.disclosed_at AND o.disclosure_id = i.disclosure_id)
""")
FORGET_PULLS = text("""
    WITH gone AS (DELETE FROM batch_pull_item WHERE pull_id = ANY(:pull_ids))
    UPDATE batch_pull SET state = 'expired' WHERE pull_id = ANY(:pull_ids)
""")
FORGET_OLD_PULLS = text("""
    DELETE FROM batch_pull WHERE state = 'expired' AND expires_at < CAST(:now AS timestamptz) - interval '30 days'
""")
# Whoever was cut off may fetch it all again, for a while.
FETCHED = text("""
    UPDATE batch_pull SET expires_at = LEAST(expires_at, :until) WHERE pull_id = :pull_id
""")
KEPT_PULLS = text("""
    SELECT count(*) FILTER (WHERE state IN ('queued', 'running')) AS unfinished, COALESCE(sum(total), 0) AS subjects,
           min(expires_at) AS until
      FROM batch_pull WHERE client_id = :client_id AND state <> 'expired' AND expires_at > :now
""")
BATCH = text(f"""
    SELECT i.position, i.sub, s.person_id AS subject_person, c.company_id, co.trading_name,
           c.client_id AS asking_client,
           {GRANT}, g.pulls_a_day, r.sequence, r.entries, k.keyring_version, k.wrapped_root, k.commitment, e.keys,
           p.key_groups
      FROM batch_pull_item i
      JOIN client c ON c.client_id = :client_id
      JOIN company co ON co.company_id = c.company_id
      LEFT JOIN subject s ON s.sub = i.sub AND s.company_id = c.company_id
      {NEWEST_GRANT}
      LEFT JOIN purpose p ON p.purpose_id = g.purpose_id
      LEFT JOIN current_record r ON r.person_id = s.person_id
      LEFT JOIN person_key k ON k.person_id = s.person_id {KEYS}
     WHERE i.pull_id = :pull_id AND i.state = 'waiting'
     ORDER BY i.position LIMIT :limit
""")  # noqa: S608 - put together from constants
HOLD_GRANTS = text("""
    SELECT grant_id, version FROM "grant"
     WHERE person_id = ANY(:person_ids) AND grant_id = ANY(:grant_ids)
     ORDER BY person_id, grant_id FOR NO KEY UPDATE
""")
# The last position of a page: as many answers as fit, and one at least.
PAGE = text("""
    SELECT max(position) FROM (
        SELECT position, sum(length(COALESCE(message, ''))) OVER (ORDER BY position) - length(COALESCE(message, ''))
               AS before
          FROM batch_pull_item WHERE pull_id = :pull_id AND position > :after) i
     WHERE i.before < :most
""")
# Whoever stops sharing while a result is handed out comes either before it or after its outcome.
HOLD_PREPARED = text("""
    SELECT g.grant_id FROM batch_pull_item i
      JOIN disclosure d ON d.person_id = i.person_id AND d.at = i.disclosed_at AND d.disclosure_id = i.disclosure_id
      JOIN "grant" g ON g.person_id = d.person_id AND g.grant_id = d.grant_id
     WHERE i.pull_id = :pull_id AND i.state = 'answered' AND i.position > :after AND i.position <= :upto
     ORDER BY g.person_id, g.grant_id FOR SHARE OF g
""")
# What was prepared is judged by the very grant it was prepared under.
PREPARED = text(f"""
    SELECT i.position, i.sub, i.problem, i.message, i.person_id AS prepared_for, i.disclosed_at, i.disclosure_id,
           d.given, {GRANT}
      FROM batch_pull_item i
      LEFT JOIN disclosure d
             ON d.person_id = i.person_id AND d.at = i.disclosed_at AND d.disclosure_id = i.disclosure_id
      LEFT JOIN "grant" g ON g.person_id = d.person_id AND g.grant_id = d.grant_id
      LEFT JOIN client c ON c.client_id = g.client_id
      LEFT JOIN company co ON co.company_id = c.company_id
      LEFT JOIN purpose p ON p.purpose_id = g.purpose_id
     WHERE i.pull_id = :pull_id AND i.position > :after AND i.position <= :upto
     ORDER BY i.position
""")  # noqa: S608 - put together from constants
