"""The log for everybody: checkpoint, tiles (C2SP tlog-tiles) and proofs; none of it says anything of a person."""

from __future__ import annotations

import re
from base64 import b64encode
from typing import TYPE_CHECKING, Final

from apiflask import APIBlueprint
from flask import Response, jsonify

from portal.errors import NotFoundError
from portal.ledger import published, witnessing
from portal.web.access import public
from portal.web.context import session

if TYPE_CHECKING:
    from portal.ledger.published import PublishedLog

api = APIBlueprint("log", __name__, url_prefix="/log", tag="Log")

_TEXT: Final = "text/plain; charset=utf-8"
# A tile never changes, and a part of one says by its address how large it is.
_FOR_EVER: Final = "public, max-age=31536000, immutable"
_NOW: Final = "public, max-age=1"
# "x001/x234/067" is 1234067; what is written otherwise is not found, so that a tile has one address.
_NUMBER: Final = re.compile(r"(?!x000)(?:x[0-9]{3}/){0,5}[0-9]{3}")
_PART: Final = re.compile(r"(?P<number>[x0-9/]+?)(?:\.p/(?P<width>[1-9][0-9]{0,2}))?")


class LogMissingError(NotFoundError):
    code = "log-missing"
    public = "There is no signed log here yet."


class NotInLogError(NotFoundError):
    code = "not-in-log"
    public = "The log, as large as it was when it was signed last, has nothing there."


@api.get("/checkpoint")
@api.doc(hide=True)
@public
def checkpoint() -> Response:
    """Return the newest signed checkpoint (C2SP tlog-checkpoint), with those witnesses' signatures that are there."""
    return _answer(witnessing.cosigned(session(), _log()), _TEXT, _NOW)


@api.get("/witnessed")
@api.doc(hide=True)
@public
def witnessed() -> Response:
    """Return the newest checkpoint that witnesses have signed as well (C2SP tlog-cosignature)."""
    note = witnessing.witnessed(session(), _log())
    if note is None:
        raise LogMissingError("No witness has signed the log yet.")
    return _answer(note, _TEXT, _NOW)


@api.get("/verifier")
@api.doc(hide=True)
@public
def verifier() -> Response:
    """Return the key that checkpoints are checked with (C2SP signed-note, verifier keys), and a line break."""
    return _answer(f"{_log().verifier}\n", _TEXT, _NOW)


@api.get("/tile/<int:level>/<path:number>")
@api.doc(hide=True)
@public
def tile(level: int, number: str) -> Response:
    """Return the 256 hashes of a tile, or as many as its address says that there are of one at the right edge."""
    found = _PART.fullmatch(number)
    if found is None or not _NUMBER.fullmatch(found["number"]):
        raise NotInLogError
    at = int(re.sub("[x/]", "", found["number"]))
    width = int(found["width"]) if found["width"] else published.WIDTH
    try:
        hashes = published.tile(session(), _log(), level=level, number=at, width=width)
    except IndexError as error:
        raise NotInLogError from error
    return _answer(b"".join(hashes), "application/octet-stream", _FOR_EVER)


@api.get("/proof/<int:index>")
@api.doc(hide=True)
@public
def proof(index: int) -> Response:
    """Return the proof that there is a leaf `index`, with the newest checkpoint (C2SP tlog-proof)."""
    try:
        found = published.proof(session(), _log(), index=index)
    except IndexError as error:
        raise NotInLogError from error
    return _answer(str(found), _TEXT, _NOW)


@api.get("/consistency/<int:first>")
@api.doc(hide=True)
@public
def consistency(first: int) -> Response:
    """Return the proof that the log begins as it was with `first` leaves, up to the checkpoint beside it.

    JSON: `first`, `path` (base64, RFC 9162 section 2.1.4) and `checkpoint`.
    """
    log = _log()
    try:
        path = published.consistency(session(), log, first=first)
    except IndexError as error:
        raise NotInLogError from error
    answer = jsonify(first=first, path=[b64encode(each).decode() for each in path], checkpoint=log.note)
    answer.headers["Cache-Control"] = _NOW
    return answer


def _log() -> PublishedLog:
    log = published.newest(session())
    if log is None:
        raise LogMissingError
    return log


def _answer(body: str | bytes, media_type: str, cached: str) -> Response:
    return Response(body, content_type=media_type, headers={"Cache-Control": cached})
