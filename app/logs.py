"""Logging: one JSON object per line on standard error."""

from __future__ import annotations

import logging
import sys
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

import orjson

from app.clock import isoformat

# The X-Request-ID of the current request; empty outside of one.
request_id: ContextVar[str] = ContextVar("request_id", default="")

# The attributes of every record; all others were passed as `extra=`.
_ORDINARY = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonFormatter(logging.Formatter):
    """A record as one line: ts, level, logger, message, request_id, extra fields, exception.

    A value that JSON cannot represent is written as text, so it does not raise. JSON escapes line
    breaks, so no input can forge a second line.
    """

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "ts": isoformat(datetime.fromtimestamp(record.created, UTC)),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if current := request_id.get():
            line["request_id"] = current
        for name, value in vars(record).items():
            if name not in _ORDINARY:
                line.setdefault(name, value)
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        if record.stack_info:
            line["stack"] = record.stack_info
        return _dump(line)


def configure_logging(level: str) -> None:
    """Write records of `level` and above to standard error as JSON. Safe to call again."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)


def _dump(line: dict[str, Any]) -> str:
    try:
        return orjson.dumps(line, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
    except (TypeError, ValueError):  # a lone surrogate, an integer past 64 bits, a cycle
        safe = {name: ascii(value)[:10_000] for name, value in line.items()}
        return orjson.dumps(safe).decode()
