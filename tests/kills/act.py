"""One step of the program in a process of its own, which `CRASH_AT` may end in the middle of it.

`python act.py job portal.sync.jobs.drain`, `save <person> <email>`, `withdraw <person> <grant>`, or
`request <method> <path> <headers as JSON> <body>`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING
from uuid import UUID

sys.path.insert(0, str(Path(__file__).parents[2]))

from portal import config, db, wiring
from portal.app import create_app
from portal.consent import services as consent
from portal.consumer import services as consumer
from portal.vault import keyring

if TYPE_CHECKING:
    from collections.abc import Callable


def job(name: str, *arguments: str) -> None:
    resolve_name(name)(*arguments)


def save(person_id: str, email: str) -> None:
    settings = config.current()
    keys = keyring.load(settings.keyring_file)
    with db.transaction(settings.database_url) as session:
        consumer.save(
            session, keyring=keys, person_id=UUID(person_id), changes={"email.main": email}, now=db.now()
        )  # fmt: skip


def withdraw(person_id: str, grant_id: str) -> None:
    with db.transaction(config.current().database_url) as session:
        consent.withdraw(session, person_id=UUID(person_id), grant_id=UUID(grant_id), now=db.now())


def request(method: str, path: str, headers: str, body: str) -> None:
    app = create_app(config.current())
    answer = app.test_client().open(path, method=method, headers=json.loads(headers), data=body)
    raise SystemExit(f"{answer.status} {answer.text}")


if __name__ == "__main__":
    wiring.wire()
    verb, *given = sys.argv[1:]
    verbs: dict[str, Callable[..., None]] = {"job": job, "save": save, "withdraw": withdraw, "request": request}
    verbs[verb](*given)
