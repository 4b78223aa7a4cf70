"""The daemon: posts what is queued, and keeps a collector process running."""

from __future__ import annotations

import json
import logging
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence

from telemetry_client.agent import CANNOT_START
from telemetry_client.agent.options import Options, configure_logging, parse
from telemetry_client.agent.post_loop import Lane, PostLoop
from telemetry_client.agent.stopping import STOP, Events, next_event, on_signals
from telemetry_client.wire.client import TelemetryClient

logger = logging.getLogger("telemetry_client.agent")

FIRST_RESTART_SECONDS = 1.0
LAST_RESTART_SECONDS = 60.0
LASTING_SECONDS = 60.0  # a collector that ran longer did not fail at its start
STOP_SECONDS = 1.5  # for posting and collector together: the agent stops within two seconds
COLLECTOR_STOP_SECONDS = 1.2


def run(argv: Sequence[str] | None = None) -> int:
    """Run until SIGTERM or SIGINT. Returns what `main` returns."""
    options = parse(argv)
    if options.once:
        print(json.dumps(_one_snapshot(options), indent=2))
        return 0
    configure_logging(options.log_level)
    try:
        client = TelemetryClient(options.url)
    except ValueError as exc:
        print(f"telemetry-agent: {exc}", file=sys.stderr)
        return CANNOT_START
    events = Events()
    on_signals(events, signal.SIGTERM, signal.SIGINT)
    with client:
        serve(options, client, events)
    return 0


def serve(options: Options, client: TelemetryClient, events: Events) -> None:
    """Post and measure until STOP."""
    queue = Lane("queue", options.queue, client)
    if queue.open():
        logger.info("[Daemon] Telemetry queue initialized")
    spool = Lane("spool", options.spool, client, is_optional=True)
    logger.info("[Daemon] Telemetry poster initialized")
    posting = PostLoop([queue, spool] if options.spool != options.queue else [queue])
    posting.start()
    logger.info("[Daemon] Telemetry POST thread started")
    collector = CollectorProcess(options, events)
    try:
        collector.keep_running()
    finally:
        began = time.monotonic()
        posting.stop()
        collector.stop()
        posting.wait(began + STOP_SECONDS - time.monotonic())
        logger.info("[Daemon] Stopped in %.1f s", time.monotonic() - began)


class CollectorProcess:
    """`telemetry_client.agent.stream`, restarted when it ends, after increasing waits."""

    def __init__(self, options: Options, events: Events) -> None:
        self._command = [
            sys.executable,
            "-m",
            "telemetry_client.agent.stream",
            *options.arguments(),
        ]
        self._events = events
        self._process: subprocess.Popen[bytes] | None = None

    def keep_running(self) -> None:
        """Run the collector until STOP."""
        failures = 0
        while True:
            began = time.monotonic()
            self._start()
            if self._events.get() == STOP:
                return
            failures = 0 if time.monotonic() - began > LASTING_SECONDS else failures
            wait = restart_delay(failures)
            failures += 1
            logger.error(
                "[Daemon] The collector ended (%s); restarting in %.1f s",
                self._how_it_ended(),
                wait,
            )
            if next_event(self._events, wait) == STOP:
                return

    def stop(self) -> None:
        """Ask it to end; kill it if it does not."""
        if self._process is None or self._process.poll() is not None:
            return
        assert self._process.stdin is not None
        self._process.stdin.close()  # ends it; there is no SIGTERM on Windows
        try:
            self._process.wait(COLLECTOR_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _start(self) -> None:
        self._process = None
        try:
            self._process = subprocess.Popen(self._command, stdin=subprocess.PIPE)
        except OSError as exc:  # no memory, too many processes
            logger.error("[Daemon] The collector could not be started: %s", exc)
            self._events.put("collector ended")
            return
        threading.Thread(target=self._wait_for_end, args=(self._process,), daemon=True).start()

    def _wait_for_end(self, process: subprocess.Popen[bytes]) -> None:
        process.wait()
        self._events.put("collector ended")

    def _how_it_ended(self) -> str:
        if self._process is None:
            return "not started"
        assert self._process.stdin is not None
        self._process.stdin.close()
        code = self._process.returncode
        return f"signal {-code}" if code < 0 else f"status {code}"


def restart_delay(failures: int) -> float:
    """Seconds to wait before a restart, after `failures` collectors that ended early."""
    longest = min(FIRST_RESTART_SECONDS * 2.0 ** min(failures, 16), LAST_RESTART_SECONDS)
    return longest * random.uniform(0.5, 1.0)


def _one_snapshot(options: Options) -> dict[str, object]:
    from telemetry_client.agent.collector import Collector
    from telemetry_client.agent.stream import WARM_UP_SECONDS
    from telemetry_client.agent.transform import to_snapshot

    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    collector = Collector(options.node_id)
    collector.prime()
    time.sleep(WARM_UP_SECONDS)
    return to_snapshot(collector.collect())
