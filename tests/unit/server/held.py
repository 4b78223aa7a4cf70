"""A server whose writer commits when a test says so, without a database."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from app.auth.guard import Guard
from app.charts.kept import KeptCharts
from app.config import Config
from app.database.pool import Database
from app.database.reads import Reads
from app.hub import Hub
from app.ingest.heartbeat import Heartbeat
from app.ingest.queue import Item
from app.ingest.transaction import Outcome, Receipt
from app.ingest.writer import Writer
from app.metrics.state import StateMetrics
from app.server.asgi import Server
from app.web.admission import Admission
from app.web.history import draw
from app.web.hosts import allowed_hosts
from app.web.permissions import PUSH as PUSHING
from app.web.permissions import Permission
from app.web.push import Pushes
from app.web.rate import TokenRate

PUSH = b"/api/v1/telemetry/backup/job-1"
BODY = b'{"status": "running"}'


class HeldWriter(Writer):
    """Accepts updates as usual, but commits them only after `release`."""

    def __init__(self, database: Database, config: Config) -> None:
        super().__init__(
            database,
            {},
            capacity=config.queue_updates,
            wait_seconds=config.wait_seconds,
            late_days=config.late_data_days,
        )
        self.taken = 0
        self.outcome: Callable[[], Outcome] = lambda: Receipt("running", False, True, None, 0, 0)
        self._released = threading.Event()

    def release(self) -> None:
        self._released.set()

    def begin(self, items: Sequence[Item], when_settled: Callable[[], object]) -> Any:
        ticket = super().begin(items, when_settled)
        self.taken += len(items)
        return ticket

    def _transaction(self, items: list[Item]) -> list[Outcome]:
        self._released.wait(30)
        return [self.outcome() for _ in items]


class HeldServer(Server):
    """A server with a HeldWriter. With a `guard` it requires tokens."""

    def __init__(
        self,
        flask_app: Any,
        *,
        guard: Guard | None = None,
        find_permission: Callable[[str, str], Permission | None] = lambda method, path: PUSHING,
        **settings: Any,
    ) -> None:
        config = Config(database_url="postgresql://127.0.0.1:9/none", **settings)
        database = Database.from_config(config)
        self.writer = HeldWriter(database, config)
        rate = TokenRate(config.token_rate) if config.token_rate else None
        admission = Admission(allowed_hosts(config), guard, rate)
        hub = Hub(
            config,
            database,
            Reads(database),
            self.writer,
            Heartbeat(database, lambda: True),
            admission,
            Pushes(config, admission),
            KeptCharts(database, draw, 0),
            StateMetrics(database, 0),
            None,
        )
        super().__init__(hub, flask_app, find_permission)
        self.writer.start()


def echo(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    """A WSGI application that answers with the length of the body."""
    body = environ["wsgi.input"].read()
    start_response("200 OK", [("X-Length", environ.get("CONTENT_LENGTH", ""))])
    return [str(len(body)).encode()]
