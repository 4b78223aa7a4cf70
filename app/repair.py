"""`python -m app repair`: set right what older senders or older hubs have left behind.

Completed jobs whose bytes are 0, or not what their disks add up to, get the sum over their disks
where every known disk has reported bytes; the same rule that ingest applies to a job that ends.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from app.config import Config
from app.db import Database
from app.store import repair as store
from app.store.repair import CompletedJob

PAGE = 500  # jobs a transaction: their rows are locked for milliseconds, and ingest goes on between


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument(
        "--dry-run", action="store_true", help="say what would be repaired and change nothing"
    )
    parser.add_argument("--job", metavar="JOB_ID", help="only this job")


def run(config: Config, args: argparse.Namespace) -> int:
    """Repair and print each repaired job and a summary; 1 when `--job` names none to repair.

    May be run at any time, beside a running hub, and again. Raises ConfigError and
    DatabaseUnavailable.
    """
    database = Database.from_config(config)
    database.open()
    try:
        return _run(database, args.job, is_dry_run=args.dry_run)
    finally:
        database.close()


def repair(
    database: Database, job_id: str | None = None, *, is_dry_run: bool = False
) -> Iterator[CompletedJob]:
    """Repair a page of jobs at a time; yields each job that was wrong, once that is committed."""
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
        print(f"{_jobs(left)} completed with 0 bytes and no disks that could say more.")
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
