"""What this package raises on purpose. Imports nothing of ours."""

from __future__ import annotations


class TelemetryError(Exception):
    """Telemetry could not be handled."""


class QueueError(TelemetryError):
    """The queue's file cannot be used; the message names it and says why."""
