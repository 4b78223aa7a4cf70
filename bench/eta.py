"""How right the hub's estimate of the time left is, over shapes of runs as backup tools make them.

    python bench/eta.py

A line for each shape: the median error at 10, 50 and 90 % of the bytes, in percent of the time
that was left, of the hub without and with earlier runs, and of the mean rate since the start. Ends
with 1 if a median at 50 % is above 25 %, or one of the hub above that of the mean rate.
`tests/unit/test_estimates.py` runs the same with fewer runs.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from app.domain.estimates import DISTANCES_SECONDS, MOST_RUNS, Profile, Sample, time_left

RUNS = 40
EVERY_SECONDS = 5.0
SHARES = (10, 50, 90)
LARGEST_ERROR = 0.25
PROFILE_POINTS = 80  # as many as a summary keeps

Shape = Callable[[random.Random], Iterator[tuple[float, str]]]


@dataclass(frozen=True)
class Run:
    """The updates of a run: seconds since its start, bytes in all, phase; and when it ended."""

    samples: list[Sample]
    total: float
    seconds: float


# Shapes: for each update the bytes moved since the one before, in parts of the mean, and the phase.
# Negative: the count starts again from 0. Speeds vary by a fifth from update to update, and a
# load on the storage lasts for minutes.


def steady(chance: random.Random) -> Iterator[tuple[float, str]]:
    """A copy of a disk: an even speed after a snapshot of two minutes."""
    yield from _phase(chance, "snapshot", 24, lambda _: 0.0)
    yield from _phase(chance, "transferring", 480, lambda _: 1.0)


def slow_start(chance: random.Random) -> Iterator[tuple[float, str]]:
    """A scan competes with the transfer in the first third."""
    yield from _phase(chance, "transferring", 500, lambda share: 0.25 + min(1.0, share / 0.3) * 0.9)


def phases(chance: random.Random) -> Iterator[tuple[float, str]]:
    """A long snapshot, the transfer, and an end without bytes."""
    yield from _phase(chance, "snapshot", 120, lambda _: 0.0)
    yield from _phase(chance, "transferring", 320, lambda _: 1.0)
    yield from _phase(chance, "finalizing", 25, lambda _: 0.0)


def pause(chance: random.Random) -> Iterator[tuple[float, str]]:
    """Paused for long at a third, while heartbeats go on."""
    yield from _phase(chance, "transferring", 160, lambda _: 1.0)
    yield from _phase(chance, "transferring", 1500, lambda _: 0.0)
    yield from _phase(chance, "transferring", 320, lambda _: 1.0)


def restart(chance: random.Random) -> Iterator[tuple[float, str]]:
    """Failed at half, tried again from the beginning."""
    yield from _phase(chance, "transferring", 240, lambda _: 1.0)
    yield -1.0, "transferring"
    yield from _phase(chance, "transferring", 480, lambda _: 1.0)


def dedup(chance: random.Random) -> Iterator[tuple[float, str]]:
    """The longer it runs the more is known already: three times as fast at the end."""
    yield from _phase(chance, "transferring", 480, lambda share: 0.5 + share)


def slowdown(chance: random.Random) -> Iterator[tuple[float, str]]:
    """The cache of the target is full after a quarter."""
    yield from _phase(chance, "transferring", 500, lambda share: 2.0 if share < 0.15 else 0.6)


SHAPES: dict[str, Shape] = {
    "steady": steady,
    "slow start": slow_start,
    "phases": phases,
    "pause": pause,
    "restart": restart,
    "dedup speed-up": dedup,
    "slow-down": slowdown,
}


def _phase(
    chance: random.Random, name: str, updates: int, pace: Callable[[float], float]
) -> Iterator[tuple[float, str]]:
    count = max(2, round(updates * chance.uniform(0.7, 1.4)))
    load = 1.0
    for number in range(count):
        if number % 40 == 0:
            load = chance.uniform(0.85, 1.15)
        yield pace(number / count) * load * chance.uniform(0.8, 1.2), name


def make_run(shape: Shape, chance: random.Random) -> Run:
    """One run of a shape; a night is not as large as another."""
    speed = chance.uniform(0.8, 1.25) * 1e8
    samples = [Sample(0.0, 0.0, None)]
    done = most = 0.0
    for number, (moved, phase) in enumerate(shape(chance), 1):
        done = 0.0 if moved < 0 else done + moved * speed * EVERY_SECONDS
        most = max(most, done)
        samples.append(Sample(number * EVERY_SECONDS, done, phase))
    return Run(samples, done, samples[-1].at)


def samples_at(run: Run, position: int) -> list[Sample]:
    """What the hub reads at an update: the last one at each distance, newest first."""
    newest = run.samples[position]
    chosen: list[Sample] = []
    for distance in DISTANCES_SECONDS:
        found = position - round(distance / EVERY_SECONDS)
        if found < 1:
            break
        if not chosen or run.samples[found] is not chosen[-1]:
            chosen.append(run.samples[found])
    return chosen or [newest]


def profile(run: Run) -> Profile:
    """What the summary of a run keeps."""
    step = max(1, len(run.samples) // PROFILE_POINTS)
    points = run.samples[::step]
    percents: list[float] = []
    for point in points:
        percents.append(max(100 * point.done / run.total, percents[-1] if percents else 0.0))
    return Profile([point.at for point in points], percents, run.seconds)


def position_at(run: Run, share: int) -> int:
    """The update at which a share of the bytes was done for the last time."""
    wanted = run.total * share / 100
    return next(
        index + 1
        for index in range(len(run.samples) - 2, -1, -1)
        if run.samples[index].done < wanted
    )


def errors(shape: Shape, share: int, runs: int, seed: int) -> dict[str, list[float]]:
    """The error of each way, relative to the time that was left."""
    chance = random.Random(f"{seed} {share}")
    found: dict[str, list[float]] = {"rate": [], "history": [], "mean": []}
    for _ in range(runs):
        earlier = [profile(make_run(shape, chance)) for _ in range(MOST_RUNS)]
        run = make_run(shape, chance)
        position = position_at(run, share)
        now = run.samples[position]
        left = run.seconds - now.at
        samples = samples_at(run, position)
        for way, known in (("rate", ()), ("history", earlier)):
            answer = time_left(samples, run.total, elapsed=now.at, earlier=known)
            guess = answer.seconds if answer.seconds is not None else 0
            found[way].append(abs(guess - left) / left)
        mean = (run.total - now.done) * now.at / now.done
        found["mean"].append(abs(mean - left) / left)
    return found


def simulate(runs: int, seed: int = 1) -> dict[str, dict[int, dict[str, float]]]:
    """The median errors by shape, share and way."""
    return {
        name: {
            share: {way: median(each) for way, each in errors(shape, share, runs, seed).items()}
            for share in SHARES
        }
        for name, shape in SHAPES.items()
    }


def verdicts(found: dict[str, dict[int, dict[str, float]]]) -> Sequence[str]:
    """What does not hold."""
    faults = []
    for name, shares in found.items():
        half = shares[50]
        for way in ("rate", "history"):
            if half[way] > LARGEST_ERROR:
                faults.append(f"{name}: {way} is off by {half[way]:.0%} at 50 %")
            if half[way] > half["mean"]:
                faults.append(f"{name}: the mean rate is better than {way} at 50 %")
    return faults


def main() -> int:
    found = simulate(RUNS)
    print("median error, %: without / with earlier runs / mean rate since the start")
    print(f"{'':<16}" + "".join(f"{f'at {share} %':>20}" for share in SHARES))
    for name, shares in found.items():
        cells = [
            " / ".join(f"{100 * each[way]:.0f}" for way in ("rate", "history", "mean"))
            for each in shares.values()
        ]
        print(f"{name:<16}" + "".join(f"{cell:>20}" for cell in cells))
    faults = verdicts(found)
    for fault in faults:
        print(fault)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
