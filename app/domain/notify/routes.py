"""Routes: what is told to a destination, and when."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from fnmatch import fnmatchcase
from zoneinfo import ZoneInfo

from app.domain.notify.items import Item

DIGESTS = ("at_once", "five_minutes", "daily", "weekly")
REPORTS = {"daily": timedelta(days=1), "weekly": timedelta(days=7)}
DEFAULT_SEVERITIES = ("critical", "warning")
REPORT_HOUR = 8
REPORT_WEEKDAY = 0  # Monday


@dataclass(frozen=True, slots=True)
class Route:
    """A row of `notification_routes`. A condition that is None is met by every item.

    `job_types` and `machines` are shell patterns; machines are compared with names of machines and
    nodes. Quiet hours, which may span midnight, and reports are in `timezone`.
    """

    id: int
    name: str
    destination_id: int
    kinds: Sequence[str] | None = None
    severities: Sequence[str] = DEFAULT_SEVERITIES
    job_types: Sequence[str] | None = None
    machines: Sequence[str] | None = None
    digest: str = "at_once"
    minimum_age_seconds: int = 0
    repeat_hours: int | None = None
    tells_recovery: bool = True
    quiet_from: time | None = None
    quiet_to: time | None = None
    report_hour: int = REPORT_HOUR
    timezone: str = "UTC"
    begun_at: datetime | None = None
    next_report_at: datetime | None = None

    @property
    def is_report(self) -> bool:
        """Whether it tells no single items, but sends reports."""
        return self.digest in REPORTS

    def matches(self, item: Item) -> bool:
        """Whether it tells of this item."""
        return (
            not self.is_report
            and item.severity in self.severities
            and (self.kinds is None or item.kind in self.kinds)
            and _matches_any(self.job_types, item.job_type)
            and _matches_any(self.machines, item.machine)
        )

    def quiet_until(self, now: datetime) -> datetime | None:
        """When the quiet hours end that `now` is in; None: it is not in any."""
        if self.quiet_from is None or self.quiet_to is None:
            return None
        local = now.astimezone(ZoneInfo(self.timezone))
        for days in (-1, 0):
            day = local.date() + timedelta(days=days)
            begins = datetime.combine(day, self.quiet_from, local.tzinfo)
            ends_on = day if self.quiet_from < self.quiet_to else day + timedelta(days=1)
            ends = datetime.combine(ends_on, self.quiet_to, local.tzinfo)
            if begins <= local < ends:
                return ends.astimezone(UTC)
        return None

    def report_after(self, now: datetime) -> datetime:
        """The next time for a report: each day, or each Monday, at `report_hour`."""
        zone = ZoneInfo(self.timezone)
        day = now.astimezone(zone).date()
        for days in range(9):
            on = day + timedelta(days=days)
            at = datetime.combine(on, time(self.report_hour), zone).astimezone(UTC)
            if at > now and (self.digest == "daily" or on.weekday() == REPORT_WEEKDAY):
                return at
        raise AssertionError("a week has a Monday")


def _matches_any(patterns: Sequence[str] | None, name: str | None) -> bool:
    if patterns is None:
        return True
    return name is not None and any(fnmatchcase(name, pattern) for pattern in patterns)
