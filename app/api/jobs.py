"""Reads jobs and machines: lists, one job, its events, counts by status."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Any

from flask import Response
from flask_smorest import Blueprint

from app.api.answers import conditional_json, table
from app.api.context import hub
from app.api.csv import also_csv
from app.api.needs import needs
from app.clock import from_micros, isoformat, to_micros, utc_now
from app.domain.estimates import Estimate, duration_seconds
from app.domain.job_lists import Order
from app.domain.rules import RuleSet, Schedule, subject_of
from app.domain.runs import run_name
from app.domain.staleness import SilenceRules
from app.domain.statuses import JOB_STATUSES
from app.domain.texts import shorten
from app.domain.thresholds import applied_thresholds
from app.errors import no_such_run
from app.schemas import jobs as schemas
from app.schemas.fields import normalise_identifier
from app.schemas.queries import RunQuery, encode_cursor, page_query, run_field, table_query
from app.schemas.rules import show_settings
from app.store import jobs as store
from app.store.estimates import read_estimates
from app.store.rules import read_rules
from app.web.paths import read_identifier
from app.web.permissions import READ

blueprint = Blueprint("jobs", __name__, description="Jobs, their events, and machines.")


@blueprint.route("/jobs")
@blueprint.arguments(schemas.JobListQuery, location="query", error_status_code=400)
@blueprint.response(200, schemas.JobListSchema)
@blueprint.alt_response(304, success=True, description="Not modified since the given ETag")
@blueprint.alt_response(503, "SERVICE_UNAVAILABLE")
@needs(READ)
@also_csv(blueprint, "/jobs.csv", "export_jobs", schemas.JobListQuery)
def list_jobs(query: dict[str, Any]) -> Response:
    """List jobs, by default the newest run first."""
    order = Order(query["sort"], query["order"] == "asc")
    with hub().reads.reading() as conn:
        page = store.list_jobs(
            conn, _job_filter(query), query["limit"], order, _read_key(query), query.get("q")
        )
        # A CSV may have thousands of jobs, and no column for an estimate.
        estimates = read_estimates(conn, page.jobs) if query["format"] == "json" else {}
    cursor = None
    if page.next_key is not None:
        cursor = _encode_key(query, page.next_key)
    return _table("jobs", query, page, estimates, cursor)


def _table(
    name: str,
    query: dict[str, Any],
    page: store.JobPage,
    estimates: dict[int, Estimate],
    cursor: str | None,
) -> Response:
    items = [_job(job, estimates.get(job.id)) for job in page.jobs]
    columns = [name for name in schemas.JobItemSchema().fields if name != "hub_eta"]
    return table(name, query, columns, items, cursor)


def _read_key(query: dict[str, Any]) -> store.Key | None:
    """The key that a cursor was made of."""
    if "cursor" not in query:
        return None
    _, _, key, row_id = query["cursor"]
    return (from_micros(key) if query["sort"] == "started_at" else key), row_id


def _encode_key(query: dict[str, Any], key: store.Key) -> str:
    value, row_id = key
    if isinstance(value, datetime):
        value = to_micros(value)
    return encode_cursor("jobs", query["sort"], query["order"], value, row_id)


@blueprint.route("/jobs/summary")
@blueprint.arguments(schemas.JobFilterQuery, location="query", error_status_code=400)
@blueprint.response(200, schemas.JobSummarySchema)
@blueprint.alt_response(304, success=True, description="Not modified since the given ETag")
@blueprint.alt_response(503, "SERVICE_UNAVAILABLE")
@needs(READ)
def summarise_jobs(query: dict[str, Any]) -> Response:
    """Count runs of jobs by status, and the completed ones by result."""
    with hub().reads.reading() as conn:
        wanted = _job_filter(query)
        by_status = store.count_jobs_by_status(conn, wanted)
        warnings = store.count_warnings(conn, wanted)
    return conditional_json(
        {
            "total": sum(by_status.values()),
            "by_status": by_status,
            "by_result": _by_result(by_status, warnings),
        }
    )


def _by_result(by_status: dict[str, int], warnings: int) -> dict[str, int]:
    """The completed runs by their result. Those that are not judged yet count as good."""
    completed = by_status["completed"]
    warnings = min(warnings, completed)  # counted a moment later
    return {"good": completed - warnings, "warning": warnings}


@blueprint.route("/jobs/<job:job_id>")
@blueprint.arguments(RunQuery, location="query", error_status_code=400)
@blueprint.response(200, schemas.JobSchema)
@blueprint.alt_response(304, success=True, description="Not modified since the given ETag")
@blueprint.alt_response(400, "BAD_REQUEST")
@blueprint.alt_response(404, "NOT_FOUND")
@blueprint.alt_response(503, "SERVICE_UNAVAILABLE")
@needs(READ)
def read_job(query: dict[str, Any], job_id: str) -> Response:
    """Return one run of a job with its disks and summary, by default the newest."""
    job_id = read_identifier("job_id", job_id)
    return conditional_json(job_body(job_id, query.get("run")))


@blueprint.route("/jobs/<identifier:job_id>/runs")
@blueprint.arguments(schemas.RunListQuery, location="query", error_status_code=400)
@blueprint.response(200, schemas.JobListSchema)
@blueprint.alt_response(304, success=True, description="Not modified since the given ETag")
@blueprint.alt_response(404, "NOT_FOUND")
@blueprint.alt_response(503, "SERVICE_UNAVAILABLE")
@needs(READ)
@also_csv(blueprint, "/jobs/<identifier:job_id>/runs.csv", "export_job_runs", schemas.RunListQuery)
def list_job_runs(query: dict[str, Any], job_id: str) -> Response:
    """List the runs of a job, the newest first."""
    job_id = read_identifier("job_id", job_id)
    after = None
    if "cursor" in query:
        micros, row_id = query["cursor"]
        after = from_micros(micros), row_id
    with hub().reads.reading() as conn:
        wanted = store.JobFilter(job_id=job_id)
        page = store.list_jobs(conn, wanted, query["limit"], after=after)
        if not page.jobs and not store.job_exists(conn, job_id):
            raise no_such_run(job_id)
        estimates = read_estimates(conn, page.jobs) if query["format"] == "json" else {}
    cursor = None
    if page.next_key is not None:
        started_at, row_id = page.next_key
        assert isinstance(started_at, datetime)
        cursor = encode_cursor("runs", to_micros(started_at), row_id)
    return _table(f"runs-{job_id}", query, page, estimates, cursor)


@blueprint.route("/jobs/<identifier:job_id>/events")
@blueprint.arguments(page_query("events", run=run_field()), location="query", error_status_code=400)
@blueprint.response(200, schemas.JobEventListSchema)
@blueprint.alt_response(304, success=True, description="Not modified since the given ETag")
@blueprint.alt_response(404, "NOT_FOUND")
@blueprint.alt_response(503, "SERVICE_UNAVAILABLE")
@needs(READ)
def list_job_events(query: dict[str, Any], job_id: str) -> Response:
    """List the transitions and warnings of a run of a job, oldest first."""
    job_id = read_identifier("job_id", job_id)
    limit, after_id = query["limit"], query.get("cursor", [0])[0]
    name = run_name(job_id, query.get("run"))
    with hub().reads.reading() as conn:
        found = store.list_events(conn, name, limit + 1, after_id)
        if not found and not store.job_exists(conn, name):
            raise no_such_run(name)
    cursor = encode_cursor("events", found[limit - 1].id) if len(found) > limit else None
    return conditional_json({"items": [vars(e) for e in found[:limit]], "next_cursor": cursor})


_UPDATES_QUERY = table_query("updates", run=run_field())


@blueprint.route("/jobs/<identifier:job_id>/updates")
@blueprint.arguments(_UPDATES_QUERY, location="query", error_status_code=400)
@blueprint.response(200, schemas.JobUpdateListSchema)
@blueprint.alt_response(304, success=True, description="Not modified since the given ETag")
@blueprint.alt_response(404, "NOT_FOUND")
@blueprint.alt_response(503, "SERVICE_UNAVAILABLE")
@needs(READ)
@also_csv(blueprint, "/jobs/<identifier:job_id>/updates.csv", "export_job_updates", _UPDATES_QUERY)
def list_job_updates(query: dict[str, Any], job_id: str) -> Response:
    """List the updates of a run of a job, oldest first, as long as they are kept."""
    job_id = read_identifier("job_id", job_id)
    limit, after = query["limit"], None
    if "cursor" in query:
        micros, seq = query["cursor"]
        after = from_micros(micros), seq
    name = run_name(job_id, query.get("run"))
    with hub().reads.reading() as conn:
        found = store.list_updates(conn, name, limit + 1, after)
    if found is None:
        raise no_such_run(name)
    cursor = None
    if len(found) > limit:
        last = found[limit - 1]
        cursor = encode_cursor("updates", to_micros(last.time), last.seq)
    items = [_update(update) for update in found[:limit]]
    return table(f"updates-{job_id}", query, schemas.JobUpdateSchema().fields, items, cursor)


@blueprint.route("/machines")
@blueprint.arguments(page_query("machines"), location="query", error_status_code=400)
@blueprint.response(200, schemas.MachineListSchema)
@blueprint.alt_response(304, success=True, description="Not modified since the given ETag")
@blueprint.alt_response(503, "SERVICE_UNAVAILABLE")
@needs(READ)
def list_machines(query: dict[str, Any]) -> Response:
    """List machines, each with its newest job and its number of jobs by status."""
    limit, after_name = query["limit"], query.get("cursor", [""])[0]
    with hub().reads.reading() as conn:
        found = store.list_machines(conn, limit + 1, after_name)
    cursor = None
    if len(found) > limit:
        cursor = encode_cursor("machines", found[limit - 1].vm_name)
    return conditional_json({"items": [_machine(m) for m in found[:limit]], "next_cursor": cursor})


def job_body(job_id: str, run: int | None = None) -> dict[str, Any]:
    """The body of `GET /jobs/{job_id}`, timestamps as text. Raises NotFound."""
    name = run_name(job_id, run)
    with hub().reads.reading() as conn:
        job = store.read_job(conn, name)
        if job is None:
            raise no_such_run(name)
        estimate = read_estimates(conn, [job]).get(job.id)
        rules = read_rules(conn)
    return {
        **_job(job, estimate),
        "thresholds": _thresholds(job, rules),
        "disks": [_disk(disk) for disk in job.disks],
    }


def _thresholds(job: store.Job, rules: RuleSet) -> dict[str, Any]:
    config = hub().config
    silence = SilenceRules(rules, config.stale_after_seconds, config.fail_after_seconds)
    subject = subject_of(job.job_type, job.current_phase, job.vm_name, job.key)
    shown = applied_thresholds(
        rules, silence, subject, job.interval_seconds, job.pause_seconds, utc_now()
    )
    if isinstance(schedule := shown["schedule"]["value"], Schedule):
        shown["schedule"]["value"] = show_settings({"schedule": schedule})
    return shown


def _job_filter(query: dict[str, Any]) -> store.JobFilter:
    active = query.get("active_from"), query.get("active_to")
    job_id: str | None = query.get("job_id")
    return store.JobFilter(
        statuses=query.get("status"),
        job_type=query.get("job_type"),
        vm_name=query.get("vm_name"),
        repository_id=query.get("repository_id"),
        started_from=query.get("from_"),
        started_before=query.get("to"),
        active=active if active != (None, None) else None,
        job_id=None if job_id is None else normalise_identifier(job_id),
        result=query.get("result"),
        attention=query.get("attention"),
    )


def _job(job: store.Job, estimate: Estimate | None) -> dict[str, Any]:
    """A job's columns as the API shows them, and values computed from them."""
    columns = vars(job).items()
    left = estimate and estimate.time_left
    speed, source = job.transfer_speed_bps, "reported"
    if speed is None:
        speed, source = (estimate.speed_bps if estimate else None), "derived"
    return {
        **{name: isoformat(v) if isinstance(v, datetime) else v for name, v in columns},
        "progress_percent": _rounded(job.progress_percent),
        "transfer_speed_bps": speed,
        "speed_source": None if speed is None else source,
        "warnings": list(job.warnings.values()),
        "hub_eta": None if left is None else asdict(left),
        "duration_seconds": duration_seconds(
            job.started_at, job.completed_at, job.newest_update_at
        ),
    }


def _rounded(percent: float | None) -> float | None:
    return None if percent is None else round(percent, 2)


def _disk(disk: dict[str, Any]) -> dict[str, Any]:
    newest = disk["newest_update_at"]
    return {
        **disk,
        "progress_percent": _rounded(disk["progress_percent"]),
        "newest_update_at": newest and isoformat(datetime.fromisoformat(newest)),
    }


def _update(update: store.JobUpdate) -> dict[str, Any]:
    error = update.reported["error_message"]
    return {
        "time": update.time,
        "received_at": update.received_at,
        "sender_time": update.sender_time,
        "status": update.status,
        **update.reported,
        "error_message": error and shorten(error),
    }


def _machine(machine: store.Machine) -> dict[str, Any]:
    by_status = dict.fromkeys(JOB_STATUSES, 0) | machine.by_status
    last_job = {
        "job_id": machine.job_id,
        "run": machine.run,
        "runs": machine.runs,
        "job_type": machine.job_type,
        "status": machine.status,
        "result": machine.result,
        "started_at": machine.started_at,
        "completed_at": machine.completed_at,
        "bytes_transferred": machine.bytes_transferred,
        "duration_seconds": duration_seconds(
            machine.started_at, machine.completed_at, machine.newest_update_at
        ),
        "error_message": machine.error_message,
    }
    return {
        "vm_name": machine.vm_name,
        "jobs": sum(by_status.values()),
        "by_status": by_status,
        "by_result": _by_result(by_status, machine.warnings),
        "last_job": last_job,
    }
