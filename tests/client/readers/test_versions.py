"""Lines of other versions than those captured, and lines that lack what they should have."""

from __future__ import annotations

import json
from typing import Any

import pytest

from telemetry_client.progress import Progress
from telemetry_client.readers import Reader, choose_reader
from telemetry_client.readers.tools.rclone import RcloneReader


def restic(command: str = "backup") -> Reader:
    return choose_reader(["restic", command, "--json", "a"]).reader


def borg() -> Reader:
    return choose_reader("borg --log-json --progress create ::a".split()).reader


def rsync(*flags: str) -> Reader:
    return choose_reader(["rsync", "--info=progress2", *flags, "a", "b"]).reader


def feed(reader: Reader, *lines: dict[str, Any] | str) -> Progress:
    """The progress after these lines, fed as one stream."""
    for line in lines:
        text = line if isinstance(line, str) else json.dumps(line)
        reader.feed(text.encode() + b"\n", "stderr")
    return reader.progress


def status(**fields: Any) -> dict[str, Any]:
    return {"message_type": "status", "percent_done": 0.5, **fields}


def test_restic_0_18_names_its_fatal_error_in_json() -> None:
    reader = restic()
    feed(reader, {"message_type": "exit_error", "code": 12, "message": "Fatal: wrong password"})
    assert reader.end(12).error == "restic exited with 12: Fatal: wrong password"


def test_restic_0_18_words_an_error_of_a_file() -> None:
    fields = {"message_type": "error", "error": {"message": "lstat /a: gone"}, "item": "/a"}
    assert feed(restic(), fields).error == "lstat /a: gone"


def test_only_the_first_error_travels_while_restic_runs() -> None:
    errors = [
        {"message_type": "error", "error": {"message": f"bad {n}"}, "item": "/a"} for n in range(9)
    ]
    reader = restic()
    assert feed(reader, *errors).error == "/a: bad 0"
    assert "bad 8" in (reader.end(3).error or "")


def test_restic_restores_bytes_that_it_has_counted_before() -> None:
    reader = restic("restore")
    progress = feed(reader, status(total_bytes=100, bytes_restored=40, files_restored=2))
    assert (progress.bytes_transferred, progress.total_bytes) == (40, 100)
    feed(reader, {"message_type": "summary", "total_bytes": 100, "bytes_restored": 100})
    assert reader.end(0).progress.bytes_transferred == 100


def test_restic_that_only_uploads_has_counted() -> None:
    """It reads faster than it uploads: no time left is estimated then."""
    reader = restic()
    lines = [status(total_bytes=100, bytes_done=100, seconds_elapsed=s) for s in (1, 2, 3)]
    assert feed(reader, *lines[:2]).total_bytes is None
    assert feed(reader, lines[2]).total_bytes == 100
    assert reader.progress.phase == "finalizing"


def test_restic_without_a_scan_has_no_total() -> None:
    lines = [status(bytes_done=n * 10, seconds_elapsed=n) for n in range(9)]
    assert feed(restic(), *lines).total_bytes is None


@pytest.mark.parametrize("fields", [{}, {"bytes_done": "many"}, {"bytes_done": -1}])
def test_restic_lines_without_numbers_say_nothing_wrong(fields: dict[str, Any]) -> None:
    progress = feed(restic(), status(**fields))
    assert progress.bytes_transferred in (0, None)


def test_rclone_without_a_total_has_none() -> None:
    progress = feed(RcloneReader(), {"level": "notice", "stats": {"bytes": 10}})
    assert (progress.bytes_transferred, progress.total_bytes) == (10, None)


def test_the_speed_of_rclone_is_a_mean_and_not_taken() -> None:
    progress = feed(
        RcloneReader(), {"stats": {"bytes": 10, "totalBytes": 20, "speed": 3.5, "eta": 4}}
    )
    assert (progress.speed_bps, progress.eta_seconds) == (None, 4)


def test_borg_has_no_exit_code_for_an_interrupt() -> None:
    reader = borg()
    feed(reader, {"type": "log_message", "levelname": "ERROR", "message": "Got Ctrl-C / SIGINT."})
    assert reader.end(2).status == "cancelled"


def test_names_of_files_are_no_words_of_rsync() -> None:
    reader = rsync()
    reader.feed(b"sending incremental file list\nsome/file\n", "stdout")
    assert reader.end(11).error == "rsync exited with 11: an error in file I/O"


def test_rsync_is_not_done_while_it_runs() -> None:
    progress = feed(rsync(), "  1,000 100%    1.00MB/s    0:00:00")
    assert progress.percent == 99.0


@pytest.mark.parametrize(
    ("exit_status", "expected", "error"),
    [
        (0, "completed", None),
        (7, "failed", "unknown exited with 7"),
        (130, "cancelled", "unknown exited with 130"),
        (-15, "cancelled", "unknown was ended by SIGTERM"),
        (-9, "failed", "unknown was ended by SIGKILL"),
        (-50, "failed", "unknown was ended by signal 50"),
    ],
)
def test_the_end_of_any_tool(exit_status: int, expected: str, error: str | None) -> None:
    end = choose_reader(["unknown"]).reader.end(exit_status)
    assert (end.status, end.error) == (expected, error)


def test_a_restore_that_restored_nothing_says_so() -> None:
    """restic leaves zeros out of its JSON."""
    reader = restic("restore")
    feed(reader, status(total_files=9, total_bytes=5_000_000_000))
    progress = feed(reader, {"message_type": "summary", "total_bytes": 5_000_000_000})
    assert progress.bytes_transferred == 0
    assert reader.end(0).error == "restic has completed with 0 of 5000000000 bytes"


def test_files_that_are_there_already_are_not_restored() -> None:
    reader = restic("restore")
    summary = {"message_type": "summary", "total_bytes": 100, "bytes_skipped": 70}
    progress = feed(reader, {**summary, "bytes_restored": 30})
    assert (progress.bytes_transferred, progress.total_bytes) == (30, 30)
    feed(reader, {**summary, "bytes_skipped": 100})
    end = reader.end(0)
    assert (end.progress.bytes_transferred, end.progress.total_bytes, end.error) == (0, None, None)


@pytest.mark.parametrize(
    ("fields", "eta"),
    [
        ({"seconds_remaining": 7}, 7),
        ({"seconds_remaining": 7, "total_bytes": 20}, 7),
        ({"seconds_remaining": 184467440737}, None),  # files grow: an overflow
        ({}, None),  # it stalls
        ({"seconds_remaining": 0}, None),
    ],
)
def test_a_time_left_that_cannot_be_is_unknown(fields: dict[str, Any], eta: int | None) -> None:
    reader = restic()
    feed(reader, {"message_type": "verbose_status", "action": "scan_finished"})
    feed(reader, status(total_bytes=100, bytes_done=10, seconds_remaining=9))
    line = json.dumps(status(**{"total_bytes": 100, "bytes_done": 12, **fields})).encode()
    progress = reader.feed(line + b"\n", "stdout")
    assert progress is not None
    assert progress.eta_seconds == eta


def test_a_total_that_is_exceeded_is_not_the_total() -> None:
    reader = choose_reader("pv -n -b -s 100".split()).reader
    progress = reader.feed(b"90\n101\n")
    assert progress is not None
    assert (progress.bytes_transferred, progress.total_bytes) == (101, None)


@pytest.mark.parametrize(
    "command",
    [
        "rclone copy --use-json-log -v -n a b",
        "rclone copy --use-json-log -v --dry-run a b",
        "rsync -an --info=progress2 a b",
        "restic backup --json --dry-run a",
        "borg --log-json --progress extract -n ::a",
    ],
)
def test_a_dry_run_moves_no_bytes(command: str) -> None:
    """Tools count what they would have moved."""
    reader = choose_reader(command.split()).reader
    lines = {
        "rclone": '{"stats": {"bytes": 50, "totalBytes": 100, "eta": null}}',
        "rsync": "  50  50%    1.00MB/s    0:00:01 (xfr#1, to-chk=1/2)",
        "restic": json.dumps(status(bytes_done=50, total_bytes=100, seconds_remaining=1)),
        "borg": '{"type": "progress_percent", "msgid": "extract", "current": 50, "total": 100}',
    }
    progress = reader.feed(lines[reader.tool].encode() + b"\n", reader.streams[0])
    assert progress is not None
    assert (progress.bytes_transferred, progress.total_bytes) == (0, None)
    assert progress.percent == 50.0
    end = reader.end(0)
    assert (end.status, end.error, end.is_dry_run) == ("completed", None, True)


def test_restic_says_itself_that_it_was_a_dry_run() -> None:
    reader = choose_reader(["./script"], tool="restic").reader
    feed(reader, {"message_type": "summary", "total_bytes_processed": 9, "dry_run": True})
    end = reader.end(0)
    assert (end.progress.bytes_transferred, end.is_dry_run) == (0, True)


def test_an_error_that_rclone_overcame_is_not_one_of_the_job() -> None:
    reader = RcloneReader()
    progress = feed(reader, {"level": "error", "msg": "Attempt 1/3 failed", "object": "a"})
    assert progress.error is None
    assert reader.end(0).error is None
    assert "a: Attempt 1/3 failed" in (reader.end(1).error or "")


def test_the_final_size_of_borg_is_that_of_its_archive() -> None:
    reader = choose_reader("borg --log-json --progress create --json ::a".split()).reader
    assert reader.streams == ("stdout", "stderr")
    feed(reader, {"type": "archive_progress", "original_size": 672_600_000})
    reader.feed(b'{\n    "archive": {\n        "stats": {\n', "stdout")
    reader.feed(b'            "nfiles": 5,\n            "original_size": 680000000\n', "stdout")
    end = reader.end(0)
    assert (end.progress.bytes_transferred, end.error) == (680_000_000, None)


def test_rsync_lines_without_a_time_left_are_read() -> None:
    progress = feed(rsync(), "  9,000  50%    0.00kB/s   ??:??:??")
    assert (progress.bytes_transferred, progress.eta_seconds) == (9000, None)


def test_the_last_lines_of_any_tool_are_its_error() -> None:
    reader = choose_reader(["./backup.sh"]).reader
    lines = [f"line {number}" for number in range(100)]
    reader.feed("\n".join([*lines, "cannot log in to ftp://u:secret@host/", ""]).encode())
    error = reader.end(1).error or ""
    assert error.startswith("backup.sh exited with 1: ")
    assert error.endswith("line 99; cannot log in to ftp://host/")
    assert "line 90" not in error


def test_long_last_lines_leave_room_for_the_very_last() -> None:
    reader = choose_reader(["x"]).reader
    reader.feed(b"\n".join(letter * 400 for letter in (b"a", b"b", b"c", b"d")) + b"\nthe end\n")
    error = reader.end(1).error or ""
    assert error.endswith("d; the end")
    assert len(error) < 1000
