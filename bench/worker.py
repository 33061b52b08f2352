"""`portal worker --queue push` as it is, but allowed to call as many loopback addresses as a file names.

Ten thousand of them are more than one variable of the environment can hold.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from portal import config, queue, worker

if TYPE_CHECKING:
    from portal.config import Settings


def main(file: str) -> int:
    allow = frozenset(Path(file).read_text(encoding="ascii").split())

    @cache
    def current() -> Settings:
        return replace(config.load(), egress_allow=allow)

    config.current = current
    return worker.work(config.current(), queue.PUSH)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1]))
