"""The collector process: measures, sends to WebSocket clients, and puts snapshots into the queue.

`python -m telemetry_client.agent.stream`, started by the daemon. It ends with its standard input.
"""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Sequence

from telemetry_client.agent.broadcast import Broadcaster
from telemetry_client.agent.collector import Collector
from telemetry_client.agent.options import Options, configure_logging, parse
from telemetry_client.agent.outbox import Outbox
from telemetry_client.agent.stopping import Events, next_event, on_end_of_input, on_signals
from telemetry_client.agent.transform import to_snapshot
from telemetry_client.wire.client import TelemetryClient

logger = logging.getLogger("telemetry_client.agent")

WARM_UP_SECONDS = 1.0  # the interval of the first speeds and processor load


def main(argv: Sequence[str] | None = None) -> int:
    """Measure until stopped."""
    options = parse(argv)
    configure_logging(options.log_level)
    events = Events()
    on_signals(events, signal.SIGTERM)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # from the keyboard: the daemon gets it too
    on_end_of_input(events)
    with TelemetryClient(options.url) as client:
        outbox = Outbox(options.queue, client)
        broadcaster = Broadcaster(options.ws_host, options.ws_port, origins=options.ws_origins)
        outbox.start()
        broadcaster.start()
        try:
            measure(options, broadcaster, outbox, events)
        finally:
            outbox.close()
            broadcaster.close()
    return 0


def measure(options: Options, broadcaster: Broadcaster, outbox: Outbox, events: Events) -> None:
    """Publish and queue a snapshot every interval, until an event arrives."""
    collector = Collector(options.node_id)
    collector.prime()
    due = time.monotonic() + min(WARM_UP_SECONDS, options.interval_seconds)
    while next_event(events, due - time.monotonic()) is None:
        try:
            message = collector.collect()
            broadcaster.publish(message)
            outbox.put(to_snapshot(message))
        except Exception:
            logger.exception("[telemetry-ws] A snapshot could not be taken")
        due += options.interval_seconds
        if due < time.monotonic():  # delayed, or the machine slept: do not catch up
            due = time.monotonic() + options.interval_seconds


if __name__ == "__main__":
    raise SystemExit(main())
