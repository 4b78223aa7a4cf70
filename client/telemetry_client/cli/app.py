"""Commands and options of the command line. What they do is in other modules."""

# No `from __future__ import annotations`: typer evaluates the annotations, also on Python 3.9.

import sys
from enum import Enum
from pathlib import Path
from typing import Annotated, NoReturn, Optional

import typer

from telemetry_client.settings import DEFAULT_URL

# Not 2, which means here that the hub could not be reached.
USAGE_STATUS = 64  # EX_USAGE of sysexits.h

app = typer.Typer(
    name="telemetry",
    help="Send the progress of jobs to the Telemetry Hub.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
queue_app = typer.Typer(
    help="Manage what waits to be sent: the spool of jobs, or another queue (--path).",
    no_args_is_help=True,
)
app.add_typer(queue_app, name="queue")


class Status(str, Enum):
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


Url = Annotated[
    Optional[str],
    typer.Option(help=f"Address of the hub. [default: $SHA_API_URL, else {DEFAULT_URL}]"),
]
Spool = Annotated[
    Optional[Path],
    typer.Option(help="File that keeps what cannot be sent. [default: $TELEMETRY_SPOOL]"),
]
VmName = Annotated[Optional[str], typer.Option(help="The machine that is backed up.")]
RepositoryId = Annotated[Optional[str], typer.Option(help="The repository that is written.")]
BackupType = Annotated[Optional[str], typer.Option(help="For example full or incremental.")]
JobType = Annotated[
    Optional[str],
    typer.Option(help="For example backup. [default: what the job id begins with]"),
]
QueuePath = Annotated[
    Optional[Path], typer.Option("--path", help="File of the queue. [default: the spool]")
]


@app.command(
    "exec",
    context_settings={"allow_interspersed_args": False},
    epilog="Example: telemetry exec --job-type backup -- restic backup --json /home",
)
def exec_command(
    command: Annotated[list[str], typer.Argument(help="The tool and its arguments, after --.")],
    job_type: JobType = None,
    job_id: Annotated[
        Optional[str],
        typer.Option(
            help="Id of the job. "
            "[default: $MIGRATEKIT_JOB_ID, else <type>-<machine>-<epoch>-<random>]"
        ),
    ] = None,
    vm_name: VmName = None,
    repository_id: RepositoryId = None,
    backup_type: BackupType = None,
    url: Url = None,
    spool: Spool = None,
    wait: Annotated[
        float,
        typer.Option(
            min=0, max=60, help="Seconds to wait for the hub, at most, after the tool has ended."
        ),
    ] = 5.0,
    progress: Annotated[
        bool, typer.Option(help="Show a progress bar if standard error is a terminal.")
    ] = True,
    tool: Annotated[
        Optional[str],
        typer.Option(help="Read the output as that of this tool, whatever runs it: a script, …"),
    ] = None,
    progress_regex: Annotated[
        Optional[list[str]],
        typer.Option(
            help="Read progress from lines that match; with the groups done, total, percent, speed "
            "or phase, as in (?P<percent>[0-9.]+)%. May be repeated."
        ),
    ] = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Show how the command would be read; run nothing.")
    ] = False,
) -> NoReturn:
    """Run a tool and push its progress.

    Its exit code, signals and output are unchanged, whatever the hub does.
    """
    from telemetry_client.cli.execute import choose, execute, identify

    patterns = progress_regex or []
    try:
        choice = choose(command, tool=tool, patterns=patterns)
    except KeyError:
        from telemetry_client.readers.tools import names

        known = ", ".join(names())
        raise typer.BadParameter(
            f"{tool!r} is not known; known are: {known}.", param_hint="--tool"
        ) from None
    except ValueError as exc:
        raise typer.BadParameter(str(exc), param_hint="--progress-regex") from None

    job = identify(
        command,
        job_id=job_id,
        job_type=job_type,
        vm_name=vm_name,
        repository_id=repository_id,
        backup_type=backup_type,
    )
    if explain:
        from telemetry_client.cli.explain import explain as explanation

        typer.echo(explanation(choice, job, patterns=patterns))
        raise typer.Exit
    execute(
        command,
        job,
        url=url,
        spool=spool,
        wait_seconds=wait,
        shows_bar=progress,
        choice=choice,
    )


@app.command()
def push(
    job_id: Annotated[str, typer.Argument(help="Id of the job.")],
    status: Annotated[Status, typer.Option(help="Status of the job; any but running ends it.")],
    job_type: JobType = None,
    phase: Annotated[Optional[str], typer.Option(help="For example transferring.")] = None,
    bytes_transferred: Annotated[
        Optional[int], typer.Option("--bytes", help="Bytes transferred so far.")
    ] = None,
    total_bytes: Annotated[Optional[int], typer.Option("--total", help="Bytes in total.")] = None,
    speed: Annotated[Optional[int], typer.Option(help="BYTES per second.")] = None,
    eta: Annotated[Optional[int], typer.Option(help="Seconds left.")] = None,
    percent: Annotated[Optional[float], typer.Option(help="[default: from the bytes]")] = None,
    error: Annotated[Optional[str], typer.Option(help="Error message.")] = None,
    vm_name: VmName = None,
    repository_id: RepositoryId = None,
    backup_type: BackupType = None,
    timestamp: Annotated[
        Optional[str], typer.Option(help="RFC 3339 with an offset. [default: now]")
    ] = None,
    new_run: Annotated[
        bool,
        typer.Option(
            "--new-run",
            help="The first update of another run of the job. Needed only within 60 s of the end "
            "of the last one, or if that was never reported.",
        ),
    ] = False,
    interval: Annotated[
        Optional[int],
        typer.Option(
            min=1,
            max=86_400,
            help="Seconds between the updates of the job: the hub waits for three of them before "
            "it calls the job silent.",
        ),
    ] = None,
    url: Url = None,
    spool: Spool = None,
    no_spool: Annotated[
        bool, typer.Option("--no-spool", help="Keep nothing if the hub cannot be reached.")
    ] = False,
) -> None:
    """Push one update of a job.

    Exit code 0: the hub has stored it. 1: the hub refused it; the reasons are printed. 2: the hub
    cannot be reached; the update is kept in the spool, unless --no-spool.
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
        "new_run": new_run or None,
        "interval_seconds": interval,
    }
    raise typer.Exit(push_update(update, url=url, spool=spool, keeps=not no_spool))


@queue_app.command()
def stats(path: QueuePath = None) -> None:
    """Show how many entries wait, how old they are, and how many were given up."""
    from telemetry_client.cli.queues import show_stats

    raise typer.Exit(show_stats(path))


@queue_app.command()
def drain(
    path: QueuePath = None,
    url: Url = None,
    wait: Annotated[
        float, typer.Option(min=0, help="Seconds to keep trying while the hub cannot be reached.")
    ] = 0.0,
) -> None:
    """Send everything that waits. Exit code 2 if the hub cannot be reached."""
    from telemetry_client.cli.queues import drain_queue

    raise typer.Exit(drain_queue(path, url, wait))


@queue_app.command()
def dead(
    path: QueuePath = None,
    limit: Annotated[int, typer.Option(min=1, help="How many to list.")] = 20,
) -> None:
    """List the newest dead letters: what the hub refused, with its reasons."""
    from telemetry_client.cli.queues import show_dead

    raise typer.Exit(show_dead(path, limit))


@queue_app.command()
def replay(
    ids: Annotated[
        Optional[list[int]], typer.Argument(help="Ids from `dead`. [default: all]")
    ] = None,
    path: QueuePath = None,
) -> None:
    """Put dead letters back into the queue."""
    from telemetry_client.cli.queues import replay_dead

    raise typer.Exit(replay_dead(path, ids))


@app.command()
def doctor(url: Url = None) -> None:
    """Check hub, token, clock and spool. Exit code 1 if a check fails."""
    from telemetry_client.cli.doctor import examine

    raise typer.Exit(examine(url))


def main() -> NoReturn:
    """The `telemetry` command."""
    try:
        status = app(standalone_mode=False)
    except typer.Abort:
        status = 130
    except Exception as exc:
        show = getattr(exc, "show", None)  # an exception of click, which typer may bundle
        if show is None:
            raise
        show()
        status = USAGE_STATUS
    sys.exit(status)
