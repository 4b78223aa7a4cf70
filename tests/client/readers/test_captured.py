"""Readers on what real tools wrote: progress, phases, totals and ends."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from telemetry_client.progress import Progress
from telemetry_client.readers import End, Reader, choose_reader
from telemetry_client.readers.tools.pv import PvReader
from tests.client.readers.captures import captured


@dataclass(frozen=True)
class Run:
    """A run of a tool and what its end must be; None is unknown, as in a progress."""

    name: str
    command: str
    exit_status: int
    status: str
    done: int | None
    total: int | None
    phase: str | None
    percent: float | None = None
    error: str | None = None  # a part of it


RESTIC, BORG = "restic backup --json data", "borg --log-json --progress"
RCLONE = "rclone copy --use-json-log -v a b"
RSYNC, PV = "rsync -a --info=progress2", "pv -n"

RUNS = [
    Run("restic-backup", RESTIC, 0, "completed", 300_000_000, 300_000_000, "finalizing"),
    Run(
        *("restic-unreadable", RESTIC, 3, "completed", 20_000_000, 20_000_000, "finalizing"),
        error="read /proc/self/mem: Input/output error; "
        "Warning: at least one source file could not be read",
    ),
    Run(
        *("restic-fatal", RESTIC, 1, "failed", None, None, None),
        error="restic exited with 1: Fatal: unable to open config file: stat /srv/none/config",
    ),
    Run("rclone-copy", RCLONE, 0, "completed", 20_000_000, 20_000_000, "transferring"),
    Run("rclone-1.75", RCLONE, 0, "completed", 42_000_000, 42_000_000, "transferring"),
    Run(
        *("rclone-failed", RCLONE, 3, "failed", 0, None, "checking"),
        error="Local file system at /nonexist: error reading source root directory",
    ),
    Run("borg-create", f"{BORG} create ::a", 0, "completed", 304_863_000, None, "finalizing"),
    Run(
        *("borg-warning", f"{BORG} create ::a", 1, "completed", None, None, "finalizing"),
        error="borg exited with 1: /nonexist: [Errno 2] No such file",
    ),
    Run(
        *("borg-failed", f"{BORG} create ::a", 2, "failed", None, None, None),
        error="borg exited with 2: Archive c2 already exists",
    ),
    Run(
        *("borg-extract", f"{BORG} extract ::a", 0, "completed"),
        *(20_000_000, 20_000_000, "transferring"),
    ),
    Run(
        *("borg-check", f"{BORG} check", 0, "completed", None, None, "check.rebuild_refcounts"),
        percent=100 * 6 / 7,
    ),
    Run("rsync-files", RSYNC, 0, "completed", 20_000_000, None, "transferring", 100.0),
    Run("rsync-human", f"{RSYNC} -hh", 0, "completed", 19_996_344, None, "transferring", 100.0),
    Run("rsync-listing", RSYNC, 0, "completed", 5_400_000, None, "transferring", 100.0),
    Run(
        *("rsync-partial", RSYNC, 23, "failed", 20_000_000, None, "transferring", 100.0),
        error='rsync exited with 23: rsync: [sender] change_dir "/nonexist" failed',
    ),
    Run("pv-percent", f"{PV} -s 5000000", 0, "completed", None, None, "transferring", 99.0),
    Run(
        *("pv-bytes", f"{PV} -b -t -s 5000000", 0, "completed"),
        *(5_000_000, 5_000_000, "transferring"),
    ),
    Run(
        *("borg-json", f"{BORG} create --json ::a", 0, "completed"),
        *(42_000_501, None, "finalizing"),
    ),
    Run(
        *("borg-prune", f"{BORG} prune --keep-last 1", 0, "completed", None, None, "prune"),
        percent=0.0,
    ),
    Run(
        *("borg-compact", f"{BORG} compact", 0, "completed"),
        *(None, None, "repository.compact_segments", 100 * 14 / 15),
    ),
    Run(
        *("restic-check", "env RESTIC_PROGRESS_FPS=5 restic check", 0, "completed"),
        *(None, None, "snapshots", 99.99),
    ),
    Run(
        *("restic-copy", "env RESTIC_PROGRESS_FPS=5 restic copy --from-repo x", 0, "completed"),
        *(None, None, "packs copied", 99.99),
    ),
    Run(
        *("pg_basebackup-files", "pg_basebackup -P -D base", 0, "completed"),
        *(36_620 * 1024, 36_620 * 1024, "transferring"),
    ),
    Run(
        *("pg_dump-verbose", "pg_dump -v postgres", 0, "completed", None, None),
        'dumping contents of table "public.small"',
    ),
    Run(
        *("pg_dump-failed", "pg_dump -v none", 1, "failed", None, None, None),
        error="pg_dump exited with 1: pg_dump: error: connection to server on socket",
    ),
    Run(
        *("pg_restore-verbose", "pg_restore -v -d r d", 0, "completed", None, None),
        'processing data for table "public.small"',
    ),
    Run(
        *("pgbackrest-backup", "pgbackrest --stanza=main backup", 0, "completed"),
        *(round(55.6 * 1024**2), None, "backup", 54.08),
    ),
    Run(
        *("tar-echo", "tar --checkpoint=2000 --checkpoint-action=echo=%T -cf x d", 0, "completed"),
        *(120_012_800, None, "transferring"),
    ),
    Run(
        *("tar-records", "tar --checkpoint=2000 -b 40 -cf x d", 0, "completed"),
        *(4000 * 512 * 40, None, "transferring"),
    ),
    Run(
        *("dd-count", "dd if=/dev/zero bs=1M count=12000 of=x status=progress", 0, "completed"),
        *(12_582_912_000, 12_582_912_000, "transferring"),
    ),
    Run(
        *("qemu-img-convert", "qemu-img convert -p -O qcow2 a b", 0, "completed"),
        *(None, None, "transferring", 99.99),
    ),
    Run(
        *("mbuffer-file", "mbuffer -i a -o b", 0, "completed"),
        *(round(38.1 * 1024**2), None, "transferring", 84.0),
    ),
    Run(
        *("curl-meter", "curl http://h/x -o x", 0, "completed"),
        *(round(38.1 * 1024**2), round(38.1 * 1024**2), "transferring", None),
    ),
    Run(
        *("curl-bar", "curl -# http://h/x -o x", 0, "completed"),
        *(None, None, "transferring", 99.99),
    ),
    Run(
        *("curl-failed", "curl http://h/x -o x", 7, "failed", 0, None, "transferring", None),
        error="curl exited with 7: curl: (7) Failed to connect to 127.0.0.1 port 18098",
    ),
    Run(
        *("duplicity-full", "duplicity full --progress d file:///d", 0, "completed"),
        *(120_297_611, None, "transferring", 99.99),
    ),
    Run(
        *("kopia-snapshot", "kopia snapshot create --progress /srv", 0, "completed"),
        *(261_000_000, None, "transferring", 99.99),
    ),
    Run(
        *("s5cmd-cp", "s5cmd --show-progress cp a s3://b", 0, "completed"),
        *(round(2.73 * 1024**3), round(2.73 * 1024**3), "transferring", 99.99),
    ),
    Run(
        *("aws-sync", "aws s3 sync data s3://bucket", 0, "completed"),
        *(10 * 1024**2, 10 * 1024**2, "transferring"),
    ),
    Run(
        *("aws-failed", "aws s3 sync data s3://bucket", 1, "failed"),
        *(1024**2, 10 * 1024**2, "transferring"),
        error="aws exited with 1: upload failed: data/b to s3://bucket/b An error occurred",
    ),
    Run(
        *("zfs-parsable", "zfs send -P -v -R pool/fs@b", 0, "completed"),
        *(3_900_000, 4_000_000, "transferring"),
        error="zfs has completed with 3900000 of 4000000 bytes",
    ),
    Run(
        *("zfs-verbose", "zfs send -v pool/fs@a", 0, "completed"),
        *(4 * 1024**2, 4 * 1024**2, "transferring"),
    ),
    Run(
        *("mariabackup-backup", "mariabackup --backup --target-dir=/b", 0, "completed"),
        *(None, None, "completed OK!"),
    ),
    Run(
        *("mydumper-dump", "mydumper -v 3 -o d", 0, "completed"),
        *(None, None, "dumping data for `shop`.`orders`"),
    ),
    Run(
        *("mydumper-percent", "mydumper --verbose=3 -o d", 0, "completed"),
        *(None, None, "`shop`.`orders`", 60.0),
    ),
    Run(
        *("myloader-load", "myloader -v 3 -d d", 0, "completed", None, None),
        "restoring `shop`.`orders`",
    ),
    Run(
        *("proxmox-backup-client-backup", "proxmox-backup-client backup a.pxar:/a", 0, "completed"),
        *(5 * 1024**3, None, "backup"),
    ),
    Run(
        *("vzdump-qemu", "vzdump 100", 0, "completed", 32 * 1024**3, 32 * 1024**3),
        "Finished Backup of VM 100",
    ),
    Run(
        *("vzdump-old", "vzdump 101", 255, "failed", 4_123_456_000, 34_359_738_368),
        "Starting Backup of VM 101",
        error="vzdump exited with 255",
    ),
    Run(
        *("robocopy-summary", "robocopy a b /MIR", 3, "completed"),
        *(190 * 1024, None, "transferring"),
    ),
    Run(
        *("pv-failed", f"{PV} -s 1", 2, "failed", None, None, None),
        error="pv exited with 2: pv: /nonexist: No such file or directory",
    ),
]


def reader_of(command: str) -> Reader:
    environ = {"RESTIC_PROGRESS_FPS": "5"} if "RESTIC_PROGRESS_FPS" in command else {}
    return choose_reader(command.split(), environ).reader


def run(reader: Reader, name: str, exit_status: int, chunk: int = 1 << 20) -> End:
    for data, stream in captured(name):
        for start in range(0, len(data), chunk):
            reader.feed(data[start : start + chunk], stream)
    return reader.end(exit_status)


@pytest.mark.parametrize("case", RUNS, ids=lambda case: case.name)
def test_a_real_run_comes_to_its_end(case: Run) -> None:
    reader = reader_of(case.command)
    assert reader.reads_progress
    end = run(reader, case.name, case.exit_status)
    assert end.status == case.status
    last = end.progress
    assert (last.bytes_transferred, last.total_bytes) == (case.done, case.total)
    assert (last.phase, last.percent) == (case.phase, case.percent)
    assert (case.error is None) == (end.error is None)
    assert case.error is None or case.error in (end.error or "")


def progress_of(command: str, name: str) -> list[Progress]:
    """The progress after each line of stdout or stderr, as it changes."""
    reader = reader_of(command)
    seen: list[Progress] = []
    for data, stream in captured(name):
        lines = data.replace(b"\r", b"\n").splitlines(keepends=True)
        fed = (reader.feed(line, stream) for line in lines)
        seen.extend(progress for progress in fed if progress is not None)
    return seen


def test_restic_says_no_total_while_it_counts() -> None:
    seen = progress_of(RESTIC, "restic-backup")
    assert [progress.total_bytes for progress in seen[:3]] == [None, None, 300_000_000]
    assert [progress.eta_seconds for progress in seen[:3]] == [None, None, 4]
    assert [progress.phase for progress in seen[:2]] == ["scanning", "transferring"]
    assert [progress.bytes_transferred for progress in seen[1:3]] == [47_519_897, 91_110_129]


def test_rsync_says_no_percent_while_it_lists() -> None:
    seen = progress_of(RSYNC, "rsync-listing")
    assert [progress.percent for progress in seen[:14]] == [None] * 14
    assert {progress.percent for progress in seen[14:-3]} == {40.0}
    assert seen[-1].percent == 100.0


def test_rsync_says_the_time_left_only_within_a_file() -> None:
    seen = progress_of(RSYNC, "rsync-files")
    assert [progress.eta_seconds for progress in seen[2:5]] == [2, None, 1]


def test_the_speed_of_rsync_is_left_to_be_measured() -> None:
    """At the end of a file, rsync prints the mean since the start."""
    assert {progress.speed_bps for progress in progress_of(RSYNC, "rsync-files")} == {None}


def test_bytes_never_go_back() -> None:
    for case in RUNS:
        done = [
            progress.bytes_transferred or 0 for progress in progress_of(case.command, case.name)
        ]
        assert done == sorted(done), case.name


def test_pv_without_a_known_size_says_a_percent_without_meaning() -> None:
    reader = PvReader(None)
    assert run(reader, "pv-unknown", 0).progress == Progress()
