"""The floor under delivery: the same requests over the same TLS by the same sender, no database and no encryption.

`python -m bench.floor <file>` reads `{"urls": […], "rounds": n, "bytes": n, "type": "…", "in_flight": n, "allow":
[…]}`, sends `rounds` requests to each URL, and prints the seconds, the CPU seconds and the failures as JSON.
"""

from __future__ import annotations

import json
import sys
import time
from collections import deque
from itertools import count
from pathlib import Path
from typing import Any

from portal.egress.exchanges import Answered, Exchanges, Failed, Ready

_SECONDS = 30.0
_POLL_SECONDS = 0.05


def main(asked: dict[str, Any]) -> None:
    exchanges = Exchanges(allow=frozenset(asked["allow"]))
    owed = deque(url for _ in range(asked["rounds"]) for url in asked["urls"])
    body, numbers, failed = b"x" * asked["bytes"], count(), 0
    headers = {"Content-Type": asked["type"]}
    started, used = time.monotonic(), time.process_time()
    while owed or len(exchanges):
        while owed and len(exchanges) < asked["in_flight"]:
            exchanges.connect(next(numbers), owed.popleft(), seconds=_SECONDS)
        for told in exchanges.poll(_POLL_SECONDS):
            if isinstance(told, Ready):
                exchanges.send(told.key, body=body, headers=headers, seconds=_SECONDS)
            elif isinstance(told, Failed):
                failed += 1
            elif isinstance(told, Answered):
                failed += told.answer.status // 100 != 2  # noqa: PLR2004 - HTTP's class of success
    took, cpu = time.monotonic() - started, time.process_time() - used
    print(json.dumps({"seconds": took, "cpu": cpu, "failed": failed}), flush=True)
    exchanges.close()


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
