"""Tokens, DPoP resource calls and introspections beside npm `oidc-provider` under its FAPI 2.0 profile.

Both authenticate clients by private_key_jwt (ES256), bind tokens to DPoP keys, refuse replays and keep everything in
the same PostgreSQL, with as many worker processes; requests are signed before the clock runs, and the two take
turns.  `bench/peer/server.mjs` says how the other is configured.  A userinfo call here opens the person's sealed
record and logs the disclosure; there it reads one row of claims.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import urllib.request
from dataclasses import dataclass
from itertools import cycle
from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple

import psycopg
from sqlalchemy import make_url

from bench import load, pulls, turns
from bench.ground import ROOT, free_port
from bench.party import Key, Party
from bench.sinks import Place
from portal import db
from portal.companies import queries as companies
from portal.embedded.postgres import DATABASE, OWNER
from portal.oauth import tokens
from tests.sync import cast
from tests.sync.receiver import new_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy.orm import Session

    from bench.ground import Ground
    from bench.turns import Turn
    from tests.sync.cast import World

ROUNDS, SECONDS = 5, 2.0
PEER = ROOT / "bench" / "peer"
_MISSING = "\nnode, or what `npm ci` installs in bench/peer, is missing: no figures beside oidc-provider."
# A just-in-time compiler needs some before it shows what it can do.
_WARMING = 2500
# More than any round can use.
_PREPARED = 3500
_HELD = 100


@dataclass(frozen=True, kw_only=True)
class Origin:
    """What the tokens of the trial come from."""

    person_id: UUID
    grant_id: UUID
    authenticated_at: datetime
    scope: str = "openid email"
    code_hash: bytes = b"bench"
    level: int = 1


@dataclass(frozen=True, kw_only=True)
class Side:
    """One of the two servers: the process's name, its port, a client of it, and what that client holds.

    The refresh tokens take turns, as those of different people would.
    """

    name: str
    port: int
    party: Party
    access_token: str
    refresh_tokens: Iterator[str]


class Measure(NamedTuple):
    """What is asked of both, a member that a good answer has, and what the ratios of rates and of CPU are to be."""

    title: str
    make: Callable[[Side], bytes]
    proof: str
    goal: str = "none"
    cost: str = "none"


def _own(side: Side) -> bytes:
    return side.party.token(grant_type="client_credentials", scope="people:read")


def _refreshed(side: Side) -> bytes:
    # Without `openid`, or one of the two would sign an ID token as well.
    return side.party.token(grant_type="refresh_token", refresh_token=next(side.refresh_tokens), scope="email")


def _person(side: Side) -> bytes:
    return side.party.resource(str(side.party.endpoints["userinfo_endpoint"]), side.access_token)


def _introspected(side: Side) -> bytes:
    return side.party.introspection(side.access_token)


MEASURES = (
    Measure("tokens, client_credentials", _own, "access_token", ">= 1", "< 1"),
    Measure("tokens, refresh_token", _refreshed, "access_token", ">= 1", "< 1"),
    Measure("DPoP resource calls, userinfo", _person, "email", ">= 1.3", "< 1"),
    Measure("introspections", _introspected, "exp"),
)


def measure(here: Ground, world: World) -> None:
    """Start both servers, let them take turns at each measure, and print what came of it."""
    ours, pull = _our_side(here, world)
    theirs = _peer(here)
    for database in (DATABASE, "peer") if theirs else (DATABASE,):
        with psycopg.connect(here.postgres.url(OWNER, database), autocommit=True) as owner:
            owner.execute("ANALYZE")
    print(
        f"\nauthorization server at FAPI 2.0 level (private_key_jwt, DPoP), {pulls.WORKERS} worker processes each, "
        f"{turns.CONNECTIONS} connections,\n  median of {ROUNDS} rounds of {SECONDS:.0f} s in turns "
        f"(load average {os.getloadavg()[0]:.1f})"
    )
    for each in MEASURES:
        _compare(here, each, [side for side in (ours, theirs) if side])
    _compare(here, Measure("DPoP resource calls, pull of sealed details", lambda _side: pull(), ""), [ours])


def _compare(here: Ground, asked: Measure, sides: list[Side]) -> None:
    print(f"\n {asked.title}")
    for side in sides:
        _prove(side, asked)
        turns.take(here, side.name, side.port, iter(list(_requests(asked, side, _WARMING))), 2 * SECONDS)
    seen: dict[str, list[Turn]] = {side.name: [] for side in sides}
    for number in range(ROUNDS):
        prepared = {side.name: list(_requests(asked, side, _PREPARED)) for side in sides}
        for side in sides if number % 2 else sides[::-1]:
            seen[side.name].append(turns.take(here, side.name, side.port, iter(prepared[side.name]), SECONDS))
    for side in sides:
        turns.say(side.name, seen[side.name])
    if len(sides) > 1:
        _say_ratios(asked, *seen.values())


def _say_ratios(asked: Measure, ours: list[Turn], theirs: list[Turn]) -> None:
    pairs = list(zip(ours, theirs, strict=True))
    rates = [mine.round.rate / other.round.rate for mine, other in pairs]
    costs = [mine.answering / other.answering for mine, other in pairs]
    print(
        f"  ratio of rates {median(rates):.2f} (goal {asked.goal})"
        f"   ratio of CPU, server and PostgreSQL {median(costs):.2f} (goal {asked.cost})"
        f"   rounds {' '.join(f'{rate:.2f}/{cost:.2f}' for rate, cost in zip(rates, costs, strict=True))}"
    )


def _prove(side: Side, asked: Measure) -> None:
    # The figures of a server that answers something else would be worth nothing.
    line = load.Line(side.port)
    line.send(asked.make(side))
    while not line.finished():
        pass
    line.socket.close()
    head, _, body = line.received.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200") or (asked.proof and asked.proof not in json.loads(body)):
        raise RuntimeError(f"{side.name} does not answer: {asked.title}: {head[:60]!r} {body[:300]!r}")


def _requests(asked: Measure, side: Side, count: int) -> Iterator[bytes]:
    return (asked.make(side) for _ in range(count))


def _our_side(here: Ground, world: World) -> tuple[Side, Callable[[], bytes]]:
    """Start the portal if it is not running; return it and how a pull is asked of it."""
    if "portal" not in here.processes:
        pulls.serve(here)
    key, dpop_key = Key(), Key()
    firm = world.transact(
        lambda session: cast.register(session, key.jwk, Place("127.0.0.1:9", new_key()), "kept-up-to-date")
    )
    shared = world.share(world.person(), firm)

    def issue(session: Session) -> tuple[str, list[str], str]:
        client = companies.client(session, firm.client_id)
        if client is None:
            raise LookupError(firm.client_id)
        now = db.now()
        of = Origin(person_id=shared.person_id, grant_id=shared.grant_id, authenticated_at=now)
        bound: Any = {"client": client, "jkt": dpop_key.thumbprint, "now": now}
        return (
            tokens.issue_access(session, of=of, scope=of.scope, **bound),
            [tokens.issue_refresh(session, client=client, of=of, ends=None, now=now) for _ in range(_HELD)],
            tokens.issue_own(session, scope="people:read", **bound),
        )

    access, refresh, own = world.transact(issue)
    issuer = here.settings.issuer
    party = Party(client_id=firm.client_id, issuer=issuer, key=key, dpop_key=dpop_key, endpoints=_described(issuer))
    side = Side(name="portal", port=here.port, party=party, access_token=access, refresh_tokens=cycle(refresh))
    return side, lambda: party.resource(f"{issuer}/api/v1/people/{shared.sub}", own)


def _peer(here: Ground) -> Side | None:
    """Start the other server on a database of its own in the same PostgreSQL; None when it is not installed."""
    node = shutil.which("node")
    if node is None or not (PEER / "node_modules").is_dir():
        print(_MISSING)
        return None
    port, key, dpop_key = free_port(), Key(), Key()
    issuer = f"http://localhost:{port}"
    told = {
        "port": port, "issuer": issuer, "workers": pulls.WORKERS, "clientId": "bench",
        "clientKey": key.public, "jkt": dpop_key.thumbprint, "refreshTokens": _HELD,
    }  # fmt: skip
    process = here.run("oidc-provider", node, str(PEER / "server.mjs"), pipe=True, env=_peer_environment(here, told))
    made = json.loads((process.stdout or sys.stdin).readline())
    party = Party(client_id="bench", issuer=issuer, key=key, dpop_key=dpop_key, endpoints=_described(issuer))
    return Side(
        name="oidc-provider", port=port, party=party,
        access_token=made["access_token"], refresh_tokens=cycle(made["refresh_tokens"]),
    )  # fmt: skip


def _peer_environment(here: Ground, told: dict[str, Any]) -> dict[str, str]:
    with psycopg.connect(here.postgres.url(OWNER), autocommit=True) as owner:
        owner.execute("CREATE DATABASE peer")
    where = make_url(here.postgres.url(OWNER, "peer"))
    return {
        "NODE_ENV": "production",
        "PEER": json.dumps(told),
        "PGHOST": str(where.query["host"]),
        "PGUSER": str(where.username),
        "PGPASSWORD": str(where.password),
        "PGDATABASE": "peer",
    }


def _described(issuer: str) -> dict[str, Any]:
    with urllib.request.urlopen(f"{issuer}/.well-known/openid-configuration") as answer:  # noqa: S310 - ours, http
        found: dict[str, Any] = json.load(answer)
    return found
