"""Finds repeated updates and snapshots: a report that is sent again is stored once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol, TypeVar


class Report(Protocol):
    """What a sender reports: an update or a snapshot."""

    timestamp: int | None
    time: int
    seq: int

    @property
    def sender(self) -> str: ...

    def content(self) -> str: ...


AnyReport = TypeVar("AnyReport", bound=Report)


def find_repeats(
    reports: Sequence[AnyReport], stored: Iterable[AnyReport]
) -> list[AnyReport | None]:
    """Return for each report the equal one, stored or earlier in `reports`; None for a new one.

    Equal reports have the same sender, timestamp and content; one without a timestamp is always
    new. A new report gets the next free `seq` of its `time`. `stored` are the reports that may be
    equal, or have the same time.
    """
    seen: dict[tuple[str, int | None, str], AnyReport] = {}
    next_seq: dict[tuple[str, int], int] = {}
    for report in stored:
        seen[report.sender, report.timestamp, report.content()] = report
        instant = (report.sender, report.time)
        next_seq[instant] = max(next_seq.get(instant, 0), report.seq + 1)
    # Contents take time to compare, and mostly no two reports share a timestamp.
    instants = {(report.sender, report.timestamp) for report in reports}
    may_repeat = bool(seen) or len(instants) < len(reports)
    found: list[AnyReport | None] = []
    for report in reports:
        if may_repeat and report.timestamp is not None:
            first = seen.setdefault((report.sender, report.timestamp, report.content()), report)
            if first is not report:
                found.append(first)
                continue
        instant = (report.sender, report.time)
        report.seq = next_seq.get(instant, 0)
        next_seq[instant] = report.seq + 1
        found.append(None)
    return found
