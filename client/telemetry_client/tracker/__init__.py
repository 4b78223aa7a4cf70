"""The tracker of one job: what to tell the hub, when, and how it gets there."""

from telemetry_client.tracker.aggregator import ProgressAggregator
from telemetry_client.tracker.tracker import ProgressTracker, TrackerStats

__all__ = ["ProgressAggregator", "ProgressTracker", "TrackerStats"]
