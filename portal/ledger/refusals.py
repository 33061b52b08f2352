"""How many refusals of one kind a person's log holds: whoever is refused could else make rows without end.

Thousands of them would hide what did leave.  A hundred in a day say as much: more are answered, and not written down.
Its person reads so at the row with which the day was full.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import text

MOST_A_DAY: Final = 100
# Whether there is room for one more, of the same person, company, app and purpose.  Two at the same moment may both
# find some.
ROOM: Final = f"""
    {MOST_A_DAY} > (SELECT count(*) FROM (
        SELECT FROM disclosure d
         WHERE d.person_id = {{person_id}} AND d.context_id = {{context_id}} AND d.outcome = 'denied'
           AND d.at > CAST({{at}} AS timestamptz) - interval '1 day' LIMIT {MOST_A_DAY}) refused)"""  # noqa: S608 - constants
# Which of these rows filled the day before them.  Checks of a copy are refused into the log once a day (`sync.drift`).
FILLED: Final = text(f"""
    SELECT disclosure_id FROM (
        SELECT disclosure_id, channel = 'drift' AND reason = 'too-often' AS once, count(*) OVER (
                   PARTITION BY context_id ORDER BY at
                   RANGE BETWEEN interval '1 day' PRECEDING AND CURRENT ROW) AS so_far
          FROM disclosure
         WHERE person_id = :person_id AND outcome = 'denied'
           AND at BETWEEN CAST(:oldest AS timestamptz) - interval '1 day' AND :newest) refused
     WHERE (once OR so_far >= {MOST_A_DAY}) AND disclosure_id = ANY(:shown)
""")  # noqa: S608 - a constant
