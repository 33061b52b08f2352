"""The statements of the paths that every call of a company takes, which read across slices on purpose.

What they read of a grant is read in one way only, here, for `portal.sync.statements` too; they write a used proof,
a look that was counted and a disclosure.  docs/decisions/0005-one-drain-for-the-fast-lane.md says why there are any.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import inspect, text

from portal.consent.models import Grant
from portal.consent.rules import Standing
from portal.db import Prepared
from portal.oauth.ceilings import COUNTED
from portal.oauth.replay import FRESH, WHICH

if TYPE_CHECKING:
    from sqlalchemy import Row

# What is read of a grant by itself, and of the purpose, client and company that it is for.
GRANT_ITSELF: Final = """
    g.person_id, g.grant_id, g.client_id, g.context_id, g.version AS grant_version, g.state, g.mode,
    g.attributes, g.expires_at, g.frozen_at"""
OFFER: Final = """
    p.code AS purpose, p.attributes AS purpose_attributes, p.withdrawn_at,
    c.state AS client_state, co.state AS company_state"""
GRANT: Final = f"{GRANT_ITSELF}, {OFFER}"
_USERINFO = f"""
    SELECT t.company_id, t.jkt, t.scope, t.person_id AS token_person, t.grant_id AS token_grant, t.level,
           t.authenticated_at, t.expires_at AS token_expires_at, t.client_id AS token_client,
           c.state = 'active' AND co.state <> 'suspended' AS client_active, c.metadata, s.sub, {GRANT},
           g.pulls_a_day, r.entries, k.keyring_version, k.wrapped_root, k.commitment
      FROM access_token t
      JOIN client c ON c.client_id = t.client_id
      JOIN company co ON co.company_id = c.company_id
      LEFT JOIN subject s ON s.person_id = t.person_id AND s.company_id = t.company_id
      LEFT JOIN "grant" g ON g.person_id = t.person_id AND g.grant_id = t.grant_id
      LEFT JOIN purpose p ON p.purpose_id = g.purpose_id
      LEFT JOIN current_record r ON r.person_id = t.person_id
      LEFT JOIN person_key k ON k.person_id = t.person_id
     WHERE t.token_hash = :token_hash AND t.revoked_at IS NULL
"""  # noqa: S608 - put together from constants
USERINFO = Prepared("userinfo", _USERINFO)
USERINFO_HELD = text(_USERINFO)
HOLD_GRANT = text("""
    SELECT version FROM "grant" WHERE person_id = :person_id AND grant_id = :grant_id FOR NO KEY UPDATE
""")
USE_PROOF = Prepared("use_proof", """
    WITH fresh AS (
        INSERT INTO used_proof (proof_hash, expires_at) VALUES (:proof_hash, :proof_expires_at)
            ON CONFLICT DO NOTHING RETURNING proof_hash)
    SELECT count(*) AS fresh FROM fresh
""")  # fmt: skip


def logging(channel: str) -> str:
    """Return the statement that uses a proof up, counts a look and logs it by `channel`, together or not at all.

    The row is written only for the consent that was read: whoever stopped sharing in between comes first.  `used` is
    nothing where the look was one too many (`oauth.ceilings`): that is a refusal, and refusals are logged by
    `ledger.record`, which looks whether there is room for one more; a look that may be taken does not pay for it.
    """
    return f"""
    WITH fresh AS (
        INSERT INTO used_proof (proof_hash, expires_at) VALUES (:proof_hash, :proof_expires_at)
            ON CONFLICT DO NOTHING RETURNING proof_hash),
    unchanged AS (
        SELECT version FROM "grant"
         WHERE person_id = :person_id AND grant_id = :grant_id AND version = :grant_version FOR SHARE), {COUNTED},
    logged AS (
        INSERT INTO disclosure (person_id, at, disclosure_id, context_id, grant_id, grant_version, channel,
                                outcome, reason, asked, given, message_id, sealed_to)
        SELECT :person_id, :at, :disclosure_id, :context_id, :grant_id, :grant_version, '{channel}',
               :outcome, :reason, CAST(:asked AS jsonb), CAST(:given AS jsonb), :message_id,
               NULLIF(CAST(:sealed_to AS jsonb), '[]')
          FROM counted)
    SELECT (SELECT count(*) FROM fresh) AS fresh, (SELECT count(*) FROM unchanged) AS unchanged,
           (SELECT used FROM counted) AS used
"""  # noqa: S608 - the channel is a constant of whoever prepares it


USERINFO_LOG = Prepared("userinfo_log", logging("userinfo"))
_COLUMNS = "client_id, person_id, grant_id, scope, code_hash, authenticated_at, level, issued_at, expires_at"
_THEIRS = "token_hash = :token_hash AND client_id = :client_id AND revoked_at IS NULL AND expires_at > :now"
_ACCESS = f"""
    SELECT {_COLUMNS}, jkt, CAST(NULL AS timestamptz) AS used_at FROM access_token
     WHERE {_THEIRS}"""  # noqa: S608 - put together from constants
_REFRESH = f"""
    SELECT {_COLUMNS}, NULL AS jkt, used_at FROM refresh_token
     WHERE {_THEIRS} AND used_at > :idle_since"""  # noqa: S608 - put together from constants
# Every column that this program knows of the consent behind a token: `*` would follow a newer one's schema, and what
# is prepared is read by position.  The token's own are called `token_...`.
_CONSENT = ", ".join(f"g.{column.name}" for column in inspect(Grant).columns)
_BEHIND = f"""
    SELECT {_CONSENT}, {", ".join(f"t.{column} AS token_{column}" for column in _COLUMNS.split(", "))},
           t.jkt AS token_jkt, t.used_at AS token_used_at, p.code AS purpose, s.sub
      FROM token t
      LEFT JOIN "grant" g ON g.person_id = t.person_id AND g.grant_id = t.grant_id
      LEFT JOIN purpose p ON p.purpose_id = g.purpose_id
      LEFT JOIN subject s ON s.person_id = t.person_id AND s.company_id = :company_id"""  # noqa: S608 - as above
REFRESH = Prepared("refresh", f"WITH token AS ({_REFRESH}) {_BEHIND}")
# The assertion of whoever asks is used up with the look at the token, whichever of the two kinds it is.
_ASKED = f"SELECT shown.*, behind.* FROM ({WHICH}) AS shown LEFT JOIN ({_BEHIND}) AS behind ON true"  # noqa: S608 - as above
INTROSPECT = Prepared("introspect", f"WITH {FRESH}, token AS ({_ACCESS} UNION ALL {_REFRESH}) {_ASKED}")


def standing(row: Row[Any], *, used: bool = False) -> Standing | None:
    """Return what the policy decides on, from a row with the columns `GRANT`; None when it holds no grant.

    Whether a grant for one request is `used` is asked of the ledger for those alone: in the statements, every
    call would pay for opening all of the ledger's months.
    """
    if row.grant_id is None:
        return None
    return Standing(
        client_id=row.client_id,
        state=row.state,
        mode=row.mode,
        attributes=row.attributes,
        expires_at=row.expires_at,
        purpose_attributes=row.purpose_attributes,
        purpose_withdrawn=row.withdrawn_at is not None,
        client_active=row.client_state == "active" and row.company_state != "suspended",
        used=used,
        frozen=row.frozen_at is not None,
    )
