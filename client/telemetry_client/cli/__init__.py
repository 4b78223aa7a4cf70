"""The `telemetry` command: run a tool and push its progress, push one update, look after queues."""

from __future__ import annotations

import sys
from typing import NoReturn


def main() -> NoReturn:
    """Run the command line."""
    try:
        from telemetry_client.cli.app import main as run
    except KeyboardInterrupt:  # it takes half a second
        sys.exit(130)
    run()
