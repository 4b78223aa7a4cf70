"""Opens, changes and ends items of attention, for the tasks; the caller commits."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from app.database.pool import Connection
from app.domain.attention.items import Finding, Kind
from app.store.sql import load_queries

SQL = load_queries("findings")


@dataclass(frozen=True, slots=True)
class Changes:
    """What a run of a task has changed: how many items."""

    opened: int = 0
    changed: int = 0
    ended: int = 0

    def __add__(self, other: Changes) -> Changes:
        return Changes(
            self.opened + other.opened, self.changed + other.changed, self.ended + other.ended
        )


def reconcile(
    conn: Connection,
    kinds: Sequence[Kind],
    findings: Iterable[Finding],
    now: datetime,
    *,
    subjects: Collection[str] | None = None,
    prefix: str = "",
) -> Changes:
    """Make the open items of these kinds those of the findings.

    Only items of `subjects`, if given, and whose subject begins with `prefix`, are looked at.

    New ones are opened, those that say something else are changed, and those without a finding
    end.
    """
    params = {
        "kinds": list(kinds),
        "subjects": None if subjects is None else sorted(subjects),
        "prefix": prefix,
    }
    before = {(row[1], row[3]): row for row in conn.execute(SQL["read_open"], params)}
    wanted = {finding.key: finding for finding in findings}
    new = [finding for key, finding in wanted.items() if key not in before]
    other = [
        (before[key][0], finding)
        for key, finding in wanted.items()
        if key in before and _says_other(finding, before[key])
    ]
    over = [row[0] for key, row in before.items() if key not in wanted]
    if new:
        _open(conn, new, now)
    if other:
        _change(conn, other)
    if over:
        conn.execute(SQL["end"], {"ids": over, "now": now})
    return Changes(len(new), len(other), len(over))


def _says_other(finding: Finding, row: Sequence[Any]) -> bool:
    _, _, severity, _, _, job_id, *_ = row
    summary = finding.summary if finding.keeps_numbers else row[11]
    wanted = finding.severity, finding.about.job_id, finding.summary
    return (severity, job_id, summary) != wanted


def _open(conn: Connection, findings: Sequence[Finding], now: datetime) -> None:
    params = {
        **{
            name: [getattr(finding, name) for finding in findings]
            for name in ("kind", "severity", "rank", "subject", "since", "summary", "advice")
        },
        **{
            name: [getattr(finding.about, name) for finding in findings]
            for name in ("series_id", "job_id", "node_id", "vm_name", "job_type", "repository_id")
        },
        "noticed_at": [now] * len(findings),
        "evidence": [
            orjson.dumps(finding.evidence, option=orjson.OPT_UTC_Z).decode() for finding in findings
        ],
    }
    conn.execute(SQL["open"], params)


def _change(conn: Connection, changed: Sequence[tuple[int, Finding]]) -> None:
    params = {
        "id": [number for number, _ in changed],
        "severity": [finding.severity for _, finding in changed],
        "rank": [finding.rank for _, finding in changed],
        "job_id": [finding.about.job_id for _, finding in changed],
        "summary": [finding.summary for _, finding in changed],
        "evidence": [
            orjson.dumps(finding.evidence, option=orjson.OPT_UTC_Z).decode()
            for _, finding in changed
        ],
    }
    conn.execute(SQL["change"], params)


def open_missing(conn: Connection, findings: Sequence[Finding], now: datetime) -> Changes:
    """Open the items of the findings that are not open; end none."""
    before = read_open(conn, sorted({finding.kind for finding in findings}))
    new = [finding for finding in findings if finding.key not in before]
    if new:
        _open(conn, new, now)
    return Changes(opened=len(new))


def read_open(conn: Connection, kinds: Sequence[str]) -> dict[tuple[str, str], datetime]:
    """Since when the open items of these kinds are, by kind and subject."""
    rows = conn.execute(SQL["read_open"], {"kinds": list(kinds), "subjects": None, "prefix": ""})
    return {(row[1], row[3]): row[10] for row in rows}
