"""How many updates a second the hub acknowledges, how fast, and at what cost.

    python bench/ingest.py                                  a hub of its own, embedded database
    python bench/ingest.py --database-url postgresql://…    a hub of its own on that server, beside
                                                            pgbench doing the same work directly
    python bench/ingest.py --url http://127.0.0.1:8082      a hub that runs already
    python bench/ingest.py --rate 1000                      a fixed rate: database time per update
    python bench/ingest.py --full-queue                     how fast an overloaded hub refuses

It writes jobs named bench-… and pgbench-…, and leaves them: use a database that can be dropped.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from bench.load import Load, Outcome, run_load  # noqa: E402
from bench.processes import (  # noqa: E402
    MIB,
    cpu_seconds,
    part_of,
    process_tree,
    read,
    resident_bytes,
)

START_SECONDS = 120
PGBENCH_CLIENTS = 8
PGBENCH_JOBS = 1_000
SMALL_QUEUE = 32  # updates, for --full-queue
REFUSAL_LIMIT_SECONDS = 0.1
# Far less patient than Retry-After asks, yet no endless loop: that would measure the machine.
REST_SECONDS = 0.1

Result = dict[str, Any]


# ---------------------------------------------------------------------------------------------
# The hub that is measured: its start, its memory, its own counters.


class Hub:
    """A running hub, and what can be seen of it from outside."""

    def __init__(
        self, url: str, pid: int | None, token: str = "", folder: Path | None = None
    ) -> None:
        parts = urlsplit(url)
        self.folder = folder  # of its data and its log, hub.log, if it is ours
        self.url = url.rstrip("/")
        self.host, self.port = parts.hostname or "127.0.0.1", parts.port or 80
        self.pid = pid
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}

    def get(self, path: str) -> str:
        request = urllib.request.Request(f"{self.url}/api/v1{path}", headers=self._headers)
        with urllib.request.urlopen(request, timeout=10) as answer:
            return str(answer.read().decode())

    def memory(self) -> dict[str, float]:
        """Resident MiB by part: web (the largest worker), and all processes. Empty if unknown."""
        if self.pid is None:
            return {}
        parts: dict[str, list[int]] = {}
        for pid in process_tree(self.pid):
            parts.setdefault(part_of(pid), []).append(resident_bytes(pid))
        sizes = {part: sum(found) / MIB for part, found in parts.items()}
        return {**sizes, "web": max(parts.get("web", [0])) / MIB, "all": sum(sizes.values())}

    def cpu_seconds(self) -> float:
        """What the web processes have used so far."""
        pids = [] if self.pid is None else process_tree(self.pid)
        return sum(cpu_seconds(pid) for pid in pids if part_of(pid) == "web")

    def counters(self) -> dict[str, float]:
        """The samples of GET /metrics by name and labels."""
        lines = (line for line in self.get("/metrics").splitlines() if line[:1] not in ("#", ""))
        return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


@contextmanager
def running_hub(args: argparse.Namespace, token: str = "", **settings: str) -> Iterator[Hub]:
    """The hub at --url, or one of our own that is stopped in the end. `token`: to look at it."""
    if args.url:
        yield Hub(args.url, _listener(urlsplit(args.url).port or 80))
        return
    with tempfile.TemporaryDirectory(prefix="hub-bench-") as folder, socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        env = {
            **os.environ,
            "HUB_PORT": str(port),
            "HUB_DATA_DIR": folder,
            "HUB_EMBEDDED_PORT": "0",
            **({"DATABASE_URL": args.database_url} if args.database_url else {}),
            **settings,
        }
        log_path = Path(folder) / "hub.log"
        with log_path.open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "app", "serve"], cwd=ROOT, env=env, stdout=log, stderr=log
            )
        try:
            hub = Hub(f"http://127.0.0.1:{port}", process.pid, token, Path(folder))
            _wait_until_healthy(hub, process, log_path)
            yield hub
        finally:
            process.terminate()
            process.wait(60)


def _wait_until_healthy(hub: Hub, process: subprocess.Popen[bytes], log_path: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            hub.get("/health")
            return
        except OSError:
            time.sleep(0.2)
    raise SystemExit(f"bench: the hub did not start:\n{log_path.read_text()[-2000:]}")


def _listener(port: int) -> int | None:
    """The supervisor of the processes that listen on a port of this machine, if there are any."""
    rows = [line.split() for line in read(Path("/proc/net/tcp")).splitlines()[1:]]
    inodes = {f"socket:[{row[9]}]" for row in rows if row[1].endswith(f":{port:04X}")}
    for link in sorted(Path("/proc").glob("[0-9]*/fd/*"), key=lambda path: int(path.parts[2])):
        try:
            if os.readlink(link) in inodes:
                return _topmost(int(link.parts[2]))
        except OSError:
            continue
    return None


def _topmost(pid: int) -> int:
    """The last of its ancestors that is a Python process as well."""
    found = re.search(r"PPid:\s+(\d+)", read(Path(f"/proc/{pid}/status")))
    parent = int(found[1]) if found else 0
    command = read(Path(f"/proc/{parent}/cmdline"))
    return _topmost(parent) if "python" in command.split("\0")[0] else pid


# ---------------------------------------------------------------------------------------------
# Measuring.


def measure(hub: Hub, load: Load) -> Result:
    """Push a load; rates, latencies (ms), memory (MiB) and the hub's own view of its commits."""
    before, cpu_before = hub.counters(), hub.cpu_seconds()
    peaks: dict[str, float] = {}

    def sample() -> None:
        for part, size in hub.memory().items():
            peaks[part] = max(peaks.get(part, 0), size)

    outcome = run_load(load, sample)
    after, cpu_after = hub.counters(), hub.cpu_seconds()
    changes = {name: value - before.get(name, 0) for name, value in after.items()}
    stored = changes.get("hub_commit_updates_sum") or float("nan")
    return {
        "acknowledged_per_second": round(outcome.acknowledged_per_second),
        "p50_ms": _milliseconds(outcome.quantile(0.5)),
        "p99_ms": _milliseconds(outcome.quantile(0.99)),
        "answers": {status: len(found) for status, found in outcome.latencies.items()},
        "cpu_us_per_update": round((cpu_after - cpu_before) / stored * 1e6, 1),
        "memory_mib": {part: round(size, 1) for part, size in peaks.items()},
        **_commits(changes),
    }


def _commits(changes: dict[str, float]) -> Result:
    """Transactions between two looks at the counters, the load's warm-up included."""
    count = changes.get("hub_commit_seconds_count", 0)
    updates = changes.get("hub_commit_updates_sum", 0)
    if not count or not updates:
        return {}
    seconds = changes["hub_commit_seconds_sum"]
    return {
        "updates_per_commit": round(updates / count, 1),
        "database_ms_per_update": _milliseconds(seconds / updates),
        "commit_ms_mean": _milliseconds(seconds / count),
        "commit_ms_p99": _milliseconds(_histogram_quantile(changes, "hub_commit_seconds", 0.99)),
    }


def _histogram_quantile(changes: dict[str, float], name: str, share: float) -> float:
    """As Prometheus does it: linear inside the bucket."""
    pattern = re.compile(rf'{name}_bucket{{le="([^"]+)"}}')
    buckets = sorted(
        (float(found[1]), count)
        for sample, count in changes.items()
        if (found := pattern.fullmatch(sample))
    )
    rank = share * buckets[-1][1]
    low, below = 0.0, 0.0
    for high, count in buckets:
        if count >= rank:
            return (
                low
                if high == float("inf")
                else low + (high - low) * (rank - below) / (count - below)
            )
        low, below = high, count
    return low


def _milliseconds(seconds: float) -> float:
    return round(seconds * 1000, 3)


# ---------------------------------------------------------------------------------------------
# pgbench: the same work for one update with plain statements, one transaction each.

_VARIABLES = r"""\set job random(1, :jobs)
\set bytes random(100000000000, 999999999999)
\set speed random(100000000, 499999999)
\set eta random(1000, 9999)
"""
_UPDATE = """BEGIN;
UPDATE jobs SET status = 'running', current_phase = 'transferring', bytes_transferred = :bytes,
    total_bytes = 1099511627776, transfer_speed_bps = :speed, eta_seconds = :eta,
    progress_percent = 42.42, newest_update_at = now(), last_telemetry_at = now(),
    last_progress_at = now()
    WHERE job_id = 'pgbench-' || :job;
"""
_DISKS = """INSERT INTO job_disks (job_id, disk_index, status, bytes_transferred, total_bytes,
    progress_percent, newest_update_at)
    VALUES ('pgbench-' || :job, 0, 'transferring', :bytes, 549755813888, 42.42, now()),
           ('pgbench-' || :job, 1, 'transferring', :bytes, 549755813888, 42.42, now())
    ON CONFLICT (job_id, disk_index) DO UPDATE SET
    status = excluded.status, bytes_transferred = excluded.bytes_transferred,
    total_bytes = excluded.total_bytes, progress_percent = excluded.progress_percent,
    newest_update_at = excluded.newest_update_at;
"""
_SERIES = """INSERT INTO job_telemetry (time, arrival_lag_ms, job_id, status, current_phase,
    bytes_transferred, total_bytes, transfer_speed_bps, eta_seconds, progress_percent)
    VALUES (now(), 0, 'pgbench-' || :job, 'running', 'transferring', :bytes, 1099511627776,
            :speed, :eta, 42.42);
"""
_DISK_SERIES = """INSERT INTO disk_telemetry (time, job_id, disk_index, status, bytes_transferred,
    total_bytes, progress_percent)
    VALUES (now(), 'pgbench-' || :job, 0, 'transferring', :bytes, 549755813888, 42.42),
           (now(), 'pgbench-' || :job, 1, 'transferring', :bytes, 549755813888, 42.42);
"""
_SCRIPTS = {
    "plain.sql": (9, _VARIABLES + _UPDATE + _SERIES + "COMMIT;\n"),
    "disks.sql": (1, _VARIABLES + _UPDATE + _DISKS + _SERIES + _DISK_SERIES + "COMMIT;\n"),
}


def prepare_pgbench(url: str) -> None:
    """The jobs that pgbench updates. Needs a migrated database."""
    import psycopg

    with psycopg.connect(url) as conn:
        conn.execute(
            "INSERT INTO jobs (job_id, job_type, status)"
            " SELECT 'pgbench-' || n, 'backup', 'running' FROM generate_series(1, %s) AS n"
            " ON CONFLICT DO NOTHING",
            (PGBENCH_JOBS,),
        )


def run_pgbench(url: str, seconds: float) -> float:
    """Transactions, that is updates, per second."""
    with tempfile.TemporaryDirectory() as folder:
        scripts = []
        for name, (weight, text) in _SCRIPTS.items():
            (Path(folder) / name).write_text(text)
            scripts.append(f"--file={folder}/{name}@{weight}")
        command = ["pgbench", "--no-vacuum", "--protocol=prepared", f"--define=jobs={PGBENCH_JOBS}"]
        size = [f"--client={PGBENCH_CLIENTS}", "--jobs=2", f"--time={max(1, round(seconds))}"]
        pgbench = subprocess.run(
            [*command, *size, *scripts, url], capture_output=True, text=True, check=False
        )
    found = re.search(r"tps = ([\d.]+)", pgbench.stdout)
    if pgbench.returncode or not found:
        raise SystemExit(f"bench: pgbench failed:\n{pgbench.stderr[-2000:]}")
    return float(found[1])


# ---------------------------------------------------------------------------------------------
# The benches.


def bench_rates(hub: Hub, args: argparse.Namespace) -> dict[str, Result]:
    """Single updates and batches as fast as they go; between them pgbench, if there is a server."""
    singles, batches, peers = [], [], []
    if args.database_url:
        prepare_pgbench(args.database_url)
    for _ in range(args.rounds):
        singles.append(measure(hub, _load(hub, args, connections=args.connections)))
        if args.database_url:
            peers.append(run_pgbench(args.database_url, args.seconds))
        batches.append(measure(hub, _load(hub, args, connections=4, batch=args.batch)))
    results = {"single updates": _median(singles), f"batches of {args.batch}": _median(batches)}
    if peers:
        rate = statistics.median(peers)
        ratio = results["single updates"]["acknowledged_per_second"] / rate
        results["pgbench"] = {
            "acknowledged_per_second": round(rate),
            "hub_to_pgbench": round(ratio, 2),
            "rounds": [round(peer) for peer in peers],
        }
    return results


def bench_fixed_rate(hub: Hub, args: argparse.Namespace) -> dict[str, Result]:
    """Single updates at --rate: what one costs the database while nothing is saturated."""
    load = _load(hub, args, connections=args.connections, rate=args.rate)
    return {f"{args.rate:g} updates/s": _median([measure(hub, load) for _ in range(args.rounds)])}


def bench_full_queue(hub: Hub, args: argparse.Namespace) -> dict[str, Result]:
    """Overload: how fast a 503 comes, whether it says Retry-After, and whether /health answers."""
    health_seconds: list[float] = []
    peaks = [0.0]

    def look() -> None:
        began = time.monotonic()
        with suppress(urllib.error.HTTPError):  # an answer all the same
            hub.get("/health")
        health_seconds.append(time.monotonic() - began)
        peaks.append(hub.memory().get("all", 0))

    load = _load(
        hub,
        args,
        connections=args.connections,
        batch=SMALL_QUEUE // 2,
        rest_seconds=REST_SECONDS,
    )
    outcome: Outcome = run_load(load, look)
    refused = outcome.latencies.get(503, [])
    result = {
        "acknowledged_per_second": round(outcome.acknowledged_per_second),
        "refused_per_second": round(len(refused) / load.seconds),
        "refused_p50_ms": _milliseconds(outcome.quantile(0.5, 503)),
        "refused_p99_ms": _milliseconds(outcome.quantile(0.99, 503)),
        "refused_max_ms": _milliseconds(outcome.quantile(1, 503)),
        "refused_without_retry_after": outcome.without_retry_after,
        "health_max_ms": _milliseconds(max(health_seconds)),
        "memory_mib": {"all": round(max(peaks), 1)},
    }
    is_prompt = bool(refused) and outcome.quantile(0.99, 503) <= REFUSAL_LIMIT_SECONDS
    result["ok"] = is_prompt and not outcome.without_retry_after
    return {"full queue": result}


def _load(hub: Hub, args: argparse.Namespace, **changes: Any) -> Load:
    return Load(
        hub.host,
        hub.port,
        seconds=args.seconds,
        warmup_seconds=args.warmup,
        processes=args.processes,
        **changes,
    )


def _median(rounds: list[Result]) -> Result:
    """The round in the middle by its rate, as a whole, with the rates of all."""
    ordered = sorted(rounds, key=lambda result: result["acknowledged_per_second"])
    rates = [result["acknowledged_per_second"] for result in rounds]
    return {**ordered[len(ordered) // 2], "rounds": rates}


def print_table(results: dict[str, Result]) -> None:
    for name, result in results.items():
        print(f"\n{name}")
        for key, value in result.items():
            if isinstance(value, dict):
                value = ", ".join(f"{part} {size}" for part, size in value.items())
            print(f"  {key:<28} {value}")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--url", help="measure the hub there instead of one of its own")
    parser.add_argument("--database-url", help="a TimescaleDB server for the hub and for pgbench")
    parser.add_argument("--seconds", type=float, default=10, help="of each measurement")
    parser.add_argument("--warmup", type=float, default=2, help="seconds before each measurement")
    parser.add_argument("--rounds", type=int, default=3, help="the median is reported")
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--processes", type=int, default=2, help="of the load generator")
    parser.add_argument("--batch", type=int, default=1000, help="updates in a batch")
    parser.add_argument("--rate", type=float, default=0, help="only this: single updates/s")
    parser.add_argument("--full-queue", action="store_true", help="only this: overload the hub")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    return parser.parse_args()


def main() -> int:
    args = parse_arguments()
    settings = {"HUB_QUEUE_UPDATES": str(SMALL_QUEUE)} if args.full_queue else {}
    with running_hub(args, **settings) as hub:
        if args.full_queue:
            results = bench_full_queue(hub, args)
        elif args.rate:
            results = bench_fixed_rate(hub, args)
        else:
            results = bench_rates(hub, args)
    if args.json:
        print(json.dumps(results, indent=2))
    else:
        print_table(results)
    return 0 if all(result.get("ok", True) for result in results.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
