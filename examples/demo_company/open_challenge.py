"""Open the portal's challenge to this company's encryption key, and print the text inside.

    python open_challenge.py --folder DIR < challenge.txt

Whoever sends that text back has shown that they hold the private key; the portal encrypts nothing to it before.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from joserfc import jwe

import keys

if TYPE_CHECKING:
    from joserfc.jwk import ECKey

_ALGORITHMS = ["ECDH-ES+A256KW", "A256GCM"]


def open_challenge(challenge: str, key: ECKey) -> str:
    """Return the text in a challenge (a compact JWE); raise `joserfc.errors.JoseError` when it is for another key."""
    opened = jwe.decrypt_compact(challenge.strip(), key, algorithms=_ALGORITHMS)
    return (opened.plaintext or b"").decode()


def main() -> None:
    parser = argparse.ArgumentParser(description="Open a challenge to the company's encryption key.")
    parser.add_argument("--folder", type=Path, required=True, help="where the keys are kept")
    folder = parser.parse_args().folder
    print(open_challenge(sys.stdin.read(), keys.load(folder).encryption))  # noqa: T201 - the answer of this command


if __name__ == "__main__":
    main()
