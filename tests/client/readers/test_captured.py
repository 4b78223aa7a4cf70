"""Readers on what real tools wrote: progress, phases, totals and ends."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from telemetry_client.progress import Progress
from telemetry_client.readers import End, Reader
from telemetry_client.readers.borg import Borg
from telemetry_client.readers.pv import Pv
from telemetry_client.readers.rclone import Rclone
from telemetry_client.readers.restic import Restic
from telemetry_client.readers.rsync import Rsync
from tests.client.readers.captures import captured


@dataclass
class Run:
    """A run of a tool and what its end must be; None is unknown, as in a progress."""

    name: str
    reader: Reader
    exit_status: int
    status: str
    done: int | None
    total: int | None
    phase: str | None
    percent: float | None = None
    error: str | None = None  # a part of it


RUNS = [
    Run("restic-backup", Restic(), 0, "completed", 300_000_000, 300_000_000, "finalizing"),
    Run(
        *("restic-unreadable", Restic(), 3, "completed", 20_000_000, 20_000_000, "finalizing"),
        error="read /proc/self/mem: Input/output error; "
        "Warning: at least one source file could not be read",
    ),
    Run(
        *("restic-fatal", Restic(), 1, "failed", None, None, None),
        error="restic exited with 1: Fatal: unable to open config file: stat /srv/none/config",
    ),
    Run("rclone-copy", Rclone(), 0, "completed", 20_000_000, 20_000_000, "transferring"),
    Run(
        *("rclone-failed", Rclone(), 3, "failed", 0, None, "checking"),
        error="Local file system at /nonexist: error reading source root directory",
    ),
    Run("borg-create", Borg(), 0, "completed", 304_863_000, None, "finalizing"),
    Run(
        *("borg-warning", Borg(), 1, "completed", None, None, "finalizing"),
        error="borg exited with 1: /nonexist: [Errno 2] No such file",
    ),
    Run(
        *("borg-failed", Borg(), 2, "failed", None, None, None),
        error="borg exited with 2: Archive c2 already exists",
    ),
    Run("borg-extract", Borg(), 0, "completed", 20_000_000, 20_000_000, "transferring"),
    Run("borg-check", Borg(), 0, "completed", None, None, "check.rebuild_refcounts"),
    Run("rsync-files", Rsync(), 0, "completed", 20_000_000, None, "transferring", 100.0),
    Run("rsync-human", Rsync(1024), 0, "completed", 19_996_344, None, "transferring", 100.0),
    Run("rsync-listing", Rsync(), 0, "completed", 5_400_000, None, "transferring", 100.0),
    Run(
        *("rsync-partial", Rsync(), 23, "failed", 20_000_000, None, "transferring", 100.0),
        error='rsync exited with 23: rsync: [sender] change_dir "/nonexist" failed',
    ),
    Run("pv-percent", Pv(5_000_000), 0, "completed", None, None, "transferring", 99.0),
    Run(
        *("pv-bytes", Pv(5_000_000, has_bytes=True, has_elapsed=True), 0, "completed"),
        *(5_000_000, 5_000_000, "transferring"),
    ),
    Run("pv-unknown", Pv(None), 0, "completed", None, None, None),
    Run(
        *("pv-failed", Pv(1), 2, "failed", None, None, None),
        error="pv exited with 2: pv: /nonexist: No such file or directory",
    ),
]


def run(reader: Reader, name: str, exit_status: int, chunk: int = 1 << 20) -> End:
    for data, stream in captured(name):
        for start in range(0, len(data), chunk):
            reader.feed(data[start : start + chunk], stream)
    return reader.end(exit_status)


@pytest.mark.parametrize("case", RUNS, ids=lambda case: case.name)
def test_a_real_run_comes_to_its_end(case: Run) -> None:
    end = run(case.reader, case.name, case.exit_status)
    assert end.status == case.status
    last = end.progress
    assert (last.bytes_transferred, last.total_bytes) == (case.done, case.total)
    assert (last.phase, last.percent) == (case.phase, case.percent)
    assert (case.error is None) == (end.error is None)
    assert case.error is None or case.error in (end.error or "")


def progress_of(reader: Reader, name: str) -> list[Progress]:
    """The progress after each line of stdout or stderr, as it changes."""
    seen: list[Progress] = []
    for data, stream in captured(name):
        lines = data.replace(b"\r", b"\n").splitlines(keepends=True)
        fed = (reader.feed(line, stream) for line in lines)
        seen.extend(progress for progress in fed if progress is not None)
    return seen


def test_restic_says_no_total_while_it_counts() -> None:
    seen = progress_of(Restic(), "restic-backup")
    assert [progress.total_bytes for progress in seen[:3]] == [None, None, 300_000_000]
    assert [progress.eta_seconds for progress in seen[:3]] == [None, None, 4]
    assert [progress.phase for progress in seen[:2]] == ["scanning", "transferring"]
    assert [progress.bytes_transferred for progress in seen[1:3]] == [47_519_897, 91_110_129]


def test_rsync_says_no_percent_while_it_lists() -> None:
    seen = progress_of(Rsync(), "rsync-listing")
    assert [progress.percent for progress in seen[:14]] == [None] * 14
    assert {progress.percent for progress in seen[14:-3]} == {40.0}
    assert seen[-1].percent == 100.0


def test_rsync_says_the_time_left_only_within_a_file() -> None:
    seen = progress_of(Rsync(), "rsync-files")
    assert [progress.eta_seconds for progress in seen[2:5]] == [2, None, 1]


def test_the_speed_of_rsync_is_in_bytes_of_1024s() -> None:
    seen = progress_of(Rsync(), "rsync-files")
    assert seen[1].speed_bps == 6_962_545  # 6.64MB/s


def test_bytes_never_go_back() -> None:
    for case in RUNS:
        reader = type(case.reader)()
        done = [progress.bytes_transferred or 0 for progress in progress_of(reader, case.name)]
        assert done == sorted(done), case.name


def test_pv_without_a_known_size_says_a_percent_without_meaning() -> None:
    assert progress_of(Pv(None), "pv-unknown") == []
