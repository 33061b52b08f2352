"""Make the company's keys and the metadata to register it with.

    python make_keys.py --folder DIR --redirect-uri http://localhost:8001/callback

DIR gets three private keys (mode 0600) and `metadata.json` (RFC 7591), which holds public keys only.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import keys

NAME = "Brightwell Energy"
CIBA = "urn:openid:params:grant-type:ciba"


def metadata(company_keys: keys.CompanyKeys, *, redirect_uri: str, name: str = NAME) -> dict[str, Any]:
    """Return the client metadata of RFC 7591 section 2."""
    return {
        "client_name": name,
        "redirect_uris": [redirect_uri],
        "grant_types": ["authorization_code", "refresh_token", "client_credentials", CIBA],
        "backchannel_token_delivery_mode": "poll",
        "response_types": ["code"],
        "token_endpoint_auth_method": "private_key_jwt",
        "token_endpoint_auth_signing_alg": "ES256",
        "dpop_bound_access_tokens": True,
        "jwks": company_keys.public_jwks(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Make the demo company's keys and registration metadata.")
    parser.add_argument("--folder", type=Path, required=True, help="where the keys are kept")
    parser.add_argument("--redirect-uri", required=True, help="the address of this company's /callback")
    parser.add_argument("--name", default=NAME, help="the company's name (default: %(default)s)")
    options = parser.parse_args()
    document = metadata(keys.ensure(options.folder), redirect_uri=options.redirect_uri, name=options.name)
    file: Path = options.folder / "metadata.json"
    file.write_text(json.dumps(document, indent=2) + "\n")
    print(file)  # noqa: T201 - the path is this command's answer


if __name__ == "__main__":
    main()
