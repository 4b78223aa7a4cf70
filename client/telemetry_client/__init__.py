"""Pushes the progress of jobs and the health of nodes to the Telemetry Hub."""

from __future__ import annotations

from telemetry_client.aggregator import ProgressAggregator
from telemetry_client.client import HealthReport, TelemetryClient
from telemetry_client.drain import Drain
from telemetry_client.errors import QueueError, TelemetryError
from telemetry_client.poster import TelemetryPoster
from telemetry_client.queue import DeadLetter, Entry, TelemetryQueue
from telemetry_client.results import Accepted, Refused, Rejection, Result, Unreachable
from telemetry_client.settings import Settings, job_type_of
from telemetry_client.tracker import ProgressTracker, TrackerStats
from telemetry_client.updates import DiskProgress, Progress

__version__ = "0.1.0"

__all__ = [
    "Accepted",
    "DeadLetter",
    "DiskProgress",
    "Drain",
    "Entry",
    "HealthReport",
    "Progress",
    "ProgressAggregator",
    "ProgressTracker",
    "QueueError",
    "Refused",
    "Rejection",
    "Result",
    "Settings",
    "TelemetryClient",
    "TelemetryError",
    "TelemetryPoster",
    "TelemetryQueue",
    "TrackerStats",
    "Unreachable",
    "job_type_of",
]
