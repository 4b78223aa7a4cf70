"""The agent's settings, from its command line and environment."""

from __future__ import annotations

import argparse
import logging
import os
import re
import socket
import sys
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from telemetry_client.settings import SHARED_SPOOL, Settings
from telemetry_client.wire.cleaning import HIDDEN

SECONDS = 60.0
WS_HOST = "localhost"
WS_PORT = 8756
LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
LONGEST_NODE_ID = 255


@dataclass(frozen=True)
class Options:
    """Settings of an agent. The token is only in the environment: command lines are public."""

    node_id: str
    url: str
    queue: Path
    spool: Path
    interval_seconds: float = SECONDS
    ws_host: str = WS_HOST
    ws_port: int = WS_PORT
    ws_origins: tuple[str, ...] = ()
    log_level: str = "INFO"
    once: bool = False

    def arguments(self) -> list[str]:
        """The command line that gives the same options."""
        return [
            f"--node-id={self.node_id}",
            f"--url={self.url}",
            f"--queue={self.queue}",
            f"--spool={self.spool}",
            f"--interval={self.interval_seconds}",
            f"--ws-host={self.ws_host}",
            f"--ws-port={self.ws_port}",
            *(f"--ws-origin={origin}" for origin in self.ws_origins),
            f"--log-level={self.log_level}",
        ]


def parse(argv: Sequence[str] | None = None) -> Options:
    """Parse the command line. Exits with 2 and a message if an option is invalid."""
    settings = Settings.from_env()
    parser = argparse.ArgumentParser(
        prog="telemetry-agent",
        description="Measure this machine, and send the snapshots to WebSocket clients and a hub.",
        epilog="The hub's token is read from TELEMETRY_TOKEN only.",
    )
    add = parser.add_argument
    add("--node-id", help="name of this node; default: TELEMETRY_NODE_ID, else the host's name")
    add("--url", default=settings.url, help="the hub; default: SHA_API_URL, else %(default)s")
    add("--interval", type=_interval, default=SECONDS, help="seconds between snapshots (60)")
    add("--queue", type=Path, default=settings.queue, help="TELEMETRY_QUEUE, else %(default)s")
    add(
        "--spool",
        type=Path,
        default=settings.spool or SHARED_SPOOL,
        help="unsent updates of this machine's jobs; TELEMETRY_SPOOL, else %(default)s",
    )
    add("--ws-host", default=WS_HOST, help="address of the WebSocket server (%(default)s)")
    add("--ws-port", type=_port, default=WS_PORT, help="port of the WebSocket server (%(default)s)")
    add(
        "--ws-origin",
        action="append",
        default=[],
        type=_origin,
        metavar="ORIGIN",
        help="origin of web pages that may read the WebSocket, such as https://panel.example.org; "
        "may be repeated; default: none, only programs may",
    )
    add("--log-level", type=str.upper, choices=LOG_LEVELS, default="INFO")
    add("--once", action="store_true", help="print one snapshot as JSON and exit")
    given = parser.parse_args(argv)
    node_id = given.node_id or os.environ.get("TELEMETRY_NODE_ID") or socket.gethostname()
    if problem := node_id_problem(node_id):
        parser.error(f"the node id {node_id!r} {problem}; set another one with --node-id")
    return Options(
        node_id=node_id,
        url=given.url,
        queue=given.queue,
        spool=given.spool,
        interval_seconds=given.interval,
        ws_host=given.ws_host,
        ws_port=given.ws_port,
        ws_origins=tuple(given.ws_origin),
        log_level=given.log_level,
        once=given.once,
    )


def node_id_problem(text: str) -> str | None:
    """Why the hub would refuse a node id; None if it accepts it."""
    text = unicodedata.normalize("NFC", text)
    if not 1 <= len(text) <= LONGEST_NODE_ID:
        return f"is not 1 to {LONGEST_NODE_ID} characters long"
    if "/" in text or text in (".", "..", "summary"):
        return "contains a slash" if "/" in text else "is reserved"
    if text[0] == " " or text[-1] == " ":
        return "begins or ends with a space"
    if HIDDEN.search(text):
        return "contains control, format or separator characters"
    return None


def configure_logging(level: str) -> None:
    """Log to standard error."""
    logging.basicConfig(
        level=level, stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s", force=True
    )
    logging.getLogger("websockets").setLevel(logging.CRITICAL)  # each port scan logs a traceback
    logging.getLogger("asyncio").setLevel(logging.WARNING)
    logging.getLogger("urllib3").setLevel(logging.ERROR)  # we log the results of requests


def _interval(text: str) -> float:
    seconds = float(text)
    if not 0.1 <= seconds <= 3600:
        raise argparse.ArgumentTypeError(f"{text} is not between 0.1 and 3600 seconds")
    return seconds


def _port(text: str) -> int:
    port = int(text)
    if not 0 <= port <= 65535:
        raise argparse.ArgumentTypeError(f"{text} is not a port")
    return port


def _origin(text: str) -> str:
    """An origin as browsers send it (RFC 6454)."""
    origin = text.lower().rstrip("/")
    if not re.fullmatch(r"[a-z][a-z0-9+.-]*://[^/?#\s]+", origin):
        raise argparse.ArgumentTypeError(f"{text} is not like https://panel.example.org")
    return origin
