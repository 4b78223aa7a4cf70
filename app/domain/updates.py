"""What a sender reports: one update of a job, with its disks. Data only, no rules of state."""

from __future__ import annotations

from dataclasses import dataclass, field

from app.domain.fields import Value
from app.domain.statuses import END_STATUSES

Fields = dict[str, Value]


@dataclass(frozen=True, slots=True)
class Ping:
    """What a ping says besides its status.

    `run_name`: what its sender calls the run, or empty. `output`: the last words of the job.
    `is_log`: it says nothing else, and becomes an event only.
    """

    run_name: str = ""
    output: str = ""
    is_log: bool = False


@dataclass(slots=True)
class Update:
    """One update, with only the fields that it names.

    Instants are whole microseconds since the epoch. `timestamp` is the sender's own, or None;
    `time` is when the series stores it (different for a shifted update); `seq` tells apart
    different updates of one instant. `notes` are warnings about this update alone, code to
    sentence. `lost_updates`: how many the sender dropped before it; ignored in `content`.
    `is_start`: the sender names it the first of a run; ignored likewise, as is `interval`: how
    often the sender reports (s), 0 if it does not say, and `ping`. `run`: the run that it belongs
    to (`app.domain.runs.run_key`).
    """

    job_type: str
    job_id: str
    status: str
    timestamp: int | None = None
    fields: Fields = field(default_factory=dict)
    disks: dict[int, Fields] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    is_telemetry: bool = True
    time: int = 0
    seq: int = 0
    sender_time: int | None = None
    lost_updates: int = 0
    is_start: bool = False
    interval: int = 0
    run: str = ""
    ping: Ping | None = None

    @property
    def run_name(self) -> str:
        """What its sender calls the run; empty if the time decides which one it is."""
        return "" if self.ping is None else self.ping.run_name

    @property
    def sender(self) -> str:
        """The run whose sender's clock gave `timestamp`."""
        return self.run

    @property
    def is_end(self) -> bool:
        return self.status in END_STATUSES

    def content(self) -> str:
        """What it reports of the job, without instants, as text: equal only for equal updates."""
        disks = [(index, sorted(named.items())) for index, named in sorted(self.disks.items())]
        return repr((self.status, sorted(self.fields.items()), disks))

    def tie_key(self) -> tuple[bool, Value, str]:
        """Order among updates of one instant, the winner last: ends, then more bytes, then content.

        Comparing content as text is arbitrary, but independent of the order of arrival.
        """
        return self.is_end, self.fields.get("bytes_transferred", -1), self.content()
