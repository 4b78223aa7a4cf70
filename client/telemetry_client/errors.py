"""The exceptions that this package raises."""

from __future__ import annotations


class TelemetryError(Exception):
    """The base of this package's exceptions."""


class QueueError(TelemetryError):
    """A queue's file cannot be used; the message names it and says why."""


class DiskFull(QueueError):
    """A queue's file cannot be written because its disk is full, or failing. It may be readable."""


class SearchTooLong(Exception):
    """A regular expression of the user takes too long for a line of a tool's output."""
