"""What a program logs as an error is an error of its job."""

from __future__ import annotations

import logging

from telemetry_client.tracker.current import current_tracker
from telemetry_client.tracker.tracker import ProgressTracker

# What these log is about telemetry, not about the job.
_OWN = frozenset({"telemetry_client", "urllib3"})


class TelemetryHandler(logging.Handler):
    """Reports log records as errors that do not end the job: by default of ERROR and above.

    Without a tracker it uses `current_tracker()`, which threads do not inherit.
    """

    def __init__(
        self, tracker: ProgressTracker | None = None, level: int | str = logging.ERROR
    ) -> None:
        super().__init__(level)
        self._tracker = tracker

    def emit(self, record: logging.LogRecord) -> None:
        """Store the record; takes microseconds and raises nothing."""
        if record.name.partition(".")[0] in _OWN:
            return
        tracker = self._tracker or current_tracker()
        if tracker is None:
            return
        try:
            tracker.report_error(self.format(record))
        except Exception:
            self.handleError(record)

    def format(self, record: logging.LogRecord) -> str:
        """The message and the exception without its traceback, unless a formatter is set."""
        if self.formatter is not None:
            return self.formatter.format(record)
        message = record.getMessage()
        exc = record.exc_info[1] if record.exc_info else None
        return message if exc is None else f"{message}: {type(exc).__name__}: {exc}"
