"""Charts of jobs over HTTP: what a request asks for, the three formats, and the answer.

The web server answers well-formed requests without Flask (`app.server.history`). Flask's route
(`app.api.history`) answers the others. Both share the code in this module.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

from app.charts.job import History
from app.charts.kept import ChartQuery
from app.domain import chart
from app.domain.chart import Point
from app.domain.runs import run_name, split_key
from app.domain.stretches import Gap, Phase
from app.schemas.fields import identifier_problem, normalise_identifier
from app.schemas.history import read_query_string
from app.web.conditional import CACHE_CONTROL, compress, make_conditional, make_tag
from app.web.content import JSON, encode_json
from app.web.paths import PREFIX
from app.web.request import Answer, Request
from app.web.tables import csv_answer, encode_rows

Header = tuple[str, str]

_JSON_HEADERS = (("Content-Type", JSON),)

BYTES_BESIDES_BODY = 1024  # the headers, the version, the key


@dataclass(slots=True)
class Drawn:
    """A chart in one format, with its headers and its tag."""

    body: bytes
    headers: Sequence[Header]
    tag: str
    _compressed: bytes | None = None

    @property
    def size(self) -> int:
        """Bytes of memory, about. Compressed it has at most half of its bytes."""
        return len(self.body) * 3 // 2 + BYTES_BESIDES_BODY

    def compress(self, body: bytes) -> bytes:
        """The body as gzip, made once."""
        if self._compressed is None:
            self._compressed = compress(body)
        return self._compressed

    def answer(self, request: Request) -> Answer:
        """The answer to a GET of this chart: 200, or 304 if the client has it."""
        answer = Answer(200, self.body, [*self.headers, ("Cache-Control", CACHE_CONTROL)])
        return make_conditional(answer, request, self.tag, compress=self.compress)


# Routing.


@dataclass(frozen=True, slots=True)
class ChartTarget:
    """The chart that a request asks for. `route` is its label in the metrics."""

    query: ChartQuery
    route: str


_PATH = "/telemetry/history/"
LONGEST_PATH = 400  # characters: with the longest id a path has fewer
LONGEST_QUERY = 400


def make_query(job_id: str, query: Mapping[str, Any]) -> ChartQuery:
    """The chart that a path's job id and a loaded `HistoryQuery` name."""
    return ChartQuery(
        run_name(job_id, query.get("run")),
        query["points"],
        query.get("from_"),
        query.get("to"),
        query.get("disk"),
        query["format"],
    )


def find_chart(path: str, query_string: bytes) -> ChartTarget | None:
    """The target of a GET; None if Flask has to answer it, as it does if anything is invalid."""
    if _PATH not in path or len(path) > LONGEST_PATH or len(query_string) > LONGEST_QUERY:
        return None
    return _find_chart(path, query_string)


@lru_cache(maxsize=2048)
def _find_chart(path: str, query_string: bytes) -> ChartTarget | None:
    prefix, _, job_id = path.partition(_PATH)
    job_id = normalise_identifier(job_id)
    if prefix not in ("", PREFIX) or "\ufffd" in path or identifier_problem(job_id):
        return None
    query = read_query_string(query_string)
    if query is None:
        return None
    return ChartTarget(make_query(job_id, query), f"{prefix}{_PATH}<identifier:job_id>")


# Formats.


def draw(history: History, form: str) -> Drawn:
    """The chart in a format: json, columns or csv."""
    return _DRAW[form](history)


def _draw_json(history: History) -> Drawn:
    # Takes a third of the time of _asdict().
    points = [
        {"t": t, "s": s, "s_min": s_min, "s_max": s_max, "p": p, "b": b}
        for t, s, s_min, s_max, p, b in history.points
    ]
    return _make(encode_json(_body(history, points)), _JSON_HEADERS)


def _draw_columns(history: History) -> Drawn:
    columns = list(zip(*history.points, strict=True)) or [()] * len(Point._fields)
    body = _body(history, dict(zip(Point._fields, columns, strict=True)))
    return _make(encode_json(body), _JSON_HEADERS)


_CSV_COLUMNS = (
    "time_utc",
    "seconds_since_start",
    "mean_speed_bytes_per_second",
    "min_speed_bytes_per_second",
    "max_speed_bytes_per_second",
    "progress_percent",
    "bytes_transferred",
)


def _draw_csv(history: History) -> Drawn:
    started_at = history.job.started_at
    points = ((started_at + timedelta(seconds=point.t), *point) for point in history.points)
    answer = csv_answer(_file_name(history), encode_rows(_CSV_COLUMNS, points))
    return _make(answer.body, answer.headers)


_DRAW = {"json": _draw_json, "columns": _draw_columns, "csv": _draw_csv}


def _make(body: bytes, headers: Sequence[Header]) -> Drawn:
    return Drawn(body, headers, make_tag(body))


def _body(history: History, chart_data: Any) -> dict[str, Any]:
    """The body of the answer; `HistorySchema` documents its keys."""
    job, statistics = history.job, history.statistics
    job_id, run = split_key(job.key)
    return {
        "job_id": job_id,
        "run": run,
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
        "speed_source": history.speed_source,
        "chart_data": chart_data,
        "last_point_unfinished": history.last_point_unfinished,
        "gap_seconds": history.stretches.gap_seconds,
        "gaps": [_gap(gap) for gap in history.stretches.gaps],
        "gaps_omitted": history.stretches.gaps_omitted,
        "phases": [_phase(job.started_at, phase) for phase in history.stretches.phases],
        "phases_omitted": history.stretches.phases_omitted,
    }


def _gap(gap: Gap) -> dict[str, Any]:
    return {"from": gap.from_at, "to": gap.to_at, "reason": gap.reason}


def _phase(started_at: datetime, phase: Phase) -> dict[str, Any]:
    from_t = chart.seconds_since(started_at, phase.from_at)
    to_t = chart.seconds_since(started_at, phase.to_at)
    return {
        "phase": phase.phase,
        "from_t": from_t,
        "to_t": to_t,
        "seconds": round(to_t - from_t, 3),
        "bytes": phase.bytes,
    }


def _file_name(history: History) -> str:
    job_id, run = split_key(history.job.key)
    disk = "" if history.disk is None else f"-disk{history.disk}"
    return f"history-{job_id}{disk}" if run == 1 else f"history-{job_id}-run{run}{disk}"
