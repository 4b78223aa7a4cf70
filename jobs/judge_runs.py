"""Judges ended runs, and keeps the state of their series: what is usual, and what is wrong.

Triggers note which runs have changed. A run is judged once it has its summary: when nothing more
has arrived for a moment.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import chain

from app.config import Config
from app.database.pool import Connection, Database
from app.domain.attention.rhythm import MOST_STARTS, Rhythm, follow_schedule, learn_rhythm
from app.domain.attention.run import Judgement, Result, Run, judge
from app.domain.attention.series import (
    MOST_RUNS,
    RUN_KINDS,
    Series,
    findings_of,
    is_good,
    state_of,
)
from app.domain.attention.usual import FACTOR, GoodRun, pace_of, usual_of
from app.domain.attention.usual import MOST_RUNS as MOST_USUAL_RUNS
from app.domain.rules import RuleSet, Schedule, Subject
from app.errors import DatabaseUnavailable
from app.store import findings as findings_store
from app.store import series as store
from app.store.findings import Changes
from app.store.rules import read_rules
from app.store.series import KeptSeries
from app.store.staleness import read_clock

logger = logging.getLogger("hub.tasks.judge")

PAGE_CHANGES = 100  # a page blocks the embedded database
# After an upgrade every run is judged. The next run of the task continues, so that a process can
# stop soon.
LONGEST_RUN_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Judged:
    """The result of a run of the task: runs that had changed, series, and items of attention.

    `errors`: changes that could not be judged. They are in the log, and are given up.
    """

    runs: int
    series: int
    opened: int
    changed: int
    ended: int
    errors: int = 0


def run_once(database: Database, config: Config, now: datetime | None = None) -> Judged:
    """Judge the runs that have changed, in pages of one transaction each.

    A page that fails is made smaller until the change that cannot be judged is alone: it stops no
    other. Raises DatabaseUnavailable.
    """
    runs = series = errors = 0
    changes = Changes()
    limit = PAGE_CHANGES
    give_up_at = time.monotonic() + LONGEST_RUN_SECONDS
    while time.monotonic() < give_up_at:
        try:
            page = _judge_page(database, limit, now)
        except DatabaseUnavailable:
            raise
        except Exception:
            if limit == 1:
                _give_up(database)
                errors += 1
            limit = max(1, limit // 2)
            continue
        if page is None:
            break
        runs += page.runs
        series += page.series
        changes += page.changes
        limit = min(PAGE_CHANGES, 2 * limit)
    return Judged(runs, series, changes.opened, changes.changed, changes.ended, errors)


@dataclass(frozen=True, slots=True)
class _Page:
    """What was judged in one transaction."""

    runs: int
    series: int
    changes: Changes


def _judge_page(database: Database, limit: int, now: datetime | None) -> _Page | None:
    """Judge the runs of the oldest changes; None: nothing has changed."""
    with database.transaction() as conn:
        ids = store.claim_changes(conn, limit)
        if not ids:
            return None
        clock = read_clock(conn, now)
        touched = store.place_runs(conn, ids)
        return _Page(len(ids), len(touched), _judge(conn, ids, touched, clock))


def _give_up(database: Database) -> None:
    """Forget the oldest change, which cannot be judged. Called while its error is handled."""
    with database.transaction() as conn:
        ids = store.claim_changes(conn, 1)
    logger.exception("the run %s cannot be judged", ", ".join(map(str, ids)))


def _judge(conn: Connection, ids: Sequence[int], touched: Sequence[int], now: datetime) -> Changes:
    rules = read_rules(conn)
    known = store.read_series(conn, touched)
    histories = store.read_histories(conn, touched, MOST_RUNS)
    judged = _judge_runs(conn, ids, known, histories, rules)
    if judged:
        store.write_results(conn, judged)
    kept = _keep_series(conn, known, histories, judged, rules)
    store.write_states(conn, kept)
    store.delete_empty_series(conn, [each.id for each in known if each.id not in histories])
    states = {each.series_id: each.state for each in kept}
    findings = [
        finding
        for series in known
        if (history := histories.get(series.id))
        and not rules.is_muted(_subject_of(series, history[0]), now)
        for finding in findings_of(series, history, states[series.id], now)
    ]
    subjects = [each.subject for each in known]
    return findings_store.reconcile(conn, RUN_KINDS, findings, now, subjects=subjects)


def _judge_runs(
    conn: Connection,
    ids: Sequence[int],
    known: Sequence[Series],
    histories: dict[int, list[Run]],
    rules: RuleSet,
) -> dict[int, tuple[Result | None, Sequence[Judgement]]]:
    """The result and findings of each run that has changed; the histories then have them too."""
    by_id = {each.id: each for each in known}
    disks = store.read_disks(conn, ids)
    judged: dict[int, tuple[Result | None, Sequence[Judgement]]] = {}
    for series_id, run in store.read_runs(conn, ids):  # ascending, as each counts for the next
        history = histories[series_id]
        if run.status == "completed" and run.is_settled:
            factor = rules.setting("unusual_factor", _subject_of(by_id[series_id], run))
            before = [each for each in history if each.started_at < run.started_at]
            usual = usual_of(_good_runs(before), factor.value if factor else FACTOR)
            findings = judge(replace(run, disks=disks.get(run.id, ())), usual)
            judged[run.id] = ("warning" if findings else "good", findings)
        elif run.result is not None or run.findings or run.status != "completed":
            judged[run.id] = (None, ())
        else:
            continue
        result, now_found = judged[run.id]
        histories[series_id] = [
            replace(each, result=result, findings=tuple(now_found)) if each.id == run.id else each
            for each in history
        ]
    return judged


def _keep_series(
    conn: Connection,
    known: Sequence[Series],
    histories: Mapping[int, Sequence[Run]],
    judged: Collection[int],
    rules: RuleSet,
) -> list[KeptSeries]:
    """What is to be stored of each series. What is usual changes only with a judged run."""
    starts = store.read_starts(conn, [series.id for series in known], MOST_STARTS)
    good = {
        series_id: [run for run in history if is_good(run) and run.is_settled][:MOST_USUAL_RUNS]
        for series_id, history in histories.items()
        if any(run.id in judged for run in history)
    }
    progress = store.read_progress(conn, chain.from_iterable(good.values()))
    kept = []
    for series in known:
        history = histories.get(series.id)
        if not history:
            continue
        rhythm = _scheduled(rules, series, history) or learn_rhythm(starts.get(series.id, ()))
        usual = pace = None
        if series.id in good:
            counted = [
                GoodRun(run.seconds, run.bytes, progress.get(run.id, ())) for run in good[series.id]
            ]
            factor = rules.setting("unusual_factor", _subject_of(series, history[0]))
            usual = usual_of(counted, factor.value if factor else FACTOR)
            pace = pace_of(counted)
        kept.append(KeptSeries(series.id, state_of(history, rhythm), usual, pace))
    return kept


def _good_runs(history: Sequence[Run]) -> list[GoodRun]:
    return [GoodRun(run.seconds, run.bytes) for run in history if is_good(run)]


def _scheduled(rules: RuleSet, series: Series, history: Sequence[Run]) -> Rhythm | None:
    """The rhythm that a rule names: a schedule, or how long after a good run the next is due."""
    applied = rules.rhythm(_subject_of(series, history[0]))
    if applied is None:
        return None
    good = next((run for run in history if is_good(run)), history[-1])
    if isinstance(applied.value, Schedule):
        schedule = applied.value
        return follow_schedule(schedule.expression, schedule.timezone, good.started_at)
    return Rhythm.after(good.started_at, applied.value)


def _subject_of(series: Series, run: Run) -> Subject:
    return Subject(job_type=series.job_type, vm_name=series.vm_name, job_id=run.name)
