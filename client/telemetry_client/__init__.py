"""Sends the progress of jobs and the health of nodes to the Telemetry Hub."""

from __future__ import annotations

from telemetry_client.errors import QueueError, TelemetryError
from telemetry_client.progress import DiskProgress, Progress
from telemetry_client.queue import DeadLetter, Drain, Entry, MemoryQueue, Queue, TelemetryQueue
from telemetry_client.settings import Settings, job_type_of
from telemetry_client.tracker import (
    ProgressAggregator,
    ProgressTracker,
    TelemetryHandler,
    TrackerStats,
    cancel_on_sigterm,
    current_tracker,
    rich_source,
    tqdm_source,
    track,
    tracked,
)
from telemetry_client.wire.client import HealthReport, TelemetryClient
from telemetry_client.wire.names import new_job_id
from telemetry_client.wire.poster import TelemetryPoster
from telemetry_client.wire.results import Accepted, Refused, Rejection, Result, Unreachable

__version__ = "0.1.0"

__all__ = [
    "Accepted",
    "DeadLetter",
    "DiskProgress",
    "Drain",
    "Entry",
    "HealthReport",
    "MemoryQueue",
    "Progress",
    "ProgressAggregator",
    "ProgressTracker",
    "Queue",
    "QueueError",
    "Refused",
    "Rejection",
    "Result",
    "Settings",
    "TelemetryClient",
    "TelemetryError",
    "TelemetryHandler",
    "TelemetryPoster",
    "TelemetryQueue",
    "TrackerStats",
    "Unreachable",
    "cancel_on_sigterm",
    "current_tracker",
    "job_type_of",
    "new_job_id",
    "rich_source",
    "tqdm_source",
    "track",
    "tracked",
]
