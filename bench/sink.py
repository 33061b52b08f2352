"""Receivers without a cost of their own: one loop, many ports, 202 to everything, a line for each arrival.

Prints its ports as JSON, then `<port> <CLOCK_MONOTONIC seconds>` whenever a whole request has arrived.
"""

from __future__ import annotations

import json
import re
import selectors
import socket
import sys
import time

_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
_ACCEPTED = b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n"


def main(count: int) -> None:
    loop = selectors.DefaultSelector()
    listeners = [socket.create_server(("127.0.0.1", 0), backlog=64) for _ in range(count)]
    for listener in listeners:
        listener.settimeout(0)
        loop.register(listener, selectors.EVENT_READ)
    print(json.dumps([listener.getsockname()[1] for listener in listeners]), flush=True)
    ports: dict[socket.socket, int] = {listener: listener.getsockname()[1] for listener in listeners}
    pending: dict[socket.socket, bytes] = {}
    while True:
        for key, _ in loop.select():
            line = key.fileobj
            assert isinstance(line, socket.socket)  # noqa: S101 - tells mypy what was registered
            if line in ports:
                made, _ = line.accept()
                made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                loop.register(made, selectors.EVENT_READ, ports[line])
                pending[made] = b""
            elif not _read(line, pending, key.data):
                loop.unregister(line)
                line.close()


def _read(line: socket.socket, pending: dict[socket.socket, bytes], port: int) -> bool:
    try:
        received = line.recv(65536)
    except ConnectionError:
        received = b""
    if not received:
        pending.pop(line, None)
        return False
    pending[line] += received
    head, found, body = pending[line].partition(b"\r\n\r\n")
    length = _LENGTH.search(head)
    if found and length and len(body) >= int(length[1]):
        pending[line] = b""
        line.sendall(_ACCEPTED)
        sys.stdout.write(f"{port} {time.monotonic()}\n")
        sys.stdout.flush()
    return True


if __name__ == "__main__":
    main(int(sys.argv[1]))
