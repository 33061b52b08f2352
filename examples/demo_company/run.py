"""A small company that keeps its customers' details right by subscribing to them: Brightwell Energy, or as told.

    python run.py --folder DIR --portal http://localhost:8000 --client-id test_… --port 8001
    python run.py … --name "Northside Gym" --look green --purpose membership

DIR holds the keys and `metadata.json` that `make_keys.py` made.  It listens on this machine only.
"""

from __future__ import annotations

import argparse
import json
import logging
import re
import secrets
from pathlib import Path

from flask import Flask
from werkzeug.serving import WSGIRequestHandler, make_server

import keys
import pages
import receiver
from asking import Asking
from deleting import AFTER, Deleting
from make_keys import NAME
from portal_client import PortalClient
from receipts import Receipts
from receiver import Receiver
from store import Store

PURPOSE = "bills"
LOOKS = ("orange", "green")
_LARGEST_BODY = 512 * 1024


class QuietHandler(WSGIRequestHandler):
    """Writes no addresses to the log: a callback's holds a code."""

    disable_nagle_algorithm = True

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Write nothing: what arrived is in the journal."""


def make_app(
    folder: Path,
    *,
    portal: PortalClient,
    company_keys: keys.CompanyKeys,
    name: str = NAME,
    look: str = LOOKS[0],
    delete_after: float = AFTER,
) -> Flask:
    """Put the program together; `folder` holds the customers' file, `look` is a class of `company.css`.

    `delete_after` is how many seconds after a customer's wish their details are said to be deleted.
    """
    app = Flask(__name__)
    app.config.update(
        SECRET_KEY=secrets.token_bytes(32),
        # Cookies do not know ports: a name of its own keeps the portal's on the same host apart.
        SESSION_COOKIE_NAME=re.sub(r"[^a-z0-9]+", "-", name.lower()),
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Lax",
        MAX_CONTENT_LENGTH=_LARGEST_BODY,
    )
    store = Store(folder)
    receipts = Receipts(portal, store)
    receipts.start()
    Deleting(portal, store, after=delete_after).start()
    inbox = Receiver(portal, store, company_keys.encryption, kept=receipts.ring)
    app.jinja_env.globals.update(company=name, look=look)
    pages.protect(app, portal.portal)
    app.register_blueprint(receiver.events(inbox))
    pulls = Asking(portal, inbox, store)
    inbox.on_notice = pulls.soon
    app.register_blueprint(pages.customer_pages(store, portal, pulls))
    return app


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Run the demo company.")
    parser.add_argument("--folder", type=Path, required=True, help="where its keys and customers are kept")
    parser.add_argument("--portal", required=True, help="the portal's address, for example http://localhost:8000")
    parser.add_argument("--client-id", required=True, help="the id the portal gave at registration")
    parser.add_argument("--port", type=int, required=True, help="where to listen on this machine")
    parser.add_argument("--purpose", default=PURPOSE, help="the code of the purpose to ask for (default: %(default)s)")
    parser.add_argument("--name", default=NAME, help="what the company is called (default: %(default)s)")
    parser.add_argument("--look", choices=LOOKS, default=LOOKS[0], help="its colours (default: %(default)s)")
    parser.add_argument(
        "--delete-after", type=float, default=AFTER, metavar="SECONDS",
        help="how long after a customer's wish to say that their details are deleted (default: %(default)s)",
    )  # fmt: skip
    return parser.parse_args()


def main() -> None:
    options = _options()
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s %(message)s")
    company_keys = keys.load(options.folder)
    [redirect_uri] = json.loads((options.folder / "metadata.json").read_text())["redirect_uris"]
    portal = PortalClient(
        options.portal,
        client_id=options.client_id,
        keys=company_keys,
        redirect_uri=redirect_uri,
        purpose=options.purpose,
    )
    app = make_app(
        options.folder, portal=portal, company_keys=company_keys, name=options.name, look=options.look,
        delete_after=options.delete_after,
    )  # fmt: skip
    server = make_server("127.0.0.1", options.port, app, threaded=True, request_handler=QuietHandler)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        server.server_close()


if __name__ == "__main__":
    main()
