"""`python -m portal`, the same as the command `portal`."""

from __future__ import annotations

from portal.cli import main

main()
