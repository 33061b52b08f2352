"""What the night's look asks: each statement counts what it looked at and what has no counterpart, and names some.

What companies were sent, asked for and said is kept by others than the log: tries, counted looks, prepared answers,
receipts.  Whatever one side has and the other has not is wrong.  A statement reads of one moment, and what belongs
together is committed together, so what happens meanwhile is never half there.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Final, NamedTuple

from sqlalchemy import TextClause, text

SOME: Final = 10


class Check(NamedTuple):
    """One question: the counter that says how many rows it looked at, and how many of them there are."""

    counter: str
    looked_at: TextClause
    wrong: TextClause


def _check(counter: str, rows: str, name: str, lacks: str, *, among: str = "") -> Check:
    """Return the question which of `rows`, or of those `among`, is wrong because it `lacks` something."""
    wrong = f"SELECT {name} AS id FROM {among or rows} AND {lacks}"  # noqa: S608 - put together from constants
    some = f"SELECT CAST(id AS text) FROM wrong LIMIT {SOME}"  # noqa: S608 - the same
    asked = f"WITH wrong AS MATERIALIZED ({wrong}) SELECT count(*) AS number, ARRAY({some}) AS some FROM wrong"  # noqa: S608 - the same
    return Check(counter, text(f"SELECT count(*) FROM {rows}"), text(asked))  # noqa: S608 - the same


_OF_THE_TIME = "{0}.at >= :since AND {0}.at < :until"
_TRIES = f"attempt a WHERE a.person_id IS NOT NULL AND {_OF_THE_TIME.format('a')}"
_SENT = f"""disclosure d
     WHERE d.channel IN ('push', 'poll', 'notice') AND d.outcome = 'sending' AND {_OF_THE_TIME.format("d")}"""
_OUTCOME = """
    SELECT FROM disclosure_outcome o
     WHERE (o.person_id, o.at, o.disclosure_id) = ({0})"""
_IN_TRY = _OUTCOME.format("a.person_id, a.at, a.attempt_id")
_LOOKS = "grant_use u WHERE u.kind IN ('pull', 'check') AND u.day >= :first_day AND u.day <= :last_day"
_LOGGED_LOOKS = f"""
    SELECT d.person_id, d.grant_id, CAST(d.at AT TIME ZONE 'UTC' AS date) AS day, count(*) AS used,
           CASE WHEN d.reason = 'unchanged' THEN 'check' ELSE 'pull' END AS kind
      FROM disclosure d
     WHERE d.channel IN ('pull', 'batch', 'userinfo') AND d.outcome <> 'denied' AND d.grant_id IS NOT NULL
       AND d.at >= CAST(:first_day AS date) AT TIME ZONE 'UTC' AND {_OF_THE_TIME.format("d")}
     GROUP BY 1, 2, 3, 5"""  # noqa: S608 - put together from constants
_COUNTED_AND_LOGGED = f"""
    (SELECT * FROM {_LOOKS}) u FULL JOIN ({_LOGGED_LOOKS}) l
        ON (u.person_id, u.grant_id, u.day, u.kind) = (l.person_id, l.grant_id, l.day, l.kind) WHERE true"""  # noqa: S608 - as above
_PREPARED = "batch_pull_item i WHERE i.state = 'answered' AND i.disclosed_at >= :since AND i.disclosed_at < :until"
_RECEIVED = "receipt r WHERE r.received_at >= :since AND r.received_at < :until"
# What a consent allows is read from the consent itself, which changes; each of its versions is kept, signed and logged.
_AGREED = """(
    d.given = '{}' OR d.grant_version IS NULL OR EXISTS (
        SELECT FROM grant_version v
         WHERE (v.person_id, v.grant_id, v.version) = (d.person_id, d.grant_id, d.grant_version) AND v.state = 'active'
           AND v.attributes @> jsonb_path_query_array(d.given, '$.keyvalue().key', '{}', true)))"""
_ROW = "SELECT FROM disclosure d WHERE (d.person_id, d.at, d.disclosure_id) = ({0})"
_MADE = f"disclosure d WHERE {_OF_THE_TIME.format('d')}"
_REPORTED = f"disclosure_outcome o WHERE {_OF_THE_TIME.format('o')}"
_IN_LOG = """
    SELECT FROM log_entry e
     WHERE (e.person_id, e.at, e.disclosure_id, e.outcome, e.log_id)
         = ({0}.person_id, {0}.at, {0}.disclosure_id, {1}, :log_id)"""

# By the day on which something was sent or asked.
EVIDENCE: Final = MappingProxyType(
    {
        "sent-not-logged": _check(
            "tries", _TRIES, "a.attempt_id", f"NOT EXISTS ({_ROW.format('a.person_id, a.at, a.attempt_id')})"
        ),
        "logged-not-sent": _check(
            "messages",
            _SENT,
            "d.disclosure_id",
            """d.at >= :tries_kept AND NOT EXISTS (
                SELECT FROM attempt a
                 WHERE (a.person_id, a.at, a.attempt_id) = (d.person_id, d.at, d.disclosure_id))""",
        ),
        "outcome-differs": _check(
            "acknowledgements",
            f"{_TRIES} AND a.outcome = 'completed'",
            "a.attempt_id",
            f"""(a.outcome = 'completed' AND NOT EXISTS ({_IN_TRY} AND o.outcome = 'completed')
                 OR a.outcome = 'failed' AND EXISTS ({_IN_TRY} AND o.outcome = 'completed'))""",
            among=_TRIES,
        ),
        "looks-differ": _check(
            "looks",
            f"{_LOOKS.replace('grant_use u', 'grant_use u CROSS JOIN LATERAL generate_series(1, u.used)')}",
            "COALESCE(u.grant_id, l.grant_id)",
            "u.used IS DISTINCT FROM l.used",
            among=_COUNTED_AND_LOGGED,
        ),
        "prepared-not-logged": _check(
            "prepared answers",
            _PREPARED,
            "COALESCE(i.disclosure_id, i.pull_id)",
            f"NOT EXISTS ({_ROW.format('i.person_id, i.disclosed_at, i.disclosure_id')} AND d.channel = 'batch')",
        ),
        "receipt-not-logged": _check(
            "receipts",
            _RECEIVED,
            "r.jti",
            """NOT EXISTS (
                SELECT FROM disclosure d
                 WHERE d.person_id = r.person_id AND d.message_id = r.jti
                   AND d.at >= :receipts_of AND d.at < :until)""",
        ),
        "never-settled": _check(
            "disclosures",
            _MADE,
            "d.disclosure_id",
            f"""d.outcome = 'sending' AND d.at < :settled
                AND NOT EXISTS ({_OUTCOME.format("d.person_id, d.at, d.disclosure_id")})""",
        ),
        "beyond-consent": _check("disclosures", _MADE, "d.disclosure_id", f"NOT {_AGREED}"),
    }
)
# By months, all of them: also what was written for an earlier day, or by a transaction that the log never looks for.
LOG: Final = MappingProxyType(
    {
        "not-in-log": _check(
            "rows",
            _MADE,
            "d.disclosure_id",
            f"d.at < :in_log_by AND NOT EXISTS ({_IN_LOG.format('d', chr(39) * 2)})",
        ),
        "outcome-not-in-log": _check(
            "outcomes",
            _REPORTED,
            "o.disclosure_id",
            f"o.reported_at < :in_log_by AND NOT EXISTS ({_IN_LOG.format('o', 'o.outcome')})",
        ),
        "outcome-of-nothing": _check(
            "outcomes",
            _REPORTED,
            "o.disclosure_id",
            f"NOT EXISTS ({_ROW.format('o.person_id, o.at, o.disclosure_id')})",
        ),
    }
)
# The bounds of each month that has a part, of which the one that is over longest comes first.
MONTHS: Final = text("""
    SELECT to_timestamp(right(c.relname, 7) || ' UTC', 'YYYY_MM TZ') AS since
      FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
     WHERE i.inhparent = CAST('disclosure' AS regclass) ORDER BY since
""")
