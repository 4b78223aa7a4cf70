"""The `telemetry` command: run a tool and push its progress, push one update, look after queues."""

from __future__ import annotations

from typing import NoReturn


def main() -> NoReturn:
    """Run the command line."""
    from telemetry_client.cli.app import main as run

    run()
