"""`python -m app repair`: corrects data that older senders or older hubs have stored.

A completed job whose bytes are not the sum over its disks gets that sum, if every known disk has
reported bytes: the rule that ingest applies to a job that ends. With `--rollups` the rollups are
rebuilt from their series instead, as far back as those go. With `--counts` the numbers of jobs by
status are counted again. With `--runs` jobs whose id was used again are divided into runs.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from datetime import datetime

from app.commands.terminal import instant
from app.config import Config
from app.database.attach import attached_database
from app.database.pool import Connection, Database, translated_errors
from app.domain.rollups import REFRESH_STEP, ROLLUPS, SETTLED_AFTER, Rollup
from app.domain.window import Window
from app.errors import ConfigError
from app.ingest.divide import divide_run
from app.store import counts, rollups
from app.store import repair as store
from app.store.repair import CompletedJob

PAGE = 500  # jobs in a transaction: it locks their rows for milliseconds only


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument(
        "--dry-run", action="store_true", help="show what would be repaired, and change nothing"
    )
    parser.add_argument("--job", metavar="JOB_ID", help="only this job")
    parser.add_argument(
        "--rollups", action="store_true", help="rebuild the rollups from their series instead"
    )
    parser.add_argument(
        "--counts", action="store_true", help="count the jobs by status again instead"
    )
    parser.add_argument(
        "--runs",
        action="store_true",
        help="divide jobs whose id was used again, with an earlier release, into runs instead",
    )
    for option, meaning in (("from", "first instant"), ("to", "last instant")):
        parser.add_argument(
            f"--{option}",
            dest=f"{option}_at",
            metavar="TIME",
            type=instant,
            help=f"with --rollups: {meaning} to rebuild, such as 2026-03-10T12:00:00Z",
        )


def run(config: Config, args: argparse.Namespace) -> int:
    """Repair, and print each repaired job and a summary. 1 if `--job` names no completed job.

    It may run at any time, beside a running hub, and repeatedly. Raises ConfigError and
    DatabaseUnavailable.
    """
    chosen = [f"--{name}" for name in ("rollups", "counts", "runs") if getattr(args, name)]
    if len(chosen) > 1:
        raise ConfigError(f"{chosen[0]} and {chosen[1]} are two repairs: run one after the other.")
    if chosen and args.job:
        raise ConfigError(f"{chosen[0]} repairs all jobs: leave --job out.")
    if not args.rollups and (args.from_at or args.to_at):
        raise ConfigError("--from and --to need --rollups.")
    with attached_database(config, as_owner=True) as database:
        if args.rollups:
            return _run_rollups(database, args.from_at, args.to_at, is_dry_run=args.dry_run)
        if args.counts:
            return _run_counts(database, is_dry_run=args.dry_run)
        if args.runs:
            return _run_runs(database, is_dry_run=args.dry_run)
        database.open()
        try:
            return _run(database, args.job, is_dry_run=args.dry_run)
        finally:
            database.close()


def repair(
    database: Database, job_id: str | None = None, *, is_dry_run: bool = False
) -> Iterator[CompletedJob]:
    """Repair the jobs page by page; yield each job that was wrong after its commit."""
    after_id = 0
    while True:
        with database.reading() as conn:
            page = store.read_completed(conn, after_id=after_id, limit=PAGE, job_id=job_id)
        if not page:
            return
        after_id = page[-1].id
        wrong = [job for job in page if job.is_wrong]
        if wrong and not is_dry_run:
            with database.transaction() as conn:
                wrong = store.repair_jobs(conn, [job.job_id for job in wrong])
        yield from wrong


def _run(database: Database, job_id: str | None, *, is_dry_run: bool) -> int:
    if job_id is not None and (problem := _problem(database, job_id)):
        print(problem)
        return 1
    count = 0
    for job in repair(database, job_id, is_dry_run=is_dry_run):
        count += 1
        print(f"{job.job_id}: {job.before} -> {job.after} bytes")
    print(f"{_jobs(count)} {'would be ' if is_dry_run else ''}repaired.")
    with database.reading() as conn:
        left = store.count_without_bytes(conn, job_id)
    if left and not is_dry_run:
        print(f"{_jobs(left)} completed with 0 bytes: not all disks have reported theirs.")
    return 0


def _problem(database: Database, job_id: str) -> str | None:
    with database.reading() as conn:
        status = store.read_status(conn, job_id)
    if status is None:
        return f"There is no job {job_id}."
    if status != "completed":
        return f"{job_id} is {status}: only completed jobs are repaired."
    return None


def _jobs(count: int) -> str:
    return "1 job" if count == 1 else f"{count} jobs"


def rebuild_rollup(conn: Connection, rollup: Rollup, window: Window) -> None:
    """Rebuild a window of a rollup. `conn`: from `app.store.rollups.own_connection`.

    Parts without a chunk in the source are skipped: a single very old update would otherwise make
    it refresh all the time since.
    """
    chunks = [chunk.window for chunk in rollups.read_chunks(conn, rollup.source)]
    for part in window.parts(REFRESH_STEP):
        if not any(
            chunk.from_at < part.before_at and chunk.before_at > part.from_at for chunk in chunks
        ):
            continue
        with rollups.alone(conn), store.rebuilding(conn, rollup):
            rollups.refresh(conn, rollup, part, force=True)


def _run_rollups(
    database: Database, from_at: datetime | None, to_at: datetime | None, *, is_dry_run: bool
) -> int:
    with translated_errors(), rollups.own_connection(database) as conn:
        settled = rollups.read_clock(conn) - SETTLED_AFTER
        for rollup in ROLLUPS:
            chunk = next(iter(rollups.read_chunks(conn, rollup.source)), None)
            if chunk is None:
                print(f"{rollup.name}: {rollup.source} is empty.")
                continue
            start = max(from_at or chunk.start, chunk.start)
            window = rollups.refreshable_window(conn, rollup, start, min(to_at or settled, settled))
            if window.is_empty:
                print(f"{rollup.name}: {rollup.source} has no data in that time.")
                continue
            if not is_dry_run:
                rebuild_rollup(conn, rollup, window)
            done = "would be rebuilt" if is_dry_run else "rebuilt"
            print(f"{rollup.name} {done} {_describe(rollup, window, from_at)}.")
    return 0


def _run_counts(database: Database, *, is_dry_run: bool) -> int:
    with translated_errors(), database.connect() as conn:
        found = counts.find_differences(conn)
    wrong = max(found.in_all, found.of_machines)
    if wrong and not is_dry_run:
        with translated_errors(), database.connect() as conn:
            counts.recount(conn)
    if not wrong:
        print("The counts of jobs are right.")
    else:
        done = "would be counted again" if is_dry_run else "counted again"
        print(f"The counts of jobs were wrong by {_jobs(wrong)}: {done}.")
    return 0


def _run_runs(database: Database, *, is_dry_run: bool) -> int:
    database.open()
    try:
        with database.reading() as conn:
            keys = store.read_undivided(conn)
        count = 0
        for key in keys:
            if is_dry_run:
                count += 1
                continue
            with database.transaction() as conn:
                added = divide_run(conn, key)
            if added:
                count += 1
                print(f"{key}: {added} more {'run' if added == 1 else 'runs'}")
    finally:
        database.close()
    print(f"{_jobs(count)} {'would be ' if is_dry_run else ''}divided.")
    return 0


def _describe(rollup: Rollup, window: Window, from_at: datetime | None) -> str:
    is_cut = from_at is not None and window.from_at - from_at >= rollup.bucket
    why = f", where {rollup.source} begins," if is_cut else ""
    return f"from {window.from_at.isoformat()}{why} to {window.before_at.isoformat()}"
