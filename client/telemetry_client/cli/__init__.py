"""The `telemetry` command: run a tool and push its progress, push one update, manage queues.

Needs the extra `cli` (typer, rich); importing this package does not.
"""

from __future__ import annotations

import sys
from typing import NoReturn

from telemetry_client.extras import missing_extra

MISSING_EXTRA_STATUS = 69  # EX_UNAVAILABLE of sysexits.h; 1, 2 and 64 have other meanings here


def main() -> NoReturn:
    """Run the command line. Exits with 69 if the extra is not installed."""
    if sentence := missing_extra("telemetry", "cli", ("typer", "rich")):
        print(sentence, file=sys.stderr)
        sys.exit(MISSING_EXTRA_STATUS)
    try:
        from telemetry_client.cli.app import main as run
    except KeyboardInterrupt:  # the import takes half a second
        sys.exit(130)
    run()
