"""Whether a completed run is good: does what it reported add up, and is it as usual?"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, get_args

from app.domain.attention.usual import Usual
from app.domain.attention.words import duration, run_title, runs, size, times

Result = Literal["good", "warning"]
RESULTS: tuple[Result, ...] = get_args(Result)

LEAST_SHARE = 0.99  # of the total; senders round, and files shrink meanwhile
# Smaller differences are of no interest, however many times they are the usual.
LEAST_BYTES = 16 * 2**20
LEAST_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Disk:
    """A disk of a run. `bytes` is None if it reported none."""

    index: int
    status: str
    bytes: int | None


@dataclass(frozen=True, slots=True)
class Run:
    """A run of a series. `bytes`, `total_bytes`, `percent`: as reported; None if not known."""

    id: int
    key: str  # its job_id in the tables
    name: str  # the job's id
    number: int
    status: str
    started_at: datetime
    ended_at: datetime | None = None
    ended_by: str | None = None
    is_settled: bool = False  # has its summary
    bytes: int | None = None
    total_bytes: int | None = None
    percent: float | None = None
    error: str | None = None
    disks: tuple[Disk, ...] = ()
    is_dry_run: bool = False
    bytes_differ: str | None = None  # the warning about it
    clock_skew_seconds: float | None = None
    last_seen_at: datetime | None = None  # arrival of its last update, hub's clock
    loss: str | None = None  # the warning about lost updates
    result: Result | None = None
    findings: tuple[Judgement, ...] = ()

    @property
    def seconds(self) -> float:
        """How long it took; 0 for a live run."""
        if self.ended_at is None:
            return 0.0
        return max(0.0, (self.ended_at - self.started_at).total_seconds())

    @property
    def is_live(self) -> bool:
        return self.status in ("running", "stalled")

    @property
    def title(self) -> str:
        """How a sentence names it: `nightly`, or `nightly (run 3)`."""
        return run_title(self.key)


@dataclass(frozen=True, slots=True)
class Judgement:
    """Why a completed run is not good: `suspicious` if it contradicts itself, else `unusual`."""

    kind: Literal["suspicious", "unusual"]
    summary: str
    evidence: dict[str, Any] = field(default_factory=dict)


def judge(run: Run, usual: Usual) -> list[Judgement]:
    """What is wrong with a completed run; `usual`: of the good runs of its series before it."""
    found = _contradictions(run, usual)
    if not found:
        found = _unusual(run, usual)
    return found


def _contradictions(run: Run, usual: Usual) -> list[Judgement]:
    found: list[Judgement] = []

    def suspect(summary: str, **evidence: Any) -> None:
        found.append(Judgement("suspicious", summary, evidence))

    if run.is_dry_run:
        suspect("It was a dry run: nothing was copied.", dry_run=True)
        return found
    done, total = run.bytes, run.total_bytes
    if done == 0 and total:
        suspect(f"It completed with 0 of {size(total)}.", bytes_transferred=0, total_bytes=total)
    elif done == 0 and total is None and not usual.has_empty_runs:
        expected = "" if usual.bytes is None else f"; usual are {size(usual.bytes.median)}"
        suspect(f"It completed with 0 bytes{expected}.", bytes_transferred=0, **_median(usual))
    elif done is not None and total and done < LEAST_SHARE * total:
        summary = f"It completed with {size(done)} of {size(total)}: {_share(done, total)} %."
        suspect(summary, bytes_transferred=done, total_bytes=total)
    elif (
        run.percent is not None
        and run.percent < 100 * LEAST_SHARE
        and not (
            done and total  # all bytes, so that only the percent was not brought up to date
        )
    ):
        summary = f"It completed at {run.percent:.4g} %, by its own account."
        suspect(summary, progress_percent=run.percent)
    unfinished = [disk for disk in run.disks if disk.status in ("pending", "failed", "cancelled")]
    if unfinished:
        names = ", ".join(f"{disk.index} ({disk.status})" for disk in unfinished[:5])
        more = "" if len(unfinished) <= 5 else f" and {len(unfinished) - 5} more"
        summary = f"It completed although these disks had not: {names}{more}."
        suspect(summary, disks={str(disk.index): disk.status for disk in unfinished})
    if run.bytes_differ:
        suspect(run.bytes_differ)
    return found


def _share(done: int, total: int) -> str:
    return f"{100 * done / total:.2g}" if done < 0.1 * total else f"{100 * done / total:.3g}"


def _median(usual: Usual) -> dict[str, Any]:
    return {} if usual.bytes is None else {"usual_bytes": round(usual.bytes.median)}


def _unusual(run: Run, usual: Usual) -> list[Judgement]:
    found: list[Judgement] = []
    basis = f"the last {runs(usual.runs)}"
    size_ratio = None
    if run.bytes is not None and usual.bytes is not None:
        size_ratio = usual.bytes.ratio(run.bytes)
        if size_ratio is not None and abs(run.bytes - usual.bytes.median) >= LEAST_BYTES:
            summary = (
                f"It moved {size(run.bytes)}, {_compared(size_ratio, 'more', 'less')} than usual "
                f"({size(usual.bytes.median)}, {basis})."
            )
            found.append(
                Judgement(
                    "unusual",
                    summary,
                    {"bytes_transferred": run.bytes, "usual_bytes": _range(usual.bytes)},
                )
            )
    if usual.seconds is not None:
        ratio = usual.seconds.ratio(run.seconds)
        is_large = abs(run.seconds - usual.seconds.median) >= LEAST_SECONDS
        # More data take longer: then its size says it.
        is_explained = (
            size_ratio is not None and ratio is not None and ((ratio > 1) == (size_ratio > 1))
        )
        if ratio is not None and is_large and not is_explained:
            summary = (
                f"It took {duration(run.seconds)}, {_compared(ratio, 'longer', 'shorter')} than "
                f"usual ({duration(usual.seconds.median)}, {basis})."
            )
            evidence = {"duration_seconds": run.seconds, "usual_seconds": _range(usual.seconds)}
            found.append(Judgement("unusual", summary, evidence))
    if not found and usual.bps is not None and run.bytes and run.seconds >= LEAST_SECONDS:
        speed = run.bytes / run.seconds
        ratio = usual.bps.ratio(speed)
        # A small run is slow because of what does not depend on its size.
        took_so_long = (
            usual.seconds is not None
            and ratio is not None
            and ((run.seconds > usual.seconds.median) == (ratio < 1))
        )
        if ratio is not None and took_so_long and size_ratio is None:
            summary = (
                f"Its mean speed was {size(speed)}/s, {_compared(ratio, 'faster', 'slower')} than "
                f"usual ({size(usual.bps.median)}/s, {basis})."
            )
            evidence = {"mean_bps": speed, "usual_bps": _range(usual.bps)}
            found.append(Judgement("unusual", summary, evidence))
    return found


def _compared(ratio: float, more: str, less: str) -> str:
    if ratio <= 0:
        return f"much {less}"
    return f"{times(ratio)} times {more}" if ratio > 1 else f"{times(1 / ratio)} times {less}"


def _range(band: Any) -> dict[str, float]:
    return {"median": band.median, "low": band.low, "high": band.high}
