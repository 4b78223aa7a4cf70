"""What every queue of unsent telemetry does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

LEASE_SECONDS = 60.0  # several times what one batch can take


@dataclass(frozen=True)
class Entry:
    """One payload to send. Also usable as a mapping: `entry["id"]`, `entry["retry_count"]`."""

    id: int
    payload: dict[str, Any]
    tries: int  # used so far
    queued_at: float  # seconds since the epoch

    def __getitem__(self, key: str) -> Any:
        name = "tries" if key == "retry_count" else key
        if name not in ("id", "payload", "tries", "queued_at"):
            raise KeyError(key)
        return getattr(self, name)


@dataclass(frozen=True)
class DeadLetter:
    """One payload that will not be sent any more, and why."""

    id: int
    payload: dict[str, Any]
    reason: str
    died_at: float  # seconds since the epoch
    tries: int


class Queue(Protocol):
    """Payloads to send, first in first out, at least once. Thread-safe.

    A payload belongs to the stream of its `job_id`, or of its `node_id`; each stream is sent in
    order. A full queue evicts ordinary updates first, then changes of state, then ends of jobs, the
    oldest of each first, and never a leased entry. What is evicted is counted: in `lost_updates` or
    `lost_snapshots` of a later entry of the stream, or for `take_losses`.
    """

    def enqueue(
        self, payload: Mapping[str, Any], *, important: bool = False, leased: bool = False
    ) -> int:
        """Add a payload and return its id; ids ascend and are never reused.

        `important`: a change of state. `leased`: the caller sends it itself and then calls
        `mark_sent` or `release`; until the lease ends it is not handed out.
        """
        ...

    def dequeue(self, limit: int = 10, *, after: int = 0) -> list[Entry]:
        """Lease the oldest entries that may be sent now, oldest first; only ids above `after`.

        They are not handed out again until they are released or their lease ends. A stream does not
        go beyond its first entry that waits, or that another thread or process has leased.
        """
        ...

    def seconds_until_ready(self) -> float | None:
        """Seconds until an entry may be sent: 0 for now, None if the queue is empty."""
        ...

    def mark_sent(self, entry_id: int) -> None:
        """Remove an entry that the hub has stored."""
        ...

    def acknowledge(self, entry_ids: Sequence[int]) -> None:
        """`mark_sent` for many entries."""
        ...

    def release(self, entry_id: int) -> None:
        """Give back a lease without using a try, as after an outage."""
        ...

    def release_all(self, entry_ids: Sequence[int]) -> None:
        """`release` for many entries."""
        ...

    def mark_failed(self, entry_id: int, max_retries: int = 3, *, reason: str = "") -> None:
        """Use up a try: the entry waits, with full jitter, and is given up after the last one."""
        ...

    def mark_dead(self, entry_id: int, reason: str) -> None:
        """Give up an entry that the hub will never accept."""
        ...

    def get_queue_size(self) -> int:
        """How many entries are still to be sent, including leased ones."""
        ...

    def take_losses(self, stream: str) -> int:
        """How many of a job's updates or a node's snapshots (`node/<id>`) were evicted and not
        reported yet; resets the count.
        """
        ...

    def close(self) -> None:
        """Release what the queue holds open; leased entries come back when their lease ends."""
        ...
