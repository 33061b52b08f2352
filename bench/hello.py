"""The floor: a bare Flask "hello", served exactly as the portal is."""

from __future__ import annotations

import sys

from flask import Flask
from granian import Granian
from granian.constants import Interfaces

app = Flask(__name__)


@app.get("/")
def hello() -> dict[str, str]:
    return {"hello": "world"}


if __name__ == "__main__":
    Granian(
        "bench.hello:app",
        address="127.0.0.1",
        port=int(sys.argv[1]),
        interface=Interfaces.WSGI,
        workers=int(sys.argv[2]),
        blocking_threads=int(sys.argv[3]),
        websockets=False,
        log_enabled=False,
    ).serve()
