"""Node snapshots: one set of the metrics of a node, as flat fields."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class Snapshot:
    """One set of a node's metrics, only those reported. Instants as in `Update`.

    `notes`: why values were changed or not kept, by metric. `lost`: how many its sender had to drop
    before it; not part of what it reports.
    """

    node_id: str
    timestamp: int | None = None
    metrics: dict[str, int | float] = field(default_factory=dict)
    time: int = 0
    seq: int = 0
    sender_time: int | None = None
    notes: dict[str, list[str]] = field(default_factory=dict)
    lost: int = 0

    @property
    def sender(self) -> str:
        """The sender whose clock gave `timestamp`."""
        return self.node_id

    def content(self) -> str:
        """The metrics as text: equal only for equal snapshots."""
        return repr(sorted((name, float(value)) for name, value in self.metrics.items()))
