"""The state of a series, from its newest runs: what needs attention, and what is expected next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from app.domain.attention.items import About, Finding, Kind, Severity
from app.domain.attention.rhythm import Rhythm
from app.domain.attention.run import Run
from app.domain.attention.words import duration, instant, runs
from app.domain.rules import Subject

MOST_RUNS = 60  # the newest of a series that its state follows from
# Nothing new is noticed about a series that has not run for so long: it was given up.
RETIRED_AFTER = timedelta(days=60)
CLOCK_SECONDS = 60.0
SAME_SKEW_SECONDS = 30.0  # between two runs a clock hardly drifts
# The items of a series that follow from its runs alone. The others depend on the time as well.
RUN_KINDS: tuple[Kind, ...] = (*("silent", "failed", "suspicious", "unusual", "clock", "losing"),)


@dataclass(frozen=True, slots=True)
class Series:
    """The runs of one type, repository and backup type of a machine (or of a job without one)."""

    id: int
    vm_name: str | None
    job_id: str | None
    job_type: str
    repository_id: str | None
    backup_type: str | None

    @property
    def subject(self) -> str:
        """The `subject` of its items."""
        return f"series:{self.id}"

    @property
    def title(self) -> str:
        """How a sentence names it: `backup of db1 to repo-a`."""
        kind = f"{self.backup_type} {self.job_type}" if self.backup_type else self.job_type
        where = f" to {self.repository_id}" if self.repository_id else ""
        return f"{kind} of {self.vm_name or self.job_id}{where}"

    @property
    def rule_subject(self) -> Subject:
        """What rules are looked up for."""
        return Subject(job_type=self.job_type, vm_name=self.vm_name, job_id=self.job_id)

    def about(self, run: Run | None = None) -> About:
        """The series, and one of its runs, as the columns of an item."""
        return About(
            series_id=self.id,
            job_id=None if run is None else run.key,
            vm_name=self.vm_name,
            job_type=self.job_type,
            repository_id=self.repository_id,
        )


@dataclass(frozen=True, slots=True)
class SeriesState:
    """What is known of a series. `state` is that of its newest ended run, `ended`; `failures`:
    since the last good one, in a row."""

    state: str
    last: Run | None
    ended: Run | None
    last_good: Run | None
    failures: int
    rhythm: Rhythm | None


def state_of(history: Sequence[Run], rhythm: Rhythm | None) -> SeriesState:
    """The state of a series from its newest runs, newest first, and its rhythm."""
    ended = [run for run in history if run.ended_at is not None]
    is_live = any(run.is_live for run in history)
    failures = 0
    for run in ended:
        if run.status == "completed":
            break
        failures += run.status == "failed"
    last_good = next((run for run in ended if is_good(run)), None)
    if not ended:
        state = "running" if is_live else "new"
    elif ended[0].status == "completed":
        state = ended[0].result or "good"
    else:
        state = ended[0].status
    return SeriesState(
        state=state,
        last=history[0] if history else None,
        ended=ended[0] if ended else None,
        last_good=last_good,
        failures=failures,
        rhythm=rhythm,
    )


def is_good(run: Run) -> bool:
    """Whether a run was what it should be: completed, and without contradiction.

    An unusual run is one too: what it differs from may have changed for good.
    """
    return run.status == "completed" and all(each.kind != "suspicious" for each in run.findings)


def findings_of(
    series: Series, history: Sequence[Run], state: SeriesState, now: datetime
) -> list[Finding]:
    """What of RUN_KINDS holds for a series, by its newest runs, newest first."""
    if not history or now - _last_sign(history[0]) > RETIRED_AFTER:
        return []
    stalled = next((run for run in history if run.status == "stalled"), None)
    ended = [run for run in history if run.ended_at is not None and run.status != "cancelled"]
    found = _of_newest_end(series, ended, state) if ended else []
    if stalled is not None and all(finding.kind != "silent" for finding in found):
        found.append(_stalled_finding(series, stalled))
    found += _of_senders(series, history)
    return found


def _of_senders(series: Series, history: Sequence[Run]) -> list[Finding]:
    """A wrong clock and losses, of the newest run and of those that are live beside it.

    find_attention finds them in every live run: what it opens must not be ended by another's.
    """
    found = []
    current = [history[0], *(run for run in history[1:] if run.is_live)]
    fast = next((run for run in current if (run.clock_skew_seconds or 0.0) > CLOCK_SECONDS), None)
    wrong = fast or (history[0] if _is_clock_behind(history) else None)
    if wrong is not None and wrong.clock_skew_seconds is not None:
        about, since = series.about(wrong), wrong.started_at
        found.append(clock_finding(about, series.subject, since, wrong.clock_skew_seconds))
    losing = next((run for run in current if run.loss), None)
    if losing is not None and losing.loss:
        about, since = series.about(losing), losing.started_at
        found.append(loss_finding(about, series.subject, since, losing.loss))
    return found


def _is_clock_behind(history: Sequence[Run]) -> bool:
    """A clock that seems to be behind may be updates that arrived late: not equally late twice."""
    skews = [run.clock_skew_seconds or 0.0 for run in history[:2]]
    return (
        len(skews) == 2
        and max(skews) < -CLOCK_SECONDS
        and abs(skews[0] - skews[1]) < SAME_SKEW_SECONDS
    )


def clock_finding(about: About, subject: str, since: datetime, skew: float) -> Finding:
    """A sender's clock is wrong by so many seconds."""
    way = "ahead of" if skew > 0 else "behind"
    summary = f"The sender's clock is {duration(abs(skew))} {way} the hub's."
    evidence = {"clock_skew_seconds": round(skew, 1)}
    return Finding("clock", "info", subject, since, summary, about, evidence)


def loss_finding(about: About, subject: str, since: datetime, warning: str) -> Finding:
    """A sender says that it has lost updates."""
    return Finding("losing", "warning", subject, since, warning, about)


def _stalled_finding(series: Series, run: Run) -> Finding:
    since = run.last_seen_at or run.started_at
    summary = f"{run.title} has sent nothing since {instant(since)}."
    evidence = {"last_seen_at": since}
    about = series.about(run)
    return Finding("silent", "warning", series.subject, since, summary, about, evidence)


def _of_newest_end(series: Series, ended: Sequence[Run], state: SeriesState) -> list[Finding]:
    newest = ended[0]
    about = series.about(newest)
    assert newest.ended_at is not None
    if newest.status == "failed":
        first = _first_failure(ended)
        assert first.ended_at is not None
        kind: Kind = "silent" if newest.ended_by == "detector" else "failed"
        evidence: dict[str, Any] = {
            "failures": state.failures,
            "last_good_at": _end_of(state.last_good),
            "error": newest.error,
        }
        summary = _failed_sentence(newest, state, len(ended))
        return [Finding(kind, "critical", series.subject, first.ended_at, summary, about, evidence)]
    found: list[Finding] = []
    if newest.status != "completed":
        return found
    for wanted, severity in _COMPLETED_KINDS:
        judgements = [each for each in newest.findings if each.kind == wanted]
        if judgements:
            summary = " ".join(each.summary for each in judgements)
            evidence = {}
            for each in judgements:
                evidence |= each.evidence
            if state.last_good is not None and wanted == "suspicious":
                evidence["last_good_at"] = state.last_good.ended_at
            since = _first_with(ended, wanted).ended_at
            assert since is not None
            found.append(Finding(wanted, severity, series.subject, since, summary, about, evidence))
    return found


_COMPLETED_KINDS: tuple[tuple[Kind, Severity], ...] = (
    ("suspicious", "warning"),
    ("unusual", "warning"),
)


def _first_failure(ended: Sequence[Run]) -> Run:
    """The first of the failed runs since the last completed one."""
    first = ended[0]
    for run in ended:
        if run.status == "completed":
            break
        if run.status == "failed":
            first = run
    return first


def _first_with(ended: Sequence[Run], kind: str) -> Run:
    """The first of the newest runs that all have a finding of a kind."""
    first = ended[0]
    for run in ended:
        if all(each.kind != kind for each in run.findings):
            break
        first = run
    return first


def _failed_sentence(newest: Run, state: SeriesState, known: int) -> str:
    failed = (
        "The last run failed"
        if state.failures == 1
        else (f"The last {runs(state.failures)} failed")
    )
    if newest.ended_by == "detector":
        failed += ", the newest because it was silent"
    if state.last_good is not None and state.last_good.ended_at is not None:
        return f"{failed}; the last good one ended {instant(state.last_good.ended_at)}."
    if known > state.failures:
        return f"{failed}; no good one is known."
    return f"{failed}; there has been no good one."


def overdue_finding(
    series: Series, rhythm: Rhythm, last_run: str | None, last_good_at: datetime | None
) -> Finding:
    """That a series has had no good run for so long that it is overdue by its rhythm."""
    good = "" if last_good_at is None else f" The last good one ended {instant(last_good_at)}."
    summary = (
        f"No good run since {instant(rhythm.next_at)}, when one was expected; usual is one every "
        f"{duration(rhythm.distance_seconds)}.{good}"
    )
    evidence = {
        "expected_at": rhythm.next_at,
        "usual_distance_seconds": round(rhythm.distance_seconds),
        "last_good_at": last_good_at,
    }
    about = replace(series.about(), job_id=last_run)
    subject, since = series.subject, rhythm.overdue_at
    return Finding("overdue", "critical", subject, since, summary, about, evidence)


def _last_sign(run: Run) -> datetime:
    return run.ended_at or run.started_at


def _end_of(run: Run | None) -> datetime | None:
    return None if run is None else run.ended_at
