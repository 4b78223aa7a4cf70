"""The sender's queue as plain lists, with its rules and none of its SQL."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

DAY = 86_400.0
MAX_AGE = 28 * DAY
LEASE = 60.0
TRIES = 3
WAIT = 10.0  # after a failure


@dataclass
class Row:
    """One payload. `owner`: who has leased it, as long as `until` is to come."""

    id: int
    payload: dict[str, Any]
    rank: int
    queued_at: float
    owner: str | None = None
    until: float = 0.0
    tries: int = 0
    is_fixed: bool = False  # it was handed out once, and never changes again
    died_at: float = 0.0

    @property
    def stream(self) -> Any:
        if node_id := self.payload.get("node_id"):
            return f"node/{node_id}"
        return self.payload.get("job_id")


def _loss_field(payload: dict[str, Any]) -> str:
    return "lost_updates" if "job_id" in payload else "lost_snapshots"


@dataclass
class QueueModel:
    """`now` is the one clock."""

    size: int
    now: float = 1_000_000_000.0
    rows: list[Row] = field(default_factory=list)  # by id
    dead: list[Row] = field(default_factory=list)
    untold: Counter[str] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)
    last_id: int = 0

    def row(self, row_id: int) -> Row | None:
        return next((row for row in self.rows if row.id == row_id), None)

    def is_held(self, row: Row) -> bool:
        return row.until > self.now

    def is_leased(self, row: Row) -> bool:
        return row.owner is not None and self.is_held(row)

    def enqueue(self, owner: str, payload: dict[str, Any], important: bool, leased: bool) -> int:
        rank = 2 if payload.get("status", "running") != "running" else int(important)
        self.last_id += 1
        row = Row(self.last_id, dict(payload), rank, self.now, is_fixed=leased)
        if leased:
            row.owner, row.until = owner, self.now + LEASE
        self.rows.append(row)
        excess = len(self.rows) - self.size
        free = sorted((r for r in self.rows if not self.is_leased(r)), key=lambda r: (r.rank, r.id))
        # One stays where all others are leased.
        self.evict(free[: min(excess, len(free) - 1)] if excess > 0 else [], "evicted_by_count")
        return row.id

    def dequeue(self, owner: str, limit: int) -> list[Row]:
        old = [r for r in self.rows if r.queued_at < self.now - MAX_AGE and not self.is_leased(r)]
        self.evict(old, "evicted_by_age")
        ready: list[Row] = []
        blocked: set[Any] = set()
        for row in self.rows:
            if self.is_held(row):
                if row.owner != owner and row.stream is not None:
                    blocked.add(row.stream)
            elif row.stream not in blocked and len(ready) < limit:
                ready.append(row)
        for row in ready:
            row.owner, row.until, row.is_fixed = owner, self.now + LEASE, True
        return ready

    def evict(self, rows: list[Row], why: str) -> None:
        """Each leaves word to the next one of its job or node that may still be changed."""
        for row in rows:
            self.rows.remove(row)
            if row.stream is not None:
                lost = 1 + row.payload.get(_loss_field(row.payload), 0)
                later = (r for r in self.rows if r.stream == row.stream and r.id > row.id)
                successor = next((r for r in later if not r.is_fixed and not r.tries), None)
                if successor is None:
                    self.untold[row.stream] += lost
                else:
                    field = _loss_field(successor.payload)
                    successor.payload[field] = successor.payload.get(field, 0) + lost
        self.counts[why] += len(rows)

    def acknowledge(self, row_ids: list[int]) -> None:
        gone = [row for row in self.rows if row.id in row_ids]
        self.rows = [row for row in self.rows if row not in gone]
        self.counts["sent_total"] += len(gone)

    def release(self, owner: str, row_id: int) -> None:
        row = self.row(row_id)
        if row is not None and row.owner == owner:
            row.owner, row.until = None, 0.0

    def fail(self, owner: str, row_id: int) -> None:
        row = self.mine_or_free(owner, row_id)
        if row is None:
            return
        self.counts["failed_total"] += 1
        row.tries += 1
        if row.tries >= TRIES:
            self.bury(row)
        else:
            row.owner, row.until = None, self.now + WAIT

    def kill(self, owner: str, row_id: int) -> None:
        row = self.mine_or_free(owner, row_id)
        if row is not None:
            self.bury(row)

    def mine_or_free(self, owner: str, row_id: int) -> Row | None:
        row = self.row(row_id)
        return None if row and self.is_leased(row) and row.owner != owner else row

    def bury(self, row: Row) -> None:
        row.died_at = self.now
        self.rows.remove(row)
        self.dead.append(row)
        self.dead.sort(key=lambda r: (r.died_at, r.id), reverse=True)
        self.counts["dead_total"] += 1
        self.counts["dead_dropped"] += len(self.dead[self.size :])
        del self.dead[self.size :]

    def replay(self, wanted: set[int] | None) -> int:
        room = max(0, self.size - len(self.rows))
        named = sorted((r for r in self.dead if wanted is None or r.id in wanted), key=_id)
        for row in named[:room]:
            self.dead.remove(row)
            row.owner, row.until, row.tries, row.is_fixed = None, 0.0, 0, True
            row.queued_at = self.now
            self.rows.append(row)
        self.rows.sort(key=_id)
        return len(named[:room])


def _id(row: Row) -> int:
    return row.id
