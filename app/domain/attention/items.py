"""An item of attention: something that an operator should know, with its evidence."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, get_args

Kind = Literal[
    "silent",
    "hung",
    "failed",
    "suspicious",
    "unusual",
    "overdue",
    "overlapping",
    "slow",
    "node_offline",
    "node_limit",
    "clock",
    "losing",
    "hub",
]
KINDS: tuple[Kind, ...] = get_args(Kind)
Severity = Literal["critical", "warning", "info"]
SEVERITIES: tuple[Severity, ...] = get_args(Severity)  # worst first

ADVICE: dict[Kind, str] = {
    "silent": "Check that the sender and its machine are running and can reach the hub.",
    "hung": "Check the program on its machine: it reports, but moves nothing.",
    "failed": "Read the error and the events of the run, and start it again.",
    "suspicious": "Check that the copy is complete, for example with a test restore.",
    "unusual": "Check whether the data changed as much, and whether the source was complete.",
    "overdue": "Check that the job is still scheduled and that its machine is running.",
    "overlapping": "Check why the job was started again before it had ended.",
    "slow": "Check the network, the repository and what else uses them.",
    "node_offline": "Check that the node is running, and its agent.",
    "node_limit": "Free space or memory on the node, or move work to another one.",
    "clock": "Check that the sender's machine synchronises its clock (NTP).",
    "losing": "Check the sender's connection to the hub, and the size of its queue.",
    "hub": "See GET /api/v1/health and the hub's log.",
}


@dataclass(frozen=True, slots=True)
class About:
    """What an item is about. `job_id`: the key of a run."""

    series_id: int | None = None
    job_id: str | None = None
    node_id: str | None = None
    vm_name: str | None = None
    job_type: str | None = None
    repository_id: str | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """A condition that holds. `subject` identifies it among the open items of its kind.

    `summary` is a sentence, `evidence` the numbers behind it. Neither changes merely because time
    passes, so that an item changes only when what it says does; with `keeps_numbers` they are those
    of the moment when it was noticed.
    """

    kind: Kind
    severity: Severity
    subject: str
    since: datetime
    summary: str
    about: About = About()
    evidence: dict[str, Any] = field(default_factory=dict)
    keeps_numbers: bool = False

    @property
    def key(self) -> tuple[str, str]:
        """What identifies an open item."""
        return self.kind, self.subject

    @property
    def rank(self) -> int:
        """Of its severity: 1 is the worst."""
        return SEVERITIES.index(self.severity) + 1

    @property
    def advice(self) -> str:
        """What to check."""
        return ADVICE[self.kind]
