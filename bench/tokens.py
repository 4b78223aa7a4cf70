"""What the check of a token costs: by itself, and as a share of single pushes.

    python bench/tokens.py                  the check by itself, then pushes with and without it
    python bench/tokens.py --check-only     the check by itself: some seconds, no hub
    python bench/tokens.py --rounds 60

Two hubs run side by side, one that asks for tokens and one that does not, each with an embedded
database, and are loaded in short turns: what the machine does meanwhile meets both alike.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from app.auth.guard import Guard
from app.auth.keys import create_key_file, read_keys
from app.auth.scopes import Claims, Scope
from app.auth.tokens import mint, read_token
from app.clock import utc_now
from app.errors import Unauthorized
from app.web.admission import Admission
from app.web.permissions import PUSH
from app.web.request import Request
from bench.ingest import Hub, Result, measure, print_table, running_hub
from bench.load import Load

REPEATS = 20_000
JOBS = 1000
SAMPLES = 7  # the fastest is reported: the others were interrupted
LARGEST_SHARE = 0.05


def make_token(key_file: Path) -> str:
    """One that may push and look."""
    claims = Claims("bench", "bench", Scope.ADMIN, utc_now() + timedelta(days=365))
    return mint(claims, read_keys(key_file))


# ---------------------------------------------------------------------------------------------
# The check by itself.


def bench_check(key_file: Path) -> Result:
    """Microseconds a request, above what a hub without a key does."""
    keys, token = read_keys(key_file), make_token(key_file)
    hosts = frozenset({"hub"})
    checked, unchecked = Admission(hosts, Guard(keys)), Admission(hosts, None)
    request = _request(token)
    foreign = _request("x")

    def admitted_by(admission: Admission) -> float:
        return _microseconds(lambda _: admission.admit(request, PUSH, "backup"))

    def first_use(_: int) -> object:
        return read_token(token, keys)

    def refusal(_: int) -> None:
        with suppress(Unauthorized):
            checked.admit(foreign, PUSH, "backup")

    return {
        "push_us": round(admitted_by(checked) - admitted_by(unchecked), 2),
        "first_use_of_a_token_us": round(_microseconds(first_use, 5_000), 2),
        "refusal_us": round(_microseconds(refusal, 2_000), 2),
    }


def _microseconds(call: Callable[[int], object], repeats: int = REPEATS) -> float:
    samples = []
    for _ in range(SAMPLES):
        began = time.perf_counter()
        for n in range(repeats):
            call(n)
        samples.append((time.perf_counter() - began) / repeats * 1e6)
    return min(samples)


def _request(token: str) -> Request:
    headers = {"host": "hub", "authorization": f"Bearer {token}"}
    return Request("POST", "/api/v1/telemetry/backup/bench", headers, "127.0.0.1", "bench")


# ---------------------------------------------------------------------------------------------
# Pushes with and without it.


def bench_pushes(args: argparse.Namespace, key_file: Path) -> Result:
    """Rates and the hub's own processor time, in pairs that follow each other."""
    token = make_token(key_file)
    with (
        running_hub(args) as without,
        running_hub(args, token, HUB_TOKEN_KEY_FILE=str(key_file)) as checked,
    ):
        pairs = []
        for n in range(args.rounds):
            turns = [(without, ""), (checked, token)]
            results = [_load(hub, args, given) for hub, given in turns[:: 1 if n % 2 else -1]]
            pairs.append(results if n % 2 else results[::-1])
    rates = [[result["acknowledged_per_second"] for result in pair] for pair in pairs]
    cpu = [[result["cpu_us_per_update"] for result in pair] for pair in pairs]
    lost = statistics.median(1 - checked / without for without, checked in rates)
    return {
        "without_per_second": [without for without, _ in rates],
        "checked_per_second": [checked for _, checked in rates],
        "lost_share": round(lost, 4),
        "lost_share_by_totals": round(1 - sum(b for _, b in rates) / sum(a for a, _ in rates), 4),
        "cpu_us_without": statistics.median(without for without, _ in cpu),
        "cpu_us_checked": statistics.median(checked for _, checked in cpu),
        "cpu_share": round(statistics.median(b / a - 1 for a, b in cpu), 4),
        "ok": lost <= LARGEST_SHARE,
    }


def _load(hub: Hub, args: argparse.Namespace, token: str) -> Result:
    load = Load(
        hub.host,
        hub.port,
        connections=args.connections,
        seconds=args.seconds,
        warmup_seconds=args.warmup,
        processes=1,
        jobs=JOBS,
        token=token,
    )
    result = measure(hub, load)
    if set(result["answers"]) != {200}:
        raise SystemExit(f"bench: not every push was taken: {result['answers']}")
    return result


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check-only", action="store_true", help="only the check by itself")
    parser.add_argument("--rounds", type=int, default=30, help="pairs of loads")
    parser.add_argument(
        "--seconds", type=float, default=1.5, help="of each load: short, for pairs that are alike"
    )
    parser.add_argument("--warmup", type=float, default=0.5, help="seconds before each load")
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.set_defaults(url=None, database_url=None)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="hub-bench-") as folder:
        key_file = Path(folder) / "token.key"
        create_key_file(key_file)
        results = {"the check": bench_check(key_file)}
        if not args.check_only:
            results["single pushes"] = bench_pushes(args, key_file)
    print(json.dumps(results, indent=2)) if args.json else print_table(results)
    return 0 if results.get("single pushes", {}).get("ok", True) else 1


if __name__ == "__main__":
    sys.exit(main())
