"""Reports: what happened in a day or a week, as text and as HTML."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from html import escape

from app.domain.attention.words import duration, instant, size
from app.domain.notify.items import Item
from app.domain.notify.messages import Message, title
from app.domain.notify.plain import plain


@dataclass(frozen=True, slots=True)
class RunCounts:
    """How many runs of a type ended, and how; `bytes`: moved by completed ones."""

    job_type: str
    good: int
    warnings: int
    failed: int
    cancelled: int
    bytes: int


@dataclass(frozen=True, slots=True)
class NeverGood:
    """A series without a good run; `series`: how many there are in all."""

    name: str
    job_type: str
    runs: int
    series: int


@dataclass(frozen=True, slots=True)
class Moved:
    """What completed runs moved to a repository."""

    name: str
    bytes: int
    runs: int


@dataclass(frozen=True, slots=True)
class DiskUse:
    """How full a node's disk is now."""

    name: str
    disk_percent: float
    disk_used_gb: float | None
    disk_total_gb: float | None


@dataclass(frozen=True)
class Report:
    """What a report says. `noticed`, `ended`, `false_alarms`: items of its time; `open`: now."""

    from_at: datetime
    to_at: datetime
    runs: Sequence[RunCounts]
    never_good: Sequence[NeverGood]
    changes: Sequence[Item]
    worst: Sequence[Item]
    repositories: Sequence[Moved]
    disks: Sequence[DiskUse]
    noticed: int
    ended: int
    open: int
    false_alarms: int


@dataclass(frozen=True, slots=True)
class Block:
    """A heading with a sentence or a table, whose first row is its head."""

    heading: str
    rows: Sequence[Sequence[str]]


def write_report(report: Report, name: str, public_url: str | None = None) -> Message:
    """The message. `name`: what it is, such as `Weekly report`."""
    failed = sum(each.failed for each in report.runs)
    warnings = sum(each.warnings for each in report.runs)
    good = sum(each.good for each in report.runs)
    subject = f"{name}: {good} good, {warnings} with warnings, {failed} failed"
    if report.open:
        subject += f", {report.open} open"
    blocks = list(_blocks(report))
    span = f"{instant(report.from_at)} to {instant(report.to_at)}"
    return Message(
        "report",
        "info",
        subject,
        _as_text(subject, span, blocks, public_url),
        _as_html(subject, span, blocks, public_url),
    )


def _blocks(report: Report) -> list[Block]:
    blocks = [
        Block(
            "Runs that ended",
            [
                ("Type", "Good", "Warnings", "Failed", "Cancelled", "Moved"),
                *(
                    (
                        plain(each.job_type, 40),
                        *map(str, (each.good, each.warnings, each.failed, each.cancelled)),
                        size(each.bytes),
                    )
                    for each in report.runs
                ),
            ],
        ),
        Block(
            "Items",
            [
                ("Noticed", "Ended", "Open now", "False alarms"),
                tuple(map(str, (report.noticed, report.ended, report.open, report.false_alarms))),
            ],
        ),
        Block(
            f"Open now, the worst first ({report.open})",
            [
                ("What", "Since", "Summary"),
                *((title(e), instant(e.since), plain(e.summary, 200)) for e in report.worst),
            ],
        ),
        Block(
            f"Never good ({report.never_good[0].series if report.never_good else 0} series)",
            [
                ("Name", "Type", "Runs"),
                *(
                    (plain(each.name, 80), plain(each.job_type, 40), str(each.runs))
                    for each in report.never_good
                ),
            ],
        ),
        Block(
            "Largest changes",
            [
                ("What", "Noticed", "Summary"),
                *((title(e), instant(e.noticed_at), plain(e.summary, 200)) for e in report.changes),
            ],
        ),
        Block(
            "Moved by repository",
            [
                ("Repository", "Moved", "Runs"),
                *((plain(e.name, 80), size(e.bytes), str(e.runs)) for e in report.repositories),
            ],
        ),
        Block(
            "Fullest disks of nodes",
            [
                ("Node", "In use", "Size"),
                *(
                    (
                        plain(each.name, 80),
                        f"{each.disk_percent:.0f} %",
                        "" if each.disk_total_gb is None else size(each.disk_total_gb * 2**30),
                    )
                    for each in report.disks
                ),
            ],
        ),
    ]
    return [block for block in blocks if len(block.rows) > 1]


def period_name(seconds: float) -> str:
    """What a report of this length is called."""
    days = round(seconds / 86_400)
    names = {1: "Daily report", 7: "Weekly report"}
    return names.get(days, f"Report of {duration(seconds)}")


def _as_text(subject: str, span: str, blocks: Sequence[Block], public_url: str | None) -> str:
    parts = [f"{subject}.\n{span}"]
    for block in blocks:
        widths = [max(len(row[n]) for row in block.rows) for n in range(len(block.rows[0]))]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in block.rows
        ]
        parts.append("\n".join([block.heading, *(f"  {line}" for line in lines)]))
    if public_url is not None:
        parts.append(f"{public_url.rstrip('/')}/")
    return "\n\n".join(parts)


_STYLE = {
    "table": "border-collapse:collapse;margin:0 0 1em",
    "cell": "border:1px solid #ccc;padding:3px 8px;text-align:left;vertical-align:top",
}


def _as_html(subject: str, span: str, blocks: Sequence[Block], public_url: str | None) -> str:
    """Without styles of its own in the head, which programs for mail remove."""
    parts = [f"<h2>{escape(subject)}</h2>", f"<p>{escape(span)}</p>"]
    for block in blocks:
        head, *rows = block.rows
        lines = [_row("th", head), *(_row("td", row) for row in rows)]
        parts.append(f"<h3>{escape(block.heading)}</h3>")
        parts.append(f'<table style="{_STYLE["table"]}">{"".join(lines)}</table>')
    if public_url is not None:
        address = escape(f"{public_url.rstrip('/')}/")
        parts.append(f'<p><a href="{address}">{address}</a></p>')
    return f"<!DOCTYPE html><html><body>{''.join(parts)}</body></html>"


def _row(tag: str, cells: Sequence[str]) -> str:
    inner = "".join(f'<{tag} style="{_STYLE["cell"]}">{escape(cell)}</{tag}>' for cell in cells)
    return f"<tr>{inner}</tr>"
