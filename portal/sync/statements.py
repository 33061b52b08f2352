"""The statements of the hot paths, which read across slices on purpose.

Everywhere else a slice asks another's queries; a pull and a drain would then pay five round trips a person
where one does.  They read grants, purposes, clients, keys and records; they write only the outbox, a used
proof and a disclosure.  docs/decisions/0005-one-drain-for-the-fast-lane.md says what that is worth.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import text

CLIENT: Final = """
    JOIN client c ON c.client_id = g.client_id
    JOIN company co ON co.company_id = c.company_id
    JOIN purpose p ON p.purpose_id = g.purpose_id"""
# The newest key of each of a client's key groups, of those that have been proved and that no hold is on.
KEYS: Final = """
    LEFT JOIN LATERAL (
        SELECT jsonb_object_agg(n.key_group, jsonb_build_object('kid', n.kid, 'jwk', n.jwk)) AS keys
          FROM (SELECT DISTINCT ON (key_group) key_group, kid, jwk FROM client_key
                 WHERE client_id = c.client_id AND use = 'enc' AND retired_at IS NULL
                   AND proved_at IS NOT NULL AND active_from <= clock_timestamp()
                 ORDER BY key_group, active_from DESC, kid) n) e ON true"""
# Whoever was sent a message about another version of the consent, and did not say that it came, may believe either
# what that said or what it knew before: it is told as if it knew nothing, once there is something newer to tell, and
# until it says that it has heard.
DOUBT: Final = "t.unsure_generation > t.acked_generation AND t.unsure_generation < t.generation"
# What `news.find` reads beside the grant `g` and what it is for: of the outbox row `t`, by `TOLD` what the grant was
# when the company was told last, where it is another version now, and how its purpose `p` and stream `n` are told.
HOW_TOLD: Final = "p.thin, p.key_groups, n.events"
NEWS: Final = f"""
    g.changed_at, g.retention_days, g.erasure_asked_at,
    t.acked_sequence, t.told_version, CASE WHEN {DOUBT} THEN '' ELSE t.told_state END AS told_state, t.told_erasure,
    w.mode AS told_mode, w.attributes AS told_attributes, w.expires_at AS told_expires_at,
    CASE WHEN g.erasure_asked_at IS NOT NULL AND NOT t.told_erasure THEN (
        SELECT jsonb_agg(DISTINCT each.name) FROM grant_version v, jsonb_array_elements(v.attributes) AS each(name)
         WHERE v.person_id = g.person_id AND v.grant_id = g.grant_id
           AND v.state NOT IN ('requested', 'countered')) END AS ever_shared"""  # noqa: S608 - put together from constants
TOLD: Final = """
    LEFT JOIN LATERAL (
        SELECT v.mode, v.attributes, v.expires_at FROM grant_version v
         WHERE v.person_id = g.person_id AND v.grant_id = g.grant_id
           AND v.version = t.told_version AND t.told_version <> g.version LIMIT 1) w ON true"""
# A subscription's first delivery, of whatever is called `g` there.
OWE = """
    INSERT INTO delivery AS d (person_id, grant_id, client_id, generation, acked_generation, acked_sequence,
                               told_version, told_state, told_erasure, due_at, attempts, held, last_problem,
                               positioned, applied_state, applied_generation, applied_sequence)
    SELECT g.person_id, g.grant_id, g.client_id, 1, 0, 0, 0, '', false, clock_timestamp(), 0, false, '', 0, '', 0, 0"""

# One edit, every subscription of the person that shares one of the changed attributes.  Ordered, as `FINISH`
# locks in the same order: an edit and a drain never wait for each other in a ring.
FAN_OUT = text(f"""{OWE}
      FROM "grant" g JOIN stream e ON e.client_id = g.client_id
     WHERE g.person_id = :person_id AND g.state = 'active' AND g.mode = 'kept-up-to-date'
       AND (g.expires_at IS NULL OR g.expires_at > :at)
       AND jsonb_exists_any(g.attributes, :attributes)
     ORDER BY g.person_id, g.grant_id
        ON CONFLICT (person_id, grant_id) DO UPDATE
       SET generation = d.generation + 1, due_at = LEAST(d.due_at, clock_timestamp()), attempts = 0, held = false
""")  # noqa: S608 - put together from constants
# An edit that has not been committed may have asked who subscribes before this step: it is waited for, so that
# whoever claims the news of the step finds the edit in the record.  An edit that begins later finds the step.
TELL_GRANTS = text(f"""
    WITH steady AS (SELECT sequence FROM current_record WHERE person_id = :person_id FOR SHARE) {OWE}
      FROM "grant" g JOIN stream e ON e.client_id = g.client_id
     WHERE g.person_id = :person_id AND g.grant_id = ANY(:grant_ids) AND g.state <> 'refused'
       AND COALESCE((SELECT sequence FROM steady), 0) >= 0
     ORDER BY g.person_id, g.grant_id
        ON CONFLICT (person_id, grant_id) DO UPDATE
       SET generation = d.generation + 1, due_at = LEAST(d.due_at, clock_timestamp()), attempts = 0, held = false
""")  # noqa: S608 - put together from constants
# The whole state once more: as if nothing of it had been received.  What is on its way stays so, and its
# acknowledgement finds that it is about something else (`FINISH`).
SEND_AGAIN = text("""
    UPDATE delivery
       SET generation = generation + 1, acked_sequence = 0, told_version = 0, told_state = '', told_erasure = false,
           due_at = LEAST(due_at, clock_timestamp()), attempts = 0, held = false
     WHERE person_id = :person_id AND grant_id = :grant_id
""")
# What is on its way is let go: nobody will note its answer.  It may arrive all the same, so whoever may hear of another
# version of the consent than it acknowledged is in doubt (`DOUBT`), and told under a newer generation.
LET_GO: Final = """generation = d.generation + 1, lease_id = NULL, leased_until = NULL,
           unsure_generation = CASE
               WHEN d.lease_id IS NULL OR d.unsure_generation > d.acked_generation OR d.told_version = (
                    SELECT version FROM "grant" g WHERE g.person_id = d.person_id AND g.grant_id = d.grant_id)
               THEN d.unsure_generation ELSE d.generation END"""
# Every value of everybody once more; what the company was told of the consents stays told.  As the first that somebody
# is told of, the acknowledgement of what is on its way could pass for that of the values.
SEND_PURPOSE_AGAIN = text(f"""
    UPDATE delivery d
       SET {LET_GO}, sent_after = NULL,
           acked_sequence = 0, due_at = LEAST(d.due_at, clock_timestamp()), attempts = 0, held = false
      FROM (SELECT d.person_id, d.grant_id FROM delivery d JOIN "grant" g USING (person_id, grant_id)
             WHERE d.client_id = :client_id AND g.purpose_id = :purpose_id AND g.state IN ('active', 'paused')
             ORDER BY d.person_id, d.grant_id FOR UPDATE OF d) o
     WHERE d.person_id = o.person_id AND d.grant_id = o.grant_id
""")  # noqa: S608 - put together from constants
# A client whose endpoint has just proved itself is owed what its grants hold already.  An edit that has not been
# committed may have found no endpoint: as in `TELL_GRANTS` it is waited for, and one that begins later finds it.
# Raised for all, as nobody knows who missed something: who did not is told nothing.
BACKFILL = text(f"""
    WITH steady AS (
        SELECT r.person_id FROM current_record r
         WHERE r.person_id IN (SELECT person_id FROM "grant" WHERE client_id = :client_id
                                  AND state = 'active' AND mode = 'kept-up-to-date')
         ORDER BY r.person_id FOR SHARE) {OWE}
      FROM "grant" g WHERE g.client_id = :client_id AND g.state = 'active' AND g.mode = 'kept-up-to-date'
       AND (SELECT count(*) FROM steady) >= 0
     ORDER BY g.person_id, g.grant_id
        ON CONFLICT (person_id, grant_id) DO UPDATE
       SET generation = d.generation + 1, due_at = clock_timestamp(), attempts = 0, held = false
""")  # noqa: S608 - put together from constants
# A step that was not committed when an endpoint proved itself found no endpoint, and `BACKFILL` not the step.  That
# is over soon, so only endpoints new since then are looked at; whoever edits at this moment is left for next time.
CATCH_UP = text(f"""
    WITH missed AS (
        SELECT g.* FROM stream e CROSS JOIN LATERAL (
            SELECT g.person_id, g.grant_id, g.client_id FROM "grant" g
             WHERE g.client_id = e.client_id AND g.state = 'active' AND g.mode = 'kept-up-to-date'
               AND NOT EXISTS (SELECT 1 FROM delivery d WHERE d.person_id = g.person_id AND d.grant_id = g.grant_id)
             LIMIT 500) g
         WHERE e.state = 'enabled' AND e.verified_at > :since LIMIT 500),
    steady AS (
        SELECT person_id FROM current_record
         WHERE person_id IN (SELECT person_id FROM missed) FOR SHARE SKIP LOCKED) {OWE}
      FROM missed g
     WHERE g.person_id IN (SELECT person_id FROM steady)
        OR NOT EXISTS (SELECT 1 FROM current_record r WHERE r.person_id = g.person_id)
     ORDER BY g.person_id, g.grant_id ON CONFLICT (person_id, grant_id) DO NOTHING
""")  # noqa: S608 - put together from constants
# What a batch pull prepared, or a poll handed out, waits for the company, not for a worker: `UNFETCHED` and
# `polling.settle_unanswered` settle it.
STALE = text("""
    SELECT d.person_id, d.at, d.disclosure_id, d.grant_id, d.grant_version, d.channel, d.message_id, c.client_id
      FROM disclosure d JOIN disclosure_context c ON c.context_id = d.context_id
     WHERE d.outcome = 'sending' AND d.channel <> 'batch' AND d.at < :before AND d.at > :after
       AND NOT EXISTS (SELECT 1 FROM disclosure_outcome o WHERE o.person_id = d.person_id AND o.at = d.at
                          AND o.disclosure_id = d.disclosure_id)
       AND NOT EXISTS (SELECT 1 FROM attempt a WHERE a.client_id = c.client_id AND a.at = d.at
                          AND a.attempt_id = d.disclosure_id AND a.channel = 'poll')
     LIMIT 500
""")
