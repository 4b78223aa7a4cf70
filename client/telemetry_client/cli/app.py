"""The command line's shape: commands, options, their meaning. What they do is in other modules."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from telemetry_client.settings import DEFAULT_URL

# 2, the usual one, says that the hub could not be reached.
USAGE_STATUS = 64  # EX_USAGE of sysexits.h

app = typer.Typer(
    name="telemetry",
    help="Tell the Telemetry Hub how jobs are doing.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
queue_app = typer.Typer(
    help="What waits to be sent: the spool of jobs, or another queue (--path).",
    no_args_is_help=True,
)
app.add_typer(queue_app, name="queue")


class Status(StrEnum):
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


Url = Annotated[
    str | None,
    typer.Option(help=f"Where the hub is. [default: $SHA_API_URL, else {DEFAULT_URL}]"),
]
Spool = Annotated[
    Path | None,
    typer.Option(help="File that keeps what cannot be sent. [default: $TELEMETRY_SPOOL]"),
]
VmName = Annotated[str | None, typer.Option(help="Machine that the job is about.")]
RepositoryId = Annotated[str | None, typer.Option(help="Where the job writes to.")]
BackupType = Annotated[str | None, typer.Option(help="Such as full or incremental.")]
JobType = Annotated[
    str | None, typer.Option(help="Such as backup. [default: what the job's id begins with]")
]
QueuePath = Annotated[Path | None, typer.Option("--path", help="The queue. [default: the spool]")]


@app.command(
    "exec",
    context_settings={"allow_interspersed_args": False},
    epilog="Example: telemetry exec --job-type backup -- restic backup --json /home",
)
def exec_command(
    command: Annotated[list[str], typer.Argument(help="The tool and its arguments, after --.")],
    job_type: JobType = None,
    job_id: Annotated[
        str | None,
        typer.Option(help="[default: $MIGRATEKIT_JOB_ID, else <type>-<machine>-<epoch>]"),
    ] = None,
    vm_name: VmName = None,
    repository_id: RepositoryId = None,
    backup_type: BackupType = None,
    url: Url = None,
    spool: Spool = None,
    wait: Annotated[
        float,
        typer.Option(
            min=0, max=60, help="Seconds to wait for the hub once the tool has ended, at most."
        ),
    ] = 5.0,
    progress: Annotated[
        bool, typer.Option(help="Show a progress bar if standard error is a terminal.")
    ] = True,
) -> NoReturn:
    """Run a tool and push its progress.

    Its exit code, signals and output stay what they are, whatever the hub does.
    """
    from telemetry_client.cli.execute import execute, identify

    job = identify(
        command,
        job_id=job_id,
        job_type=job_type,
        vm_name=vm_name,
        repository_id=repository_id,
        backup_type=backup_type,
    )
    execute(command, job, url=url, spool=spool, wait_seconds=wait, shows_bar=progress)


@app.command()
def push(
    job_id: Annotated[str, typer.Argument(help="Id of the job.")],
    status: Annotated[Status, typer.Option(help="State of the job; all but running end it.")],
    job_type: JobType = None,
    phase: Annotated[str | None, typer.Option(help="Such as transferring.")] = None,
    bytes_transferred: Annotated[
        int | None, typer.Option("--bytes", help="Bytes moved so far.")
    ] = None,
    total_bytes: Annotated[int | None, typer.Option("--total", help="Bytes in all.")] = None,
    speed: Annotated[int | None, typer.Option(help="BYTES per second.")] = None,
    eta: Annotated[int | None, typer.Option(help="Seconds left.")] = None,
    percent: Annotated[float | None, typer.Option(help="[default: of --bytes and --total]")] = None,
    error: Annotated[str | None, typer.Option(help="What went wrong.")] = None,
    vm_name: VmName = None,
    repository_id: RepositoryId = None,
    backup_type: BackupType = None,
    timestamp: Annotated[
        str | None, typer.Option(help="When it was so, RFC 3339 with offset. [default: now]")
    ] = None,
    url: Url = None,
    spool: Spool = None,
    no_spool: Annotated[
        bool, typer.Option("--no-spool", help="Keep nothing if the hub cannot be reached.")
    ] = False,
) -> None:
    """Push one update of a job.

    Exit code 0: the hub has it. 1: refused, with the hub's reasons. 2: not reachable; it is kept
    in the spool, unless --no-spool.
    """
    from telemetry_client.cli.push import push_update
    from telemetry_client.settings import job_type_of

    update = {
        "job_id": job_id,
        "job_type": job_type or job_type_of(job_id),
        "status": status.value,
        "current_phase": phase,
        "bytes_transferred": bytes_transferred,
        "total_bytes": total_bytes,
        "transfer_speed_bps": speed,
        "eta_seconds": eta,
        "progress_percent": percent,
        "error": error,
        "vm_name": vm_name,
        "repository_id": repository_id,
        "backup_type": backup_type,
        "timestamp": timestamp,
    }
    raise typer.Exit(push_update(update, url=url, spool=spool, keeps=not no_spool))


@queue_app.command()
def stats(path: QueuePath = None) -> None:
    """Show how much waits, how old it is, and what was given up."""
    from telemetry_client.cli.queues import show_stats

    raise typer.Exit(show_stats(path))


@queue_app.command()
def drain(
    path: QueuePath = None,
    url: Url = None,
    wait: Annotated[
        float, typer.Option(min=0, help="Seconds to keep trying while the hub is away.")
    ] = 0.0,
) -> None:
    """Send everything that waits. Exit code 2 while the hub cannot be reached."""
    from telemetry_client.cli.queues import drain_queue

    raise typer.Exit(drain_queue(path, url, wait))


@queue_app.command()
def dead(
    path: QueuePath = None,
    limit: Annotated[int, typer.Option(min=1, help="How many, the newest.")] = 20,
) -> None:
    """List what the hub refused for good, with its reasons."""
    from telemetry_client.cli.queues import show_dead

    raise typer.Exit(show_dead(path, limit))


@queue_app.command()
def replay(
    ids: Annotated[list[int] | None, typer.Argument(help="Of `dead`. [default: all]")] = None,
    path: QueuePath = None,
) -> None:
    """Put dead letters back into the queue."""
    from telemetry_client.cli.queues import replay_dead

    raise typer.Exit(replay_dead(path, ids))


@app.command()
def doctor(url: Url = None) -> None:
    """Check what sending needs: hub, token, clock, spool. Exit code 1 if something fails."""
    from telemetry_client.cli.doctor import examine

    raise typer.Exit(examine(url))


def main() -> NoReturn:
    """The `telemetry` command."""
    try:
        status = app(standalone_mode=False)
    except typer.Abort:
        status = 130
    except Exception as exc:
        show = getattr(exc, "show", None)  # click's, whichever way typer brings them along
        if show is None:
            raise
        show()
        status = USAGE_STATUS
    sys.exit(status)
