"""How many refusals of one kind a person's log holds: whoever is refused could else make rows without end.

Thousands of them would hide what did leave.  A hundred in a day say as much: more are answered, and not written down.
"""

from __future__ import annotations

from typing import Final

MOST_A_DAY: Final = 100
# Whether there is room for one more, of the same person, company, app and purpose.  Two at the same moment may both
# find some.
ROOM: Final = f"""
    {MOST_A_DAY} > (SELECT count(*) FROM (
        SELECT FROM disclosure d
         WHERE d.person_id = {{person_id}} AND d.context_id = {{context_id}} AND d.outcome = 'denied'
           AND d.at > CAST({{at}} AS timestamptz) - interval '1 day' LIMIT {MOST_A_DAY}) refused)"""  # noqa: S608 - constants
