"""The statements of drift checks; they read across slices on purpose, as `portal.sync.statements` says."""

from __future__ import annotations

from sqlalchemy import text

from portal.oauth.statements import GRANT
from portal.sync.pull_statements import NEWEST_GRANT

SUBJECTS = text(f"""
    SELECT a.sub, s.person_id AS subject_person, c.company_id, co.trading_name, c.client_id AS asking_client,
           {GRANT}, r.entries, k.keyring_version, k.wrapped_root, k.commitment
      FROM unnest(CAST(:subs AS text[])) AS a(sub)
      JOIN client c ON c.client_id = :client_id
      JOIN company co ON co.company_id = c.company_id
      LEFT JOIN subject s ON s.sub = a.sub AND s.company_id = c.company_id
      {NEWEST_GRANT}
      LEFT JOIN purpose p ON p.purpose_id = g.purpose_id
      LEFT JOIN current_record r ON r.person_id = s.person_id
      LEFT JOIN person_key k ON k.person_id = s.person_id
""")  # noqa: S608 - put together from constants
# Whoever stops sharing comes either before the check or after it; a drain that shares the grant is not held up.
HOLD = text("""
    SELECT grant_id, version FROM "grant"
     WHERE person_id = ANY(:person_ids) AND grant_id = ANY(:grant_ids)
     ORDER BY person_id, grant_id FOR SHARE
""")
# Which versions a client was given: what arrived, and what may have.
TOLD = text("""
    SELECT d.person_id, told.name AS attribute, told.version::int AS version
      FROM disclosure d
      JOIN disclosure_context x ON x.context_id = d.context_id AND x.client_id = :client_id
     CROSS JOIN LATERAL jsonb_each_text(d.given) AS told(name, version)
     WHERE d.person_id = ANY(:person_ids) AND told.name = ANY(:names)
       AND (d.outcome = 'completed' OR EXISTS (
               SELECT FROM disclosure_outcome o
                WHERE o.person_id = d.person_id AND o.at = d.at AND o.disclosure_id = d.disclosure_id
                  AND o.outcome IN ('completed', 'unknown')))
     GROUP BY d.person_id, told.name, told.version
""")
# Whoever comes second waits for the row, and then finds all that the first has counted.
SPEND = text("""
    INSERT INTO grant_use AS u (person_id, grant_id, kind, day, used)
    SELECT a.person_id, a.grant_id, :kind, CAST(:day AS date), a.used
      FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS a(person_id uuid, grant_id uuid, used int)
     ORDER BY a.person_id, a.grant_id
        ON CONFLICT (person_id, grant_id, kind, day) DO UPDATE SET used = u.used + excluded.used
 RETURNING u.grant_id, u.used
""")
GUESSES = text("""
    SELECT grant_id, day, used FROM grant_use
     WHERE person_id = ANY(:person_ids) AND grant_id = ANY(:grant_ids) AND kind = :kind AND day > CAST(:since AS date)
     ORDER BY grant_id, day
""")
