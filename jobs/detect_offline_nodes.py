"""Marks silent nodes offline; app.ingest marks them online with their next snapshot."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from app.config import Config
from app.database.pool import Connection, Database
from app.domain.staleness import go_duration, silent_since
from app.store import node_states as store
from app.store.node_states import OfflineNode, SilentNode
from app.store.staleness import StatusChange, read_watches
from jobs.pages import change_page, read_pages

logger = logging.getLogger("hub.tasks.nodes")


@dataclass(frozen=True, slots=True)
class Sweep:
    """The result of a run. `errors`: nodes whose row could not be changed; see the log.

    `watched_seconds`: how long web processes have been taking snapshots; None: there are none, and
    no node is marked offline.
    """

    offline: int
    errors: int
    watched_seconds: float | None


def run_once(database: Database, config: Config, now: datetime | None = None) -> Sweep:
    """Mark the nodes offline that have been silent for too long."""
    threshold = config.node_offline_seconds
    is_by_clock = now is None
    with database.reading() as conn:
        now, watches = read_watches(conn, now)
        if ahead := store.reset_future_nodes(conn, now):
            logger.warning(
                "the clock was set back; the silence of %d nodes is counted from now", ahead
            )
    watched = max((watch.seconds for watch in watches), default=None)
    since = silent_since(watches, threshold)
    if since is None:
        return Sweep(0, 0, watched)
    text = f"No snapshot for {go_duration(threshold)}"
    status_change = StatusChange(now, since, threshold, text, now if is_by_clock else None)

    def read(conn: Connection, after: SilentNode | None, limit: int) -> list[SilentNode]:
        return store.read_silent_nodes(conn, since, after=after, limit=limit)

    def change(conn: Connection, node_ids: Sequence[str]) -> list[OfflineNode]:
        return store.mark_nodes_offline(conn, node_ids, status_change)

    offline = errors = 0
    for page in read_pages(database, read):
        node_ids = [node.node_id for node in page]
        marked, failures = change_page(database, node_ids, change, "silent node")
        offline += len(marked)
        errors += failures
        for node in marked:
            logger.warning(
                "Node offline: %s",
                node.node_id,
                extra={"node_id": node.node_id, "silent_seconds": round(node.silent_seconds, 1)},
            )
    return Sweep(offline, errors, watched)
