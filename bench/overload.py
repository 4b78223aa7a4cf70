"""What the hub does when it is offered three times what it can take.

    python bench/overload.py                                  a hub of its own, embedded database
    python bench/overload.py --database-url postgresql://…    a hub of its own on that server
    python bench/overload.py --batch 1                        single pushes only; also --batch 1000

In turns: as fast as answers come, which is the most it acknowledges, then three times that rate
whatever becomes of it (a latency counts from when its request was due), with /health asked five
times a second. It must go on acknowledging, refuse the rest at once, and answer /health.
It writes jobs named bench-… and leaves them: use a database that can be dropped.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import resource
import statistics
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.ingest import Hub, Result, print_table, running_hub
from bench.load import Load, Outcome, run_load

TIMES = 3.0  # the best rate, offered
SMALLEST_SHARE = 0.8  # of the best that must still be acknowledged
LONGEST_REFUSAL_SECONDS = 1.0  # p99
LONGEST_HEALTH_SECONDS = 1.0
HEALTH_EVERY_SECONDS = 0.2
BATCH = 1_000
REFUSALS = (429, 503)


@dataclass(frozen=True)
class Kind:
    """How updates are pushed: by so many connections at best, by so many under overload."""

    batch: int
    connections: int
    crowd: int

    @property
    def name(self) -> str:
        return "single updates" if self.batch == 1 else f"batches of {self.batch}"


KINDS = (Kind(1, 64, 4_096), Kind(BATCH, 8, 64))


@dataclass
class Health:
    """How long requests for /health took, and their answers."""

    seconds: list[float] = field(default_factory=list)
    failures: int = 0  # no answer at all


@contextmanager
def watching_health(hub: Hub) -> Iterator[Health]:
    """Asks for it again and again, in a thread, as long as the block runs."""
    health = Health()
    ended = threading.Event()

    def watch() -> None:
        due = time.monotonic()
        while not ended.wait(max(0.0, due - time.monotonic())):
            due = max(due + HEALTH_EVERY_SECONDS, time.monotonic())
            began = time.monotonic()
            try:
                hub.get("/health")
            except urllib.error.HTTPError:
                pass  # an answer all the same
            except OSError:
                health.failures += 1
            health.seconds.append(time.monotonic() - began)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield health
    finally:
        ended.set()
        thread.join()


# ---------------------------------------------------------------------------------------------
# Rounds.


def bench_kind(hub: Hub, kind: Kind, args: argparse.Namespace) -> Result:
    """Three times the best rate, between two measurements of what the best is; medians."""
    best = [_push(hub, kind, args)]
    rounds = []
    for _ in range(args.rounds):
        rate = TIMES * best[-1].per_second / kind.batch
        with watching_health(hub) as health:
            crowded = _push(hub, kind, args, rate=rate)
        best.append(_push(hub, kind, args))
        rounds.append(_describe((best[-2], best[-1]), crowded, health))
        print(f"{kind.name}: {json.dumps(rounds[-1])}", file=sys.stderr, flush=True)
    result: dict[str, Any] = {name: _median([each[name] for each in rounds]) for name in rounds[0]}
    for name in ("refused_without_retry_after", "other", "health_max_ms", "health_failures"):
        result[name] = max(each[name] for each in rounds)  # once is too often
    for name in ("best_per_second", "acknowledged_per_second"):
        result[f"rounds_{name}"] = [each[name] for each in rounds]
    return {**result, **judge(result)}


@dataclass(frozen=True)
class Pushed:
    """A load, what came of it, and what it cost: processor seconds a second of it."""

    outcome: Outcome
    load_cpu: float
    hub_cpu: float  # of its web processes

    @property
    def per_second(self) -> float:
        return self.outcome.acknowledged_per_second


def _push(hub: Hub, kind: Kind, args: argparse.Namespace, rate: float = 0.0) -> Pushed:
    load = Load(
        hub.host,
        hub.port,
        connections=kind.crowd if rate else kind.connections,
        seconds=args.seconds,
        warmup_seconds=args.warmup,
        processes=args.processes,
        batch=kind.batch,
        rate=rate,
    )
    load_before, hub_before = _cpu_seconds_of_loads(), hub.cpu_seconds()
    outcome = run_load(load)
    seconds = load.seconds + load.warmup_seconds
    return Pushed(
        outcome,
        (_cpu_seconds_of_loads() - load_before) / seconds,
        (hub.cpu_seconds() - hub_before) / seconds,
    )


def _cpu_seconds_of_loads() -> float:
    """Of those that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _describe(best: tuple[Pushed, Pushed], crowded: Pushed, health: Health) -> Result:
    load, latencies = crowded.outcome.load, crowded.outcome.latencies
    refused = sorted(seconds for status in REFUSALS for seconds in latencies.get(status, ()))
    answered = sum(map(len, latencies.values()))
    best_per_second = sum(each.per_second for each in best) / 2
    return {
        "best_per_second": round(best_per_second),
        "offered_per_second": round(load.rate * load.batch),
        "answered_per_second": round(answered * load.batch / load.seconds),
        "acknowledged_per_second": round(crowded.per_second),
        "acknowledged_to_best": round(crowded.per_second / best_per_second, 3),
        "acknowledged_p99_ms": _milliseconds(crowded.outcome.quantile(0.99)),
        "refused_per_second": round(len(refused) * load.batch / load.seconds),
        "refused_p50_ms": _milliseconds(_quantile(refused, 0.5)),
        "refused_p99_ms": _milliseconds(_quantile(refused, 0.99)),
        "refused_max_ms": _milliseconds(_quantile(refused, 1)),
        "refused_without_retry_after": crowded.outcome.without_retry_after,
        "other": answered - len(refused) - len(latencies.get(200, ())),
        "health_max_ms": _milliseconds(max(health.seconds)),
        "health_failures": health.failures,
        "hub_cores_at_best": round(sum(each.hub_cpu for each in best) / 2, 2),
        "hub_cores": round(crowded.hub_cpu, 2),
        "load_share_of_machine": round(crowded.load_cpu / (os.cpu_count() or 1), 2),
    }


def _quantile(ascending: list[float], share: float) -> float:
    if not ascending:
        return math.nan
    return ascending[min(int(share * len(ascending)), len(ascending) - 1)]


def _median(values: list[float]) -> float:
    """Of what is known: a round may have had no refusal."""
    return statistics.median([value for value in values if not math.isnan(value)] or [math.nan])


def _milliseconds(seconds: float) -> float:
    return round(seconds * 1000, 1)


def judge(result: Result) -> Result:
    """Each promise by itself, and all together. Without a refusal nothing has been shown."""
    verdicts = {
        "keeps_acknowledging": result["acknowledged_to_best"] >= SMALLEST_SHARE,
        "refuses_at_once": result["refused_p99_ms"] <= LONGEST_REFUSAL_SECONDS * 1000,
        "says_when_to_come_back": not result["refused_without_retry_after"],
        "answers_health": not result["health_failures"]
        and result["health_max_ms"] <= LONGEST_HEALTH_SECONDS * 1000,
        "says_nothing_else": not result["other"],
    }
    return {
        **{name: "ok" if holds else "FAILS" for name, holds in verdicts.items()},
        "ok": all(verdicts.values()),
    }


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--url", help="overload the hub there instead of one of its own")
    parser.add_argument("--database-url", help="a TimescaleDB server for the hub")
    parser.add_argument("--seconds", type=float, default=10, help="of each measurement")
    parser.add_argument("--warmup", type=float, default=2, help="seconds before each measurement")
    parser.add_argument("--rounds", type=int, default=3, help="pairs; the medians are reported")
    parser.add_argument("--processes", type=int, default=2, help="of the load generator")
    parser.add_argument("--batch", type=int, help="only this: updates in a push, 1 or 1000")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    return parser.parse_args()


def main() -> int:
    args = parse_arguments()
    load_before = os.getloadavg()[0]
    with running_hub(args) as hub:
        results = {
            kind.name: bench_kind(hub, kind, args)
            for kind in KINDS
            if args.batch in (None, kind.batch)
        }
    results["the machine"] = {"cores": os.cpu_count(), "load_before": round(load_before, 2)}
    print(json.dumps(results, indent=2)) if args.json else print_table(results)
    return 0 if all(result.get("ok", True) for result in results.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
