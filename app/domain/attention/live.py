"""Live runs: hung, slow, overlapping, or announced and never started."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from app.domain.attention.items import About, Finding
from app.domain.attention.series import CLOCK_SECONDS, Series, clock_finding, loss_finding
from app.domain.attention.words import duration, instant, run_title, size
from app.domain.rules import Subject

HUNG_SECONDS = 900
PAUSES = 5  # times the longest pause of the run so far
PHASE_LENGTHS = 3  # times the longest that an earlier run was in a phase without bytes
# A phase that does not move bytes may take long, and nothing is known of it in the first run.
UNKNOWN_PHASE_SECONDS = 7_200
FEWEST_PHASES = 3  # of earlier runs, for one that reports no progress
NEVER_STARTED = timedelta(hours=6)

# Phases of the programs that this hub is for in which no bytes move, as senders name them.
PHASES_WITHOUT_BYTES = frozenset(
    {
        *("snapshot", "finalizing", "finalising", "verify", "verifying", "check", "checking"),
        *("prepare", "preparing", "initializing", "initialising", "scan", "scanning", "indexing"),
        *("cleanup", "prune", "pruning", "compact", "compacting", "merging", "consolidating"),
    }
)


@dataclass(frozen=True, slots=True)
class LiveRun:
    """A run that has not ended. `phase` is None if it never reported one."""

    id: int
    key: str  # its job_id in the tables
    name: str  # the job's id
    number: int
    job_type: str
    vm_name: str | None
    repository_id: str | None
    series_id: int | None
    phase: str | None
    bytes: int
    total_bytes: int
    percent: float
    started_at: datetime
    registered_at: datetime | None
    newest_update_at: datetime | None
    last_telemetry_at: datetime | None
    last_progress_at: datetime | None
    clock_skew_seconds: float | None
    loss: str | None
    reports_progress: bool  # it has reported bytes or a percent

    @property
    def title(self) -> str:
        """How a sentence names it: `nightly`, or `nightly (run 3)`."""
        return run_title(self.key)

    @property
    def item_subject(self) -> str:
        """The `subject` of its items."""
        return f"run:{self.key}"

    @property
    def about(self) -> About:
        """The run as the columns of an item."""
        return About(
            series_id=self.series_id,
            job_id=self.key,
            vm_name=self.vm_name,
            job_type=self.job_type,
            repository_id=self.repository_id,
        )

    @property
    def rule_subject(self) -> Subject:
        """What rules are looked up for."""
        return Subject(
            job_type=self.job_type, phase=self.phase, vm_name=self.vm_name, job_id=self.name
        )

    @property
    def has_moved_all(self) -> bool:
        """Whether only its end is missing."""
        return self.percent >= 100 or 0 < self.total_bytes <= self.bytes

    @property
    def may_be_still(self) -> bool:
        """Whether it is in a phase in which no bytes move, as far as its name says."""
        return self.has_moved_all or (
            self.phase is not None and self.phase.lower() in PHASES_WITHOUT_BYTES
        )


@dataclass(frozen=True, slots=True)
class SlowRun:
    """A run that has moved less than half of `least_bytes`, the least that is usual at its age.

    The same as Pace.is_behind.
    """

    run: LiveRun
    age_seconds: float
    least_bytes: int
    usual_bytes: float | None


@dataclass(frozen=True, slots=True)
class Overlap:
    """The live runs of a series, by their start, and when the second began."""

    series: Series
    runs: tuple[str, ...]
    since: datetime


def hung_after(
    base_seconds: float,
    longest_pause: float,
    *,
    reports_progress: bool = True,
    may_be_still: bool = False,
    earlier_runs: int = 0,
    earlier_seconds: float = 0.0,
    earlier_moved: bool = False,
    earlier_pause: float = 0.0,
) -> float | None:
    """After how many seconds without progress a run is hung; None: that cannot be said.

    `reports_progress`: whether the run has reported bytes or a percent. `earlier_*`: in how many
    earlier runs of the series it was in the same phase, for how long at most, whether bytes moved
    in it, and for how long at most they did not.
    """
    seconds = max(base_seconds, PAUSES * longest_pause)
    if not reports_progress:
        if earlier_runs < FEWEST_PHASES:
            return None
        return max(seconds, PHASE_LENGTHS * earlier_seconds)
    if earlier_runs and not earlier_moved:
        return max(seconds, PHASE_LENGTHS * earlier_seconds)
    if earlier_moved:
        return max(seconds, PHASE_LENGTHS * earlier_pause)
    if may_be_still:
        return max(seconds, UNKNOWN_PHASE_SECONDS)
    return seconds


def hung_finding(run: LiveRun, threshold_seconds: float) -> Finding:
    """A run that reports, but has made no progress for the threshold."""
    since = run.last_progress_at
    assert since is not None
    phase = f" in the phase {run.phase}" if run.phase else ""
    moved = f"; {size(run.bytes)} moved" if run.bytes else ""
    summary = (
        f"{run.title} reports{phase}, but nothing has changed since {instant(since)} "
        f"(allowed: {duration(threshold_seconds)}){moved}."
    )
    evidence = {
        "last_progress_at": since,
        "threshold_seconds": round(threshold_seconds),
        "bytes_transferred": run.bytes,
        "current_phase": run.phase,
    }
    return Finding("hung", "critical", run.item_subject, since, summary, run.about, evidence)


def slow_finding(slow: SlowRun) -> Finding:
    """A run that has moved much less than usual at its age."""
    run = slow.run
    summary = (
        f"{run.title} had moved {size(run.bytes)} after {duration(slow.age_seconds)}; "
        f"usual are at least {size(slow.least_bytes)}."
    )
    evidence = {
        "elapsed_seconds": round(slow.age_seconds),
        "bytes_transferred": run.bytes,
        "usual_least_bytes": slow.least_bytes,
    }
    since = run.newest_update_at or run.started_at
    return Finding(
        *("slow", "warning", run.item_subject, since, summary, run.about, evidence),
        keeps_numbers=True,
    )


def overlap_finding(overlap: Overlap) -> Finding:
    """Two or more live runs of one series."""
    names = [run_title(key) for key in overlap.runs]
    listed = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    summary = f"{len(names)} runs of the {overlap.series.title} are live: {listed}."
    about = replace(overlap.series.about(), job_id=overlap.runs[-1])
    subject = overlap.series.subject
    evidence = {"runs": names}
    return Finding("overlapping", "warning", subject, overlap.since, summary, about, evidence)


def never_started_finding(run: LiveRun) -> Finding:
    """A run that was announced and never began."""
    registered_at = run.registered_at
    assert registered_at is not None
    summary = f"{run.title} was registered {instant(registered_at)} and has not begun."
    evidence = {"registered_at": registered_at}
    since = registered_at + NEVER_STARTED
    return Finding("overdue", "critical", run.item_subject, since, summary, run.about, evidence)


def sender_findings(run: LiveRun) -> list[Finding]:
    """The wrong clock, and the losses, of the sender of a live run.

    A clock that is behind is found when the run has ended: its updates may have been delayed.
    """
    subject = f"series:{run.series_id}"
    found = []
    skew = run.clock_skew_seconds
    if skew is not None and skew > CLOCK_SECONDS:
        found.append(clock_finding(run.about, subject, run.started_at, skew))
    if run.loss:
        found.append(loss_finding(run.about, subject, run.started_at, run.loss))
    return found
