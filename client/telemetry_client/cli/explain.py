"""`telemetry exec --explain`: how a command would be read, and why. Nothing is run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from telemetry_client.cli.execute import PIPE_HINT
from telemetry_client.cli.reporting import JobIdentity
from telemetry_client.readers import Choice
from telemetry_client.readers.base import Outcome

_ANY_TOOL = "nothing but that it runs, how it ends, and its last lines on stderr"


def explain(choice: Choice, job: JobIdentity, *, patterns: Sequence[str] = ()) -> str:
    """Lines about the reader of a command and the job that it would be."""
    facts = {
        "job": f"{job.job_id} ({job.job_type}, machine {job.vm_name})",
        "repository": job.repository_id,
        "tool": _tool_text(choice),
        "read": _read_text(choice, patterns),
        "streams": " and ".join(sorted({*choice.reader.streams, "stderr"})),
        "missing": choice.hint,
        "pipeline": PIPE_HINT if choice.hides_failures else None,
        "dry run": "yes: no bytes are reported" if choice.reader.is_dry_run else None,
        "exit codes": _exits_text(choice.reader.exits),
    }
    return "\n".join(f"{name + ':':<12}{text}" for name, text in facts.items() if text)


def _tool_text(choice: Choice) -> str:
    call = choice.call
    if call is None:
        return f"{choice.reader.tool}, which is not known (name a known one with --tool)"
    behind = f", behind {', '.join(call.via)}" if call.via else ""
    return call.tool + behind + (", by --tool" if call.is_blind else "")


def _read_text(choice: Choice, patterns: Sequence[str]) -> str:
    if patterns:
        return f"lines that match {' or '.join(patterns)}"
    if choice.tool is not None and choice.reader.reads_progress:
        return choice.tool.reads
    return _ANY_TOOL


def _exits_text(exits: Mapping[int, Outcome]) -> str:
    """`0 completed; 1, 100–123 completed, with a warning: …; any other failed`."""
    groups: dict[Outcome, list[int]] = {}
    for status, outcome in sorted(exits.items()):
        groups.setdefault(outcome, []).append(status)
    texts = [f"{ranges(statuses)} {_status_text(outcome)}" for outcome, statuses in groups.items()]
    zero = [] if 0 in exits else ["0 completed"]
    return "; ".join([*zero, *texts, "any other: failed, or cancelled by a signal"])


def _status_text(outcome: Outcome) -> str:
    warns = outcome.status == "completed" and not outcome.is_fine
    return f"{outcome.status}{' with a warning' if warns else ''} ({outcome.meaning})"


def ranges(numbers: Sequence[int]) -> str:
    """`1, 100–123`."""
    ranges: list[list[int]] = []
    for number in numbers:
        if ranges and number == ranges[-1][-1] + 1:
            ranges[-1][1:] = [number]
        else:
            ranges.append([number])
    return ", ".join("–".join(map(str, bounds)) for bounds in ranges)
