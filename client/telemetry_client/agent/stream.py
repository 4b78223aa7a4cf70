"""The collector's process: measures, publishes to WebSocket clients, puts snapshots in the queue.

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
from telemetry_client.client import TelemetryClient

logger = logging.getLogger("telemetry_client.agent")

WARM_UP_SECONDS = 1.0  # what the first speeds and processor load are measured over


def main(argv: Sequence[str] | None = None) -> int:
    """Measure until told to stop."""
    options = parse(argv)
    configure_logging(options.log_level)
    events = Events()
    on_signals(events, signal.SIGTERM)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # from the keyboard: the daemon gets it as well
    on_end_of_input(events)
    with TelemetryClient(options.url) as client:
        outbox = Outbox(options.queue, client)
        broadcaster = Broadcaster(options.ws_host, options.ws_port)
        outbox.start()
        broadcaster.start()
        try:
            measure(options, broadcaster, outbox, events)
        finally:
            outbox.close()
            broadcaster.close()
    return 0


def measure(options: Options, broadcaster: Broadcaster, outbox: Outbox, events: Events) -> None:
    """Publish and put one snapshot every interval, until an event comes."""
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
        if due < time.monotonic():  # held up, or the machine slept: no volley of snapshots
            due = time.monotonic() + options.interval_seconds


if __name__ == "__main__":
    raise SystemExit(main())
