"""The chart of a job, in three formats, with a strong ETag."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from flask import Response
from flask_smorest import Blueprint

from app.api.answers import conditional, encode_json
from app.api.context import hub
from app.api.needs import needs
from app.charts.job import History, read_history
from app.domain import chart
from app.domain.chart import Point
from app.domain.stretches import Gap, Phase
from app.schemas.history import HistoryColumnsSchema, HistoryQuery, HistorySchema
from app.store.history import ChartedJob
from app.web.paths import check_identifier
from app.web.permissions import READ
from app.web.request import Answer

blueprint = Blueprint("history", __name__, description="Charts of jobs.")


@blueprint.route("/telemetry/history/<identifier:job_id>")
@blueprint.arguments(HistoryQuery, location="query", error_status_code=400)
@blueprint.response(200, {"anyOf": [HistorySchema, HistoryColumnsSchema]})
@blueprint.response(200, {"type": "string"}, content_type="text/csv")
@blueprint.alt_response(304, success=True, description="Not modified since the given ETag")
@blueprint.alt_response(404, "NOT_FOUND")
@blueprint.alt_response(503, "SERVICE_UNAVAILABLE")
@needs(READ)
def get_history(query: dict[str, Any], job_id: str) -> Response:
    """Chart the speed and progress of a job, or of one of its disks, over its run or a window.

    At most `points` points, and no lost peaks: if the window has more updates than that, each point
    is a step with its mean, lowest and highest speed.
    """
    check_identifier("job_id", job_id)
    history = read_history(
        hub().database,
        job_id,
        points=query["points"],
        from_at=query.get("from_"),
        before_at=query.get("to"),
        disk=query.get("disk"),
    )
    return conditional(_RENDERERS[query["format"]](history))


# Formats.


def _render_json(history: History) -> Answer:
    # Takes a third of the time of _asdict().
    points = [
        {"t": t, "s": s, "s_min": s_min, "s_max": s_max, "p": p, "b": b}
        for t, s, s_min, s_max, p, b in history.points
    ]
    return _answer_json(_answer(history, points))


def _render_columns(history: History) -> Answer:
    columns = list(zip(*history.points, strict=True)) or [()] * len(Point._fields)
    return _answer_json(_answer(history, dict(zip(Point._fields, columns, strict=True))))


def _render_csv(history: History) -> Answer:
    rows: list[Sequence[Any]] = [Point._fields, *history.points]
    # Only numbers: nothing to quote, and nothing that a spreadsheet would run as a formula.
    text = "".join(
        ",".join("" if value is None else str(value) for value in row) + "\r\n" for row in rows
    )
    headers = [
        ("Content-Type", "text/csv; charset=utf-8"),
        ("Content-Disposition", _attachment(history)),
    ]
    return Answer(200, text.encode(), headers)


def _answer_json(body: dict[str, Any]) -> Answer:
    return Answer(200, encode_json(body), [("Content-Type", "application/json")])


_RENDERERS = {"json": _render_json, "columns": _render_columns, "csv": _render_csv}


def _answer(history: History, chart_data: Any) -> dict[str, Any]:
    """The body of the answer; `HistorySchema` documents its keys."""
    job, statistics = history.job, history.statistics
    return {
        "job_id": job.job_id,
        "job_type": job.job_type,
        "vm_name": job.vm_name,
        **({} if history.disk is None else {"disk": history.disk}),
        "status": job.status,
        "started_at": job.started_at,
        "completed_at": job.completed_at,
        "duration_seconds": history.duration_seconds,
        "from": history.window.from_at,
        "to": history.window.before_at,
        "source": history.source,
        "resolution_seconds": history.resolution_seconds,
        "snapshots": statistics.updates,
        "peak_speed_bps": statistics.peak_speed_bps,
        "avg_speed_bps": statistics.avg_speed_bps,
        "min_speed_bps": statistics.min_speed_bps,
        "effective_speed_bps": history.effective_speed_bps,
        "chart_data": chart_data,
        "last_point_unfinished": history.last_point_unfinished,
        "gaps": [_gap(gap) for gap in history.stretches.gaps],
        "gaps_omitted": history.stretches.gaps_omitted,
        "phases": [_phase(job, phase) for phase in history.stretches.phases],
        "phases_omitted": history.stretches.phases_omitted,
    }


def _gap(gap: Gap) -> dict[str, Any]:
    return {"from": gap.from_at, "to": gap.to_at, "reason": gap.reason}


def _phase(job: ChartedJob, phase: Phase) -> dict[str, Any]:
    from_t = chart.seconds_since(job.started_at, phase.from_at)
    to_t = chart.seconds_since(job.started_at, phase.to_at)
    return {
        "phase": phase.phase,
        "from_t": from_t,
        "to_t": to_t,
        "seconds": round(to_t - from_t, 3),
        "bytes": phase.bytes,
    }


def _attachment(history: History) -> str:
    """Content-Disposition with a portable file name and the exact one (RFC 6266, 8187)."""
    exact = f"history-{history.job.job_id}"
    if history.disk is not None:
        exact += f"-disk{history.disk}"
    plain = re.sub(r"[^A-Za-z0-9._-]", "_", exact)[:100]
    return f"attachment; filename=\"{plain}.csv\"; filename*=UTF-8''{quote(exact, safe='')}.csv"
