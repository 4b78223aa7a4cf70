"""The chart of a job, in three formats, with a strong ETag; see `app.web.history`."""

from __future__ import annotations

from typing import Any

from flask import Response
from flask_smorest import Blueprint

from app.api.context import current_request, hub, to_response
from app.api.csv import also_csv
from app.api.needs import needs
from app.schemas.history import HistoryColumnsSchema, HistoryQuery, HistorySchema
from app.web.history import make_query
from app.web.paths import read_identifier
from app.web.permissions import READ

blueprint = Blueprint("history", __name__, description="Charts of jobs.")


_RULE = "/telemetry/history/<identifier:job_id>"


@blueprint.route(_RULE)
@blueprint.arguments(HistoryQuery, location="query", error_status_code=400)
@blueprint.response(200, {"anyOf": [HistorySchema, HistoryColumnsSchema]})
@blueprint.alt_response(304, success=True, description="Not modified since the given ETag")
@blueprint.alt_response(404, "NOT_FOUND")
@blueprint.alt_response(503, "SERVICE_UNAVAILABLE")
@needs(READ)
@also_csv(blueprint, f"{_RULE}/chart.csv", "export_job_chart", HistoryQuery)
def chart_job(query: dict[str, Any], job_id: str) -> Response:
    """Chart the speed and progress of a job, or of one of its disks, over its run or a window.

    At most `points` points, and no lost peaks: if the window has more updates than that, each point
    is a step with its mean, lowest and highest speed.
    """
    job_id = read_identifier("job_id", job_id)
    drawn = hub().charts.read(make_query(job_id, query))
    return to_response(drawn.answer(current_request()))
