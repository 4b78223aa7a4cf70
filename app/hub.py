"""The parts of one web process, and their start and shutdown."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.util import Finalize

from app import metrics
from app.auth.guard import Guard
from app.auth.keys import read_keys
from app.auth.watch import TokenWatch
from app.charts.kept import KeptCharts
from app.checks.probe import DatabaseProbe
from app.config import Config
from app.database.pool import Database
from app.database.reads import Reads
from app.domain.snapshots import Snapshot
from app.domain.updates import Update
from app.ingest.heartbeat import Heartbeat
from app.ingest.known_jobs import KnownJobs
from app.ingest.snapshots import store_snapshots
from app.ingest.transaction import store_updates
from app.ingest.writer import Writer
from app.metrics.state import StateMetrics
from app.web.admission import Admission
from app.web.history import Drawn, draw
from app.web.hosts import allowed_hosts
from app.web.push import Pushes
from app.web.rate import TokenRate

logger = logging.getLogger("hub.web")

WITHOUT_KEY = (
    "HUB_TOKEN_KEY_FILE is not set: any program on this machine can push and read, and other "
    "machines are refused"
)


@dataclass(frozen=True)
class Hub:
    """The parts of a web process. Create it with `Hub.start`."""

    config: Config
    database: Database
    reads: Reads
    writer: Writer
    heartbeat: Heartbeat
    admission: Admission
    pushes: Pushes
    charts: KeptCharts[Drawn]
    state_metrics: StateMetrics
    watch: TokenWatch | None  # None without a token key
    probe: DatabaseProbe = field(default_factory=DatabaseProbe)

    @classmethod
    def start(cls, config: Config) -> Hub:
        """Open the pool and start the writer, the heartbeat and the token watch.

        Raises ConfigError if a setting, the database's address or the token key is invalid.
        """
        key_file, guard, watch = config.token_key_file, None, None
        database = Database.from_config(config)
        reads = Reads(database, Database.of_standby(config))
        if key_file is not None:
            guard = Guard(read_keys(key_file))
            watch = TokenWatch(guard, database, key_file)
        else:
            logger.warning(WITHOUT_KEY)
        writer = Writer(
            database,
            {Update: partial(store_updates, known=KnownJobs()), Snapshot: store_snapshots},
            capacity=config.queue_updates,
            wait_seconds=config.wait_seconds,
            late_days=config.late_data_days,
        )
        metrics.watch(metrics.QUEUED, lambda: writer.queued)
        heartbeat = Heartbeat(database, lambda: writer.is_taking)
        rate = TokenRate(config.token_rate) if config.token_rate else None
        admission = Admission(allowed_hosts(config), guard, rate)
        hub = cls(
            config,
            database,
            reads,
            writer,
            heartbeat,
            admission,
            Pushes(config, admission),
            KeptCharts(database, draw, config.chart_cache_mb << 20, reads),
            StateMetrics(database, config.metrics_series),
            watch,
        )
        # Unlike atexit handlers, it also runs in web workers started by multiprocessing.
        Finalize(None, hub.close, exitpriority=100)
        database.open()
        reads.start()
        writer.start()
        heartbeat.start()
        if watch is not None:
            watch.start()
        return hub

    def close(self) -> None:
        """Store the queued updates, then close all connections. Idempotent."""
        if self.watch is not None:
            self.watch.stop()
        self.heartbeat.stop()
        self.writer.stop()
        self.reads.stop()
        self.database.close()
