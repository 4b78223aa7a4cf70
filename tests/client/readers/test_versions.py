"""Lines of other versions than those captured, and lines that lack what they should have."""

from __future__ import annotations

import json
from typing import Any

import pytest

from telemetry_client.progress import Progress
from telemetry_client.readers import Reader, plain_end
from telemetry_client.readers.borg import Borg
from telemetry_client.readers.rclone import Rclone
from telemetry_client.readers.restic import Restic
from telemetry_client.readers.rsync import Rsync


def feed(reader: Reader, *lines: dict[str, Any] | str) -> Progress:
    """The progress after these lines, fed as one stream."""
    for line in lines:
        text = line if isinstance(line, str) else json.dumps(line)
        reader.feed(text.encode() + b"\n", "stderr")
    return reader.progress


def status(**fields: Any) -> dict[str, Any]:
    return {"message_type": "status", "percent_done": 0.5, **fields}


def test_restic_0_18_names_its_fatal_error_in_json() -> None:
    reader = Restic()
    feed(reader, {"message_type": "exit_error", "code": 12, "message": "Fatal: wrong password"})
    assert reader.end(12).error == "restic exited with 12: Fatal: wrong password"


def test_restic_0_18_words_an_error_of_a_file() -> None:
    fields = {"message_type": "error", "error": {"message": "lstat /a: gone"}, "item": "/a"}
    assert feed(Restic(), fields).error == "lstat /a: gone"


def test_only_the_first_error_travels_while_restic_runs() -> None:
    errors = [
        {"message_type": "error", "error": {"message": f"bad {n}"}, "item": "/a"} for n in range(9)
    ]
    reader = Restic()
    assert feed(reader, *errors).error == "/a: bad 0"
    assert "bad 8" in (reader.end(3).error or "")


def test_restic_restores_bytes_that_it_has_counted_before() -> None:
    progress = feed(Restic(), status(total_bytes=100, bytes_restored=40, files_restored=2))
    assert (progress.bytes_transferred, progress.total_bytes) == (40, 100)
    reader = Restic()
    feed(reader, {"message_type": "summary", "total_bytes": 100, "bytes_restored": 100})
    assert reader.end(0).progress.bytes_transferred == 100


def test_restic_that_only_uploads_has_counted() -> None:
    """It reads faster than it uploads: no time left is estimated then."""
    reader = Restic()
    lines = [status(total_bytes=100, bytes_done=100, seconds_elapsed=s) for s in (1, 2, 3)]
    assert feed(reader, *lines[:2]).total_bytes is None
    assert feed(reader, lines[2]).total_bytes == 100
    assert reader.progress.phase == "finalizing"


def test_restic_without_a_scan_has_no_total() -> None:
    lines = [status(bytes_done=n * 10, seconds_elapsed=n) for n in range(9)]
    assert feed(Restic(), *lines).total_bytes is None


@pytest.mark.parametrize("fields", [{}, {"bytes_done": "many"}, {"bytes_done": -1}])
def test_restic_lines_without_numbers_say_nothing_wrong(fields: dict[str, Any]) -> None:
    progress = feed(Restic(), status(**fields))
    assert progress.bytes_transferred in (0, None)


def test_rclone_without_a_total_has_none() -> None:
    progress = feed(Rclone(), {"level": "notice", "stats": {"bytes": 10}})
    assert (progress.bytes_transferred, progress.total_bytes) == (10, None)


def test_the_speed_of_rclone_is_a_mean_and_not_taken() -> None:
    progress = feed(Rclone(), {"stats": {"bytes": 10, "totalBytes": 20, "speed": 3.5, "eta": 4}})
    assert (progress.speed_bps, progress.eta_seconds) == (None, 4)


def test_rclone_that_had_nothing_to_do_has_not_failed() -> None:
    assert Rclone().end(9).status == "completed"


@pytest.mark.parametrize(
    ("exit_status", "expected"),
    [(0, "completed"), (1, "completed"), (2, "failed"), (100, "completed"), (13, "failed")],
)
def test_the_exit_codes_of_borg(exit_status: int, expected: str) -> None:
    end = Borg().end(exit_status)
    assert end.status == expected
    assert (end.error is None) == (exit_status == 0)


def test_borg_has_no_exit_code_for_an_interrupt() -> None:
    reader = Borg()
    feed(reader, {"type": "log_message", "levelname": "ERROR", "message": "Got Ctrl-C / SIGINT."})
    assert reader.end(2).status == "cancelled"


@pytest.mark.parametrize(
    ("exit_status", "expected"),
    [(24, "completed"), (23, "failed"), (20, "cancelled"), (12, "failed"), (-2, "cancelled")],
)
def test_the_exit_codes_of_rsync(exit_status: int, expected: str) -> None:
    end = Rsync().end(exit_status)
    assert end.status == expected
    assert end.error is not None


def test_names_of_files_are_no_words_of_rsync() -> None:
    reader = Rsync()
    reader.feed(b"sending incremental file list\nsome/file\n", "stdout")
    assert reader.end(11).error == "rsync exited with 11"


def test_rsync_is_not_done_while_it_runs() -> None:
    progress = feed(Rsync(), "  1,000 100%    1.00MB/s    0:00:00")
    assert progress.percent == 99.0


@pytest.mark.parametrize(
    ("exit_status", "expected", "error"),
    [
        (0, "completed", None),
        (7, "failed", "tar exited with 7"),
        (130, "cancelled", "tar exited with 130"),
        (-15, "cancelled", "tar was ended by SIGTERM"),
        (-9, "failed", "tar was ended by SIGKILL"),
        (-50, "failed", "tar was ended by signal 50"),
    ],
)
def test_the_end_of_any_tool(exit_status: int, expected: str, error: str | None) -> None:
    end = plain_end("tar", exit_status)
    assert (end.status, end.error) == (expected, error)
