"""Notices nodes that send no snapshots any more; their next one brings them back (app.ingest)."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from app.config import Config
from app.db import Database
from app.domain.staleness import go_duration, silent_since
from app.errors import Unavailable
from app.store import node_states as store
from app.store.node_states import OfflineNode, SilentNode
from app.store.staleness import Verdict, read_watches

logger = logging.getLogger("hub.tasks.nodes")

# Short transactions: the embedded database serves nobody else meanwhile.
PAGE_NODES = 1_000


@dataclass(frozen=True, slots=True)
class Sweep:
    """What one run did. `errors`: nodes whose row could not be changed; the log has the reason.

    `watched_seconds`: for how long some web process that still beats has been taking snapshots;
    None while there is none, and then no node is taken offline.
    """

    offline: int
    errors: int
    watched_seconds: float | None


def run_once(database: Database, config: Config, now: datetime | None = None) -> Sweep:
    """Take the nodes offline that have been silent for too long.

    `now` is for tests; without it the database's clock counts. Idempotent, and safe beside ingest
    and beside itself. Raises DatabaseUnavailable, then with some pages done.
    """
    threshold = config.node_offline_seconds
    with database.reading() as conn:
        now, watches = read_watches(conn, now)
    watched = max((watch.seconds for watch in watches), default=None)
    since = silent_since(watches, threshold)
    if since is None:
        return Sweep(0, 0, watched)
    verdict = Verdict(now, since, threshold, f"No snapshot for {go_duration(threshold)}")
    offline = errors = 0
    for page in _pages(database, since):
        marked, failures = _mark_page(database, [node.node_id for node in page], verdict)
        offline += len(marked)
        errors += failures
        for node in marked:
            logger.warning(
                "Node offline: %s",
                node.node_id,
                extra={"node_id": node.node_id, "silent_seconds": round(node.silent_seconds, 1)},
            )
    return Sweep(offline, errors, watched)


def _pages(database: Database, since: datetime) -> Iterator[list[SilentNode]]:
    """The silent nodes in pages. By key and not anew each time: some may stay as they are."""
    after: SilentNode | None = None
    while True:
        with database.reading() as conn:
            page = store.read_silent_nodes(conn, since, after=after, limit=PAGE_NODES)
        if page:
            yield page
        if len(page) < PAGE_NODES:
            return
        after = page[-1]


def _mark_page(
    database: Database, node_ids: Sequence[str], verdict: Verdict
) -> tuple[list[OfflineNode], int]:
    """Mark some nodes in one transaction; halve them until one that cannot be changed is alone."""
    try:
        with database.transaction() as conn:
            return store.mark_nodes_offline(conn, node_ids, verdict), 0
    except Unavailable:
        raise
    except Exception:
        if len(node_ids) == 1:
            logger.exception("the silent node %s cannot be changed", node_ids[0])
            return [], 1
    middle = len(node_ids) // 2
    marked, errors = _mark_page(database, node_ids[:middle], verdict)
    more, more_errors = _mark_page(database, node_ids[middle:], verdict)
    return marked + more, errors + more_errors
