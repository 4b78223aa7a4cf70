"""The tracker of one job: what to tell the hub, when, and how it gets there."""

from telemetry_client.tracker.aggregator import ProgressAggregator
from telemetry_client.tracker.bars import rich_source, tqdm_source
from telemetry_client.tracker.current import current_tracker
from telemetry_client.tracker.decorator import tracked
from telemetry_client.tracker.log_handler import TelemetryHandler
from telemetry_client.tracker.loop import track
from telemetry_client.tracker.signals import cancel_on_sigterm
from telemetry_client.tracker.tracker import ProgressTracker, TrackerStats

__all__ = [
    "ProgressAggregator",
    "ProgressTracker",
    "TelemetryHandler",
    "TrackerStats",
    "cancel_on_sigterm",
    "current_tracker",
    "rich_source",
    "tqdm_source",
    "track",
    "tracked",
]
