"""The agent of a node: measures it every minute, for WebSocket clients and for the hub.

Needs the extra `agent` (psutil, websockets); importing this package does not.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from telemetry_client.extras import missing_extra

CANNOT_START = 2


def main(argv: Sequence[str] | None = None) -> int:
    """`telemetry-agent`. Returns 0 after it was stopped, 2 for a missing extra or a bad setting."""
    if sentence := missing_extra("telemetry-agent", "agent", ("psutil", "websockets")):
        print(sentence, file=sys.stderr)
        return CANNOT_START
    from telemetry_client.agent.daemon import run

    return run(argv)
