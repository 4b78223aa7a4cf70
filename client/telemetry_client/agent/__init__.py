"""The agent of a node: measures it every minute, for WebSocket clients and for the hub.

Needs the extra `agent` (psutil, websockets); importing this package does not.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.util import find_spec

_NEEDED = ("psutil", "websockets")
CANNOT_START = 2


def main(argv: Sequence[str] | None = None) -> int:
    """`telemetry-agent`. 0: stopped when told to; 2: the extra is missing, or a bad setting."""
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        print(
            f"telemetry-agent needs {' and '.join(missing)}: pip install 'telemetry-client[agent]'",
            file=sys.stderr,
        )
        return CANNOT_START
    from telemetry_client.agent.daemon import run

    return run(argv)
