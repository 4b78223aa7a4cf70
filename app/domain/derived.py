"""What a chart shows where the sender reported it only of disks, or not at all.

As in the job's row: bytes are the sum over the disks; if some disk reports none, the percent is
that of the disks by their sizes. Speeds are bytes by time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from app.domain.chart import Bucket
from app.domain.job_state import clamp_bigint, percent_of

SHORTEST_STEP = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class ChartedDiskSeries:
    """The buckets of one disk, ascending. `size_bytes`: None while it is unknown.

    `bytes` and `progress_bp` are what it had reported before the first bucket.
    """

    size_bytes: int | None
    buckets: Sequence[Bucket]
    bytes: int | None = None
    progress_bp: int | None = None

    @property
    def has_bytes(self) -> bool:
        return self.bytes is not None or any(bucket.bytes is not None for bucket in self.buckets)

    def percent(self, done: int | None, progress_bp: int | None) -> int | None:
        """Basis points, from its bytes if it reports no percent."""
        if progress_bp is None and done is not None and self.size_bytes:
            return int(100 * (percent_of(done, self.size_bytes) or 0))
        return progress_bp


def has_bytes(buckets: Sequence[Bucket]) -> bool:
    """Whether the job itself reported bytes in any of its buckets."""
    return any(bucket.bytes is not None for bucket in buckets)


def has_speed(buckets: Sequence[Bucket]) -> bool:
    """Whether a speed was reported in any bucket."""
    return any(bucket.speed_count for bucket in buckets)


def add_disks(buckets: Sequence[Bucket], disks: Sequence[ChartedDiskSeries]) -> list[Bucket]:
    """The buckets of a job, each with what its disks had come to by then."""
    done = [disk.bytes for disk in disks]
    percents = [disk.percent(disk.bytes, disk.progress_bp) for disk in disks]
    positions = [0] * len(disks)
    sizes = [disk.size_bytes for disk in disks]
    has_percent = any(bucket.progress_bp is not None for bucket in buckets)
    by_bytes = all(disk.has_bytes for disk in disks)  # then the chart has the percent from them
    summed = []
    for bucket in buckets:
        for index, disk in enumerate(disks):
            position = positions[index]
            while position < len(disk.buckets) and disk.buckets[position].at <= bucket.at:
                newest = disk.buckets[position]
                if newest.bytes is not None:
                    done[index] = newest.bytes
                percent = disk.percent(newest.bytes, newest.progress_bp)
                if percent is not None:
                    percents[index] = percent
                position += 1
            positions[index] = position
        known = [value for value in done if value is not None]
        bucket = bucket._replace(bytes=clamp_bigint(sum(known)) if known else None)
        if not (has_percent or by_bytes):
            bucket = bucket._replace(progress_bp=_percent(percents, sizes))
        summed.append(bucket)
    return summed


def _percent(percents: Sequence[int | None], sizes: Sequence[int | None]) -> int | None:
    """Percents of disks by their sizes, in basis points; the mean if a size is unknown."""
    if all(percent is None for percent in percents):
        return None
    known = [size for size in sizes if size]
    weights = known if len(known) == len(percents) else [1] * len(percents)
    total = sum((percent or 0) * weight for percent, weight in zip(percents, weights, strict=True))
    return total // sum(weights)


def derive_speeds(buckets: Sequence[Bucket], complete_until: datetime) -> list[Bucket]:
    """The buckets with the speed since an earlier one, by their bytes; unknown after a restart.

    And of a step that begins later than `complete_until`, whose bytes are not those of its end. A
    step takes SHORTEST_STEP at least: bytes that were found to be there already are counted in an
    instant, and are not a peak.
    """
    derived = []
    before: Bucket | None = None
    for bucket in buckets:
        speed = None
        if bucket.bytes is not None and bucket.at <= complete_until:
            moved = None if before is None or before.bytes is None else bucket.bytes - before.bytes
            # Of one instant the last bytes count: senders stamp whole seconds.
            if before is None or moved is None or moved < 0 or bucket.at == before.at:
                before = bucket
            elif bucket.at - before.at >= SHORTEST_STEP:
                speed = round(moved / (bucket.at - before.at).total_seconds())
                before = bucket
        derived.append(bucket if speed is None else _with_speed(bucket, speed))
    return derived


def _with_speed(bucket: Bucket, speed: int) -> Bucket:
    return bucket._replace(
        speed_sum=float(speed),
        speed_count=1,
        speed_min=speed,
        speed_max=speed,
        moving_count=int(speed > 0),
        moving_min=speed if speed > 0 else None,
    )
