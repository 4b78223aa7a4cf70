"""What a chart derives from disks and bytes; the numbers are written out by hand."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from app.domain.chart import Bucket
from app.domain.derived import ChartedDiskSeries, add_disks, derive_speeds

START = datetime(2026, 3, 1, 10, tzinfo=UTC)


def bucket(seconds: float, done: int | None = None, percent: int | None = None) -> Bucket:
    at = START + timedelta(seconds=seconds)
    return Bucket(at, 1, None, 0, None, None, 0, None, percent, done)


def speeds(*buckets: Bucket) -> list[int | None]:
    return [each.speed_max for each in derive_speeds(buckets, buckets[-1].at)]


def test_speed_is_bytes_by_time() -> None:
    assert speeds(bucket(0, 0), bucket(10, 1000), bucket(15, 1000), bucket(20, 1600)) == [
        *(None, 100, 0, 120)
    ]


def test_updates_without_bytes_are_left_out() -> None:
    assert speeds(bucket(0, 0), bucket(5), bucket(10, 1000)) == [None, None, 100]


def test_a_restart_has_no_speed() -> None:
    assert speeds(bucket(0, 500), bucket(10, 100), bucket(20, 300)) == [None, None, 20]


def test_updates_of_one_instant_have_one_speed() -> None:
    assert speeds(bucket(0, 0), bucket(10, 100), bucket(10, 200), bucket(20, 300)) == [
        *(None, 10, None, 10)
    ]


def test_a_step_takes_a_second_at_least() -> None:
    """restic counts files that have not changed in no time: 584 MB within 13 ms."""
    burst = [bucket(0, 0), bucket(0.013, 584_000_000), bucket(0.4, 600_000_000)]
    assert speeds(*burst) == [None, None, None]
    assert speeds(*burst, bucket(2, 600_000_000)) == [*([None] * 3), 300_000_000]
    assert speeds(*(bucket(n / 5, n * 20) for n in range(11)))[4:] == [
        *(None, 100, None, None, None, None, 100)
    ]


def test_bytes_of_disks_add_up() -> None:
    job = [bucket(seconds) for seconds in (0, 10, 20)]
    disks = [
        ChartedDiskSeries(100, [bucket(0, 10), bucket(20, 90)]),
        ChartedDiskSeries(900, [bucket(10, 300)]),
    ]
    assert [each.bytes for each in add_disks(job, disks)] == [10, 310, 390]


def test_percents_of_disks_are_weighed_by_their_sizes() -> None:
    job = [bucket(0), bucket(10)]
    disks = [
        ChartedDiskSeries(900, [bucket(0, percent=5000)]),
        ChartedDiskSeries(100, [bucket(10, percent=10_000)]),
    ]
    assert [each.progress_bp for each in add_disks(job, disks)] == [4500, 5500]
    unknown = [disks[0], ChartedDiskSeries(None, disks[1].buckets)]
    assert [each.progress_bp for each in add_disks(job, unknown)] == [2500, 7500]


def test_disks_with_bytes_and_disks_with_percents_have_one_percent() -> None:
    job = [bucket(0), bucket(10)]
    disks = [
        ChartedDiskSeries(100, [bucket(0, 50)]),
        ChartedDiskSeries(300, [bucket(10, percent=5000)]),
    ]
    summed = add_disks(job, disks)
    assert [(each.bytes, each.progress_bp) for each in summed] == [(50, 1250), (50, 5000)]


def test_the_jobs_own_percent_stays_beside_the_bytes_of_its_disks() -> None:
    job = [bucket(0), bucket(10, percent=9500)]
    disks = [ChartedDiskSeries(100, [bucket(0, 10), bucket(10, 80)])]
    summed = add_disks(job, disks)
    assert [(each.bytes, each.progress_bp) for each in summed] == [(10, None), (80, 9500)]


def test_a_sum_is_at_most_what_the_row_holds() -> None:
    disks = [ChartedDiskSeries(None, [bucket(0, 2**63 - 1)])] * 2
    assert add_disks([bucket(0)], disks)[0].bytes == 2**63 - 1


def test_a_window_begins_with_what_came_before() -> None:
    disks = [ChartedDiskSeries(100, [bucket(10, 50)], bytes=20), ChartedDiskSeries(100, [], 30)]
    assert [each.bytes for each in add_disks([bucket(0), bucket(10)], disks)] == [50, 80]
