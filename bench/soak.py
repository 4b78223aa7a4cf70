"""Whether the hub slows down, grows or errs while it works for long.

    python bench/soak.py                                  half an hour, embedded database
    python bench/soak.py --minutes 2                      to try it: everything is shorter
    python bench/soak.py --database-url postgresql://…    a hub of its own on that server
    python bench/soak.py --no-browser                     without Chromium

A hub of its own; jobs that begin, run, end and go quiet push --rate updates a second by the clock,
20 nodes push their health, the dashboard is open in two tabs of Chromium, and all tasks run ten
times as often as set. A line a minute; at the end what was acknowledged is counted in the tables.
Ends with 1 if anything FAILS. It writes jobs named …-soak… and leaves them: use a database that can
be dropped.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import signal
import statistics
import sys
import time
import urllib.error
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import psycopg

from bench.crowd import NODES, Crowd, Ledger, RunningCrowd, Second
from bench.ingest import Hub, running_hub
from bench.processes import MIB, name_parts, usage_of
from bench.verdicts import (
    Plan,
    Point,
    Verdict,
    judge_latency,
    judge_memory,
    judge_stored,
    median_within,
    quantile,
    slope_per_minute,
)
from tools.browser.chromium import open_chromium
from tools.browser.measure import heap_bytes
from tools.browser.views import job_path, open_view, wait_ready
from tools.browser.watch import Watch

TASK_SPEEDUP = 10
LOOK_SECONDS = 5  # at the processes, /health and the log
OWN_PARTS = ("supervisor", "tasks", "web")  # not the database, whose cache grows with its data
ERRORS_SHOWN = 20
FETCHED = (200, 304)

_SIZES = """
SELECT name, coalesce(
    (SELECT sum(pg_total_relation_size(chunk)) FROM show_chunks(name::regclass) AS chunk), 0)
FROM unnest(ARRAY['job_telemetry', 'disk_telemetry', 'node_telemetry']) AS name
UNION ALL
SELECT name, pg_total_relation_size(name::regclass)
FROM unnest(ARRAY['jobs', 'job_disks', 'job_events', 'tasks', 'ingest_beats', 'nodes']) AS name
UNION ALL
SELECT 'all', pg_database_size(current_database())
"""
_STORED = """
SELECT {name}, count(*), count(DISTINCT time) FROM {table}
WHERE {name} = ANY(%s) GROUP BY {name}
"""


@dataclass
class Run:
    """What has been seen so far, by the seconds since the beginning."""

    plan: Plan
    began: float = field(default_factory=time.monotonic)
    latencies: list[list[float]] = field(default_factory=list)  # by window
    minute: list[float] = field(default_factory=list)  # latencies since the last line
    memory: dict[str, list[Point]] = field(default_factory=dict)  # MiB by process
    private: dict[str, list[Point]] = field(default_factory=dict)  # shared pages by their part
    files: dict[str, list[Point]] = field(default_factory=dict)
    threads: dict[str, list[Point]] = field(default_factory=dict)
    tables: dict[str, list[Point]] = field(default_factory=dict)  # MiB by table
    heaps: dict[str, list[Point]] = field(default_factory=dict)  # MiB by page
    pids: dict[str, int] = field(default_factory=dict)
    errors: Counter[str] = field(default_factory=Counter)
    early: Counter[str] = field(default_factory=Counter)  # in the warm-up: 2,500 jobs begin at once
    fetched: int = 0  # answers to the dashboard
    looks: int = 0
    late_looks: int = 0  # at /health that found a task late
    durations: dict[str, list[Point]] = field(default_factory=dict)  # milliseconds by task
    load_cpu: float = 0.0
    disk: list[str] = field(default_factory=list)  # when it was slow, in the engine's words

    def __post_init__(self) -> None:
        self.latencies = [[] for _ in range(self.plan.windows)]

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.began

    def add(self, second: Second) -> None:
        """A second of the senders."""
        window = self.plan.window_of(self.seconds)
        if window is not None:
            self.latencies[window] += second.latencies
        self.minute += second.latencies
        self.load_cpu = max(self.load_cpu, second.cpu_seconds)
        errors = self.early if window is None else self.errors
        for error, count in second.errors.items():
            errors[f"a push was {error}"] += count

    def point(self, where: dict[str, list[Point]], name: str, value: float) -> None:
        where.setdefault(name, []).append((self.seconds, value))


# ---------------------------------------------------------------------------------------------
# Looking.


class Observer:
    """Looks at the hub from outside: its processes, /health, its log and its tables."""

    def __init__(self, hub: Hub, run: Run, dsn: str) -> None:
        assert hub.pid is not None
        assert hub.folder is not None
        self._hub = hub
        self._run = run
        self._pid = hub.pid
        self._dsn = dsn
        self._log = (hub.folder / "hub.log").open()

    def look(self) -> None:
        self._look_at_processes()
        self._look_at_health()
        self.read_log()

    def look_at_tables(self) -> None:
        with psycopg.connect(self._dsn, autocommit=True, prepare_threshold=None) as conn:
            for name, size in conn.execute(_SIZES).fetchall():
                self._run.point(self._run.tables, name, float(size) / MIB)

    def read_log(self) -> None:
        """Count what the hub logged as an error since the last time, and keep what the disk did."""
        for line in self._log:
            try:
                entry = json.loads(line)
            except ValueError:
                continue  # messages for the terminal
            if entry["level"] in ("ERROR", "CRITICAL"):
                self._run.errors[f"the log says {entry['logger']}: {entry['message'][:200]}"] += 1
            elif entry["message"].startswith("slow_disk"):
                self._run.disk.append(f"{self._run.seconds / 60:5.1f} min: {entry['message']}")

    def _look_at_processes(self) -> None:
        run = self._run
        names: Counter[str] = Counter()
        for pid, part in name_parts(self._pid).items():
            names[part] += 1
            name = part if names[part] == 1 else f"{part} {names[part]}"
            if run.pids.setdefault(name, pid) != pid:
                run.errors[f"the process {name} was restarted"] += 1
                run.pids[name] = pid
            if (usage := usage_of(pid)) is not None:
                run.point(run.memory, name, usage.resident_bytes / MIB)
                run.point(run.private, name, usage.proportional_bytes / MIB)
                run.point(run.files, name, usage.files)
                run.point(run.threads, name, usage.threads)

    def _look_at_health(self) -> None:
        try:
            health = json.loads(self._hub.get("/health"))
        except urllib.error.HTTPError as exc:
            self._run.errors[f"/health was {exc.code}"] += 1
            return
        except OSError as exc:
            self._run.errors[f"/health was not answered: {type(exc).__name__}"] += 1
            return
        tasks = health["checks"]["tasks"]["tasks"]
        self._run.looks += 1
        self._run.late_looks += any(task["status"] == "late" for task in tasks)
        for task in tasks:
            if (duration := task["last_duration_seconds"]) is not None:
                self._run.point(self._run.durations, task["task_id"], duration * 1000)
            if task["error"]:
                self._run.errors[f"the task {task['task_id']} failed: {task['error']}"] += 1


@contextmanager
def open_dashboard(hub: Hub, crowd: Crowd, run: Run) -> Iterator[Callable[[float], None]]:
    """The overview in one tab and a live job's chart in another; yields how to let time pass."""
    watch = Watch(hub.url)
    with open_chromium() as browser:
        context = browser.new_context(base_url=hub.url, viewport={"width": 1280, "height": 800})
        watch.follow(context)

        def count(answer: Any) -> None:
            run.fetched += 1
            if answer.status not in FETCHED:
                run.errors[f"the dashboard was answered {answer.status}"] += 1

        context.on("response", count)
        overview, chart = context.new_page(), context.new_page()
        open_view(overview, "overview")
        chart.goto(job_path(crowd.watched.job_id, "?tab=performance"))
        wait_ready(chart, 1)
        tools = {
            "overview": context.new_cdp_session(overview),
            "chart": context.new_cdp_session(chart),
        }
        next_heap_at = 0.0

        def rest(seconds: float) -> None:
            nonlocal next_heap_at
            if seconds > 0:
                overview.wait_for_timeout(seconds * 1000)
            if run.seconds >= next_heap_at:
                next_heap_at = run.seconds + run.plan.rare_seconds
                for name, tool in tools.items():
                    run.point(run.heaps, name, heap_bytes(tool) / MIB)
            for event in watch.seen:
                run.errors[f"the browser: {event[:200]}"] += 1
            watch.seen.clear()

        yield rest
        context.close()


@contextmanager
def no_dashboard() -> Iterator[Callable[[float], None]]:
    yield lambda seconds: time.sleep(max(0.0, seconds))


# ---------------------------------------------------------------------------------------------
# The run.


def soak(hub: Hub, args: argparse.Namespace) -> list[Verdict]:
    """Let it all run, say what is seen, and judge it."""
    plan = Plan.of(args.minutes)
    crowd = Crowd(hub.host, hub.port, args.rate, args.seed, datetime.now(UTC))
    dsn = args.database_url or _embedded_dsn(hub)
    print(
        f"{args.rate:g} updates/s of {crowd.jobs} jobs, {NODES} nodes; {plan.warmup_seconds:.0f} s"
        f" of warm-up, {plan.windows} windows of {plan.window_seconds:.0f} s; {os.cpu_count()}"
        f" cores, load {os.getloadavg()[0]:.1f}\n",
        flush=True,
    )
    running = RunningCrowd(crowd)
    time.sleep(3)  # until the watched job is known
    run = Run(plan)
    observer = Observer(hub, run, dsn)
    browser = no_dashboard() if args.no_browser else open_dashboard(hub, crowd, run)
    with browser as rest:
        _watch(run, running, observer, rest)
        ledger = running.stop()
    run.add(ledger.last)
    observer.look()
    verdict = count_stored(dsn, ledger)
    return [*report(run), verdict]


def _embedded_dsn(hub: Hub) -> str:
    assert hub.folder is not None
    return str(json.loads((hub.folder / "engine.json").read_text())["dsn"])


def _watch(
    run: Run, running: RunningCrowd, observer: Observer, rest: Callable[[float], None]
) -> None:
    """Look at everything in turn until the time is up."""
    next_look, next_size, next_line = 0.0, 0.0, 60.0
    print(_HEADING)
    while run.seconds < run.plan.seconds:
        for second in running.seconds():
            run.add(second)
        if run.seconds >= next_look:
            next_look = run.seconds + LOOK_SECONDS
            observer.look()
        if run.seconds >= next_size:
            next_size = run.seconds + run.plan.rare_seconds
            observer.look_at_tables()
        if run.seconds >= next_line:
            next_line += 60
            _print_minute(run)
        rest(1 - run.seconds % 1)
    observer.look_at_tables()


def count_stored(dsn: str, ledger: Ledger) -> Verdict:
    """The ledger against the tables."""
    stored: dict[str, tuple[int, int]] = {}
    with psycopg.connect(dsn, autocommit=True, prepare_threshold=None) as conn:
        for names, table, name in (
            (list(ledger.jobs), "job_telemetry", "job_id"),
            (list(ledger.nodes), "node_telemetry", "node_id"),
        ):
            sql = _STORED.format(name=name, table=table).encode()
            rows = conn.execute(sql, (names,)).fetchall()
            stored |= {sender: (count, instants) for sender, count, instants in rows}
    return judge_stored({**ledger.jobs, **ledger.nodes}, stored)


# ---------------------------------------------------------------------------------------------
# What is printed.

_HEADING = (
    "  min  acked/s  p50 ms  p99 ms |  web  tasks  superv.  engine MiB | files threads |"
    "  database MiB | errors  load"
)


def _print_minute(run: Run) -> None:
    latest = {name: points[-1][1] for name, points in run.memory.items()}
    sizes = [latest.get(part, math.nan) for part in ("web", "tasks", "supervisor", "database")]
    files, threads = (
        sum(points[-1][1] for name, points in found.items() if name != "database")
        for found in (run.files, run.threads)
    )
    print(
        f"{run.seconds / 60:5.0f}  {len(run.minute) / 60:7.1f}"
        f"  {quantile(run.minute, 0.5) * 1000:6.1f}  {quantile(run.minute, 0.99) * 1000:6.1f} |"
        f"{sizes[0]:5.0f}  {sizes[1]:5.0f}  {sizes[2]:7.0f}  {sizes[3]:10.0f} |"
        f" {files:5.0f} {threads:7.0f} | {run.tables['all'][-1][1]:13.1f} |"
        f" {sum(run.errors.values()):6} {os.getloadavg()[0]:5.1f}",
        flush=True,
    )
    run.minute.clear()


def report(run: Run) -> list[Verdict]:
    """Print all that was measured; the verdicts on it."""
    plan = run.plan
    _print_windows(run)
    unit = "MiB: after the first window, at the end, a minute in the last third"
    _print_growth(f"resident, {unit}", run.memory, plan)
    _print_growth(f"resident, shared pages by their part, {unit}", run.private, plan)
    _print_growth("open files", run.files, plan)
    _print_growth("threads", run.threads, plan)
    _print_growth(f"tables, {unit}", run.tables, plan)
    _print_growth(f"the dashboard's heap, {unit}", run.heaps, plan)
    _print_growth(
        "runs of tasks, ms: after the first window, at the end, a minute in the last third",
        run.durations,
        plan,
    )
    print(
        f"\nthe dashboard was answered {run.fetched} times; a task was late in {run.late_looks} of"
        f" {run.looks} looks at /health; the senders took"
        f" {run.load_cpu / run.seconds / (os.cpu_count() or 1):.1%} of the machine\n"
    )
    for line in run.disk:
        print(line)
    for error, count in run.early.items():
        print(f"in the warm-up: {count} × {error}")
    for error, count in run.errors.most_common(ERRORS_SHOWN):
        print(f"{count} × {error}")
    p99 = [quantile(found, 0.99) for found in run.latencies]
    own = [name for name in run.memory if name.split()[0] in OWN_PARTS]
    errors = sum(run.errors.values())
    return [
        judge_latency(p99),
        *(judge_memory(name, run.memory[name], plan) for name in own),
        Verdict("no error", errors == 0, f"{errors} of {len(run.errors)} kinds"),
    ]


def _print_windows(run: Run) -> None:
    print("\nwindow  acked/s   mean ms    p50 ms    p99 ms    max ms")
    for number, found in enumerate(run.latencies, 1):
        figures = [
            statistics.fmean(found) if found else math.nan,
            *(quantile(found, share) for share in (0.5, 0.99, 1.0)),
        ]
        text = "".join(f"{seconds * 1000:10.1f}" for seconds in figures)
        print(f"{number:6}  {len(found) / run.plan.window_seconds:7.1f}{text}")


def _print_growth(title: str, found: dict[str, list[Point]], plan: Plan) -> None:
    print(f"\n{title}")
    for name, points in found.items():
        before, after = (median_within(points, span) for span in (plan.baseline, plan.ending))
        slope = slope_per_minute(points, plan.last_third)
        print(f"  {name:<24} {before:9.1f} {after:9.1f} {slope:+9.2f}")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=30, help="after the warm-up")
    parser.add_argument("--rate", type=float, default=500, help="updates a second")
    parser.add_argument("--seed", type=int, default=1, help="of what the jobs do")
    parser.add_argument("--database-url", help="a TimescaleDB server for the hub")
    parser.add_argument("--no-browser", action="store_true", help="without the dashboard")
    parser.set_defaults(url=None)
    return parser.parse_args()


def show(verdicts: Iterable[Verdict]) -> bool:
    """Print them; whether all hold."""
    found = list(verdicts)
    print()
    for verdict in found:
        print(verdict, flush=True)
    return all(verdict.holds for verdict in found)


def main() -> int:
    args = parse_arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what it has started ends with it
    with running_hub(args, HUB_TASK_SPEEDUP=str(TASK_SPEEDUP)) as hub:
        holds = show(soak(hub, args))
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
