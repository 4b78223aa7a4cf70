"""The only definition of the fields that senders report: name, type and meaning.

The columns in the statements of app/store/sql, the structs and schemas that read a push, the
metrics of GET /nodes and the registers of a job are derived from it. To add a field:

1. Write a migration that adds the column: for a job to `jobs` (NOT NULL with the field's default,
   unless that is None) and `job_telemetry`, for a disk to `job_disks` and `disk_telemetry`, for a
   node to `nodes`, `node_telemetry` and, with five columns, both of its rollups.
2. Add a line here: at the end of JOB_FIELDS and DISK_FIELDS, whose order is that of `field_times`.
3. Show it: in `app.store.jobs.Job` and `app.schemas.jobs` (the API's answers), in
   migrations/repeatable/ (analysts' views and comments), and on the dashboard.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

Value = int | float | str


class Kind(Enum):
    """The values that a field takes. Numbers are never negative."""

    INTEGER = auto()  # at most 2**63 - 1
    NUMBER = auto()
    PERCENT = auto()  # at most 100
    TEXT = auto()
    LABEL = auto()  # a text of at most 255 characters
    IDENTITY = auto()  # a label that, when empty, counts as absent
    DISK_STATUS = auto()

    @property
    def sql_type(self) -> str:
        """The type of its column."""
        if self is Kind.INTEGER:
            return "bigint"
        return "double precision" if self in (Kind.NUMBER, Kind.PERCENT) else "text"


@dataclass(frozen=True, slots=True)
class Field:
    """One field. `default`: what the row of a job or disk shows until a sender reports the field.

    `sent_as`: its name in a push, where that is not the column's.
    """

    kind: Kind
    description: str
    default: Value | None = None
    sent_as: str | None = None


_BYTES_DONE = Field(Kind.INTEGER, "Bytes moved so far.", 0)
_BYTES_IN_ALL = Field(Kind.INTEGER, "Bytes to move in all.", 0)
_SPEED = Field(Kind.INTEGER, "Speed, in BYTES per second.", 0)
_PROGRESS = Field(
    Kind.PERCENT, "Progress, 0 to 100; more is stored as 100 with a warning.", default=0.0
)

JOB_FIELDS = {
    "current_phase": Field(
        Kind.LABEL, "Phase, such as snapshot, transferring, finalizing.", default="pending"
    ),
    "bytes_transferred": _BYTES_DONE,
    "total_bytes": _BYTES_IN_ALL,
    "transfer_speed_bps": _SPEED,
    "eta_seconds": Field(Kind.INTEGER, "The sender's estimate of the seconds left.", 0),
    "progress_percent": _PROGRESS,
    "error_message": Field(
        Kind.TEXT, "What went wrong; kept as the job's error_message.", sent_as="error"
    ),
    "vm_name": Field(Kind.IDENTITY, "Machine the job is about."),
    "repository_id": Field(Kind.IDENTITY, "Where the job writes to."),
    "backup_type": Field(Kind.IDENTITY, "Kind of backup, such as full or incremental."),
}
IDENTITY_FIELDS = {n: field for n, field in JOB_FIELDS.items() if field.kind is Kind.IDENTITY}

DISK_FIELDS = {
    "status": Field(Kind.DISK_STATUS, "State of the disk.", default="pending"),
    "bytes_transferred": _BYTES_DONE,
    "total_bytes": _BYTES_IN_ALL,
    "transfer_speed_bps": _SPEED,
    "progress_percent": _PROGRESS,
    "error_message": Field(Kind.TEXT, "What went wrong with this disk."),
}

METRICS = {
    "cpu_percent": Field(Kind.NUMBER, "Percent of one core or of all, as the collector counts."),
    "memory_percent": Field(Kind.PERCENT, "Percent of the memory in use."),
    "memory_used_mb": Field(Kind.NUMBER, "Memory in use, megabytes of 1024² bytes."),
    "memory_total_mb": Field(Kind.NUMBER, "Memory, megabytes of 1024² bytes."),
    "disk_percent": Field(Kind.PERCENT, "Percent of the disk in use."),
    "disk_used_gb": Field(Kind.NUMBER, "Disk in use, gigabytes of 1024³ bytes."),
    "disk_total_gb": Field(Kind.NUMBER, "Disk, gigabytes of 1024³ bytes."),
    "network_rx_bytes": Field(Kind.INTEGER, "Bytes received since the node started."),
    "network_tx_bytes": Field(Kind.INTEGER, "Bytes sent since the node started."),
    "network_rx_rate_mbps": Field(Kind.NUMBER, "Receiving, MEGABYTES per second."),
    "network_tx_rate_mbps": Field(Kind.NUMBER, "Sending, MEGABYTES per second."),
    "uptime_seconds": Field(Kind.INTEGER, "Seconds since the node started; a fraction is cut off."),
    "process_count": Field(Kind.INTEGER, "Processes."),
    "active_connections": Field(Kind.INTEGER, "Open network connections."),
    "load_avg_1m": Field(Kind.NUMBER, "Load average of one minute."),
    "load_avg_5m": Field(Kind.NUMBER, "Load average of five minutes."),
    "load_avg_15m": Field(Kind.NUMBER, "Load average of fifteen minutes."),
}
