"""Calls HUB_HEARTBEAT_URL while the hub works: a service elsewhere notices when it does not."""

from __future__ import annotations

from datetime import datetime

from app.config import Config
from app.database.pool import Database
from app.errors import HubError
from app.notify.delivery import DeliveryFailed
from app.notify.http import call
from app.store.tasks import read_tasks

TASK = "heartbeat"


def run_once(database: Database, config: Config, now: datetime | None = None) -> dict[str, bool]:
    """Call the address, if there is one, unless a task is late.

    The database takes writes: the lease of this run was one. Raises HubError if the address does
    not answer.
    """
    if config.heartbeat_url is None:
        return {"called": False}
    with database.reading() as conn:
        late = [task.task_id for task in read_tasks(conn, now) if task.is_late]
    if any(task != TASK for task in late):
        return {"called": False}
    try:
        call(config.heartbeat_url)
    except DeliveryFailed as exc:
        raise HubError(f"HUB_HEARTBEAT_URL: {exc}") from None
    return {"called": True}
