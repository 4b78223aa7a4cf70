"""Stores node snapshots in one transaction: all in the series, the newest in the node's row."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence

from app.database.pool import Connection
from app.domain import timestamps
from app.domain.clocks import latest
from app.domain.repeats import find_repeats
from app.domain.snapshots import Snapshot
from app.ingest.transaction import DAY, Outcome, Receipt, has_old
from app.store import snapshots as store
from app.store.ingest import limit_lock_waits
from app.store.node_states import mark_nodes_online

logger = logging.getLogger("hub.nodes")


def store_snapshots(
    conn: Connection, snapshots: Sequence[Snapshot], late_days: int
) -> list[Outcome]:
    """Store snapshots; return a receipt for each, in order. The caller commits.

    As with updates, a repeat is stored once, and an implausible timestamp is shifted by the node's
    clock offset. A new snapshot brings an offline node back online.
    """
    locked = store.lock_nodes(conn, {snapshot.node_id for snapshot in snapshots})
    now, offsets = locked.now, locked.offsets
    for node_id, newest in locked.newest.items():
        if newest > latest(now):  # stored while the hub's clock was ahead
            store.return_snapshots_from_future(conn, node_id, latest(now))
            offsets[node_id] = None
    if has_old(snapshots, now):
        limit_lock_waits(conn)
    late_horizon = max(now - late_days * DAY, locked.dropped_before)
    for position, snapshot in enumerate(snapshots):
        if snapshot.timestamp is None:
            snapshot.time = now + position  # two in one transaction are not repeats
        else:
            offset = offsets[snapshot.node_id]
            offsets[snapshot.node_id] = timestamps.place(snapshot, now, late_horizon, offset)
    wanted = {(s.node_id, s.time) for s in snapshots}
    wanted |= {(s.node_id, s.timestamp) for s in snapshots if s.timestamp is not None}
    repeats = find_repeats(snapshots, store.find_snapshots(conn, wanted))
    pairs = list(zip(snapshots, repeats, strict=True))
    receipts: list[Outcome] = [
        _receipt(first or snapshot, is_duplicate=first is not None, now=now)
        for snapshot, first in pairs
    ]
    new = [snapshot for snapshot, first in pairs if first is None]
    if new:
        store.insert_snapshots(conn, new, now)
        oldest = _earliest_times(new)
        _mark_online(conn, locked.offline & oldest.keys(), now)
        store.update_nodes(conn, oldest, offsets, now)
        lost = _losses(new)
        if lost:
            store.count_lost(conn, lost, now)
    return receipts


def _earliest_times(snapshots: Iterable[Snapshot]) -> dict[str, int]:
    """The time of the earliest snapshot of each node."""
    earliest: dict[str, int] = {}
    for snapshot in snapshots:
        earliest[snapshot.node_id] = min(
            snapshot.time, earliest.get(snapshot.node_id, snapshot.time)
        )
    return earliest


def _losses(snapshots: Iterable[Snapshot]) -> dict[str, int]:
    """How many snapshots each node has lost before these; only nodes that have."""
    lost: dict[str, int] = {}
    for snapshot in snapshots:
        if snapshot.lost:
            lost[snapshot.node_id] = lost.get(snapshot.node_id, 0) + snapshot.lost
    return lost


def _mark_online(conn: Connection, node_ids: set[str], now: int) -> None:
    """Mark offline nodes online, before their rows show this snapshot."""
    if not node_ids:
        return
    mark_nodes_online(conn, sorted(node_ids), now)
    for node_id in sorted(node_ids):
        # Logged before the commit: if that fails, it is logged again with the repeat.
        logger.info("Node online: %s", node_id, extra={"node_id": node_id})


def _receipt(stored: Snapshot, *, is_duplicate: bool, now: int) -> Receipt:
    reason = "the same snapshot is already stored" if is_duplicate else None
    return Receipt("stored", is_duplicate, not is_duplicate, reason, stored.time, now)
