"""Writes the reports of routes."""

from __future__ import annotations

from datetime import datetime

from app.database.pool import Connection
from app.domain.notify.messages import Message
from app.domain.notify.report import period_name
from app.domain.notify.report import write_report as write
from app.domain.notify.routes import REPORTS, Route
from app.store.reports import read_report


def write_report(conn: Connection, route: Route, now: datetime, public_url: str | None) -> Message:
    """The report of a day or a week, up to now."""
    length = REPORTS[route.digest]
    return write(
        read_report(conn, now - length, now), period_name(length.total_seconds()), public_url
    )
