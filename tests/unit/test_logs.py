"""Log lines: JSON, one a record, whatever is in it."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from app.logs import JsonFormatter, configure_logging, request_id


def line(message: str, *args: Any, exc_info: Any = None, **extra: Any) -> dict[str, Any]:
    """The record as it is written, parsed again."""
    record = logging.LogRecord("hub.test", logging.INFO, "f.py", 1, message, args, exc_info)
    vars(record).update(extra)
    text = JsonFormatter().format(record)
    assert "\n" not in text
    parsed: dict[str, Any] = json.loads(text)
    return parsed


def test_a_record_is_one_object() -> None:
    written = line("stored %d", 3)
    assert written["level"] == "INFO"
    assert written["logger"] == "hub.test"
    assert written["message"] == "stored 3"
    assert written["ts"].endswith("Z")


def test_extra_fields_stand_beside_the_message() -> None:
    assert line("x", accepted=2)["accepted"] == 2


def test_extra_fields_cannot_replace_what_every_line_has() -> None:
    assert line("x", ts="never")["ts"] != "never"


def test_a_line_break_from_a_sender_stays_inside_its_line() -> None:
    assert line("job %s", 'a\n{"level":"ERROR"}')["message"] == 'job a\n{"level":"ERROR"}'


def test_an_exception_is_text() -> None:
    try:
        raise ValueError("boom")
    except ValueError as exc:
        written = line("x", exc_info=(type(exc), exc, exc.__traceback__))
    assert "ValueError: boom" in written["exception"]


@pytest.mark.parametrize("value", [object(), {1, 2}, 10**30, "\ud800", {(1, 2): 3}, b"\xff"])
def test_values_that_json_lacks_are_written_as_text(value: Any) -> None:
    assert line("x", value=value)["value"]


def test_the_request_is_named_while_it_lasts() -> None:
    token = request_id.set("r-1")
    try:
        assert line("x")["request_id"] == "r-1"
    finally:
        request_id.reset(token)
    assert "request_id" not in line("x")


@pytest.fixture
def root_logger() -> Iterator[logging.Logger]:
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield root
    root.handlers = handlers
    root.setLevel(level)


def test_configuring_twice_writes_each_record_once(root_logger: logging.Logger) -> None:
    configure_logging("INFO")
    configure_logging("WARNING")
    assert len(root_logger.handlers) == 1
    assert root_logger.level == logging.WARNING
