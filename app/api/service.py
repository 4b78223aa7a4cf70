"""Health, metrics, the OpenAPI document and the page that shows it."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Any

import flask
from flask import Response
from flask_smorest import Blueprint, current_api
from werkzeug.exceptions import NotFound

from app import __version__, metrics
from app.api.answers import compressed, conditional_json, json_response
from app.api.context import current_request, hub, to_response
from app.api.files import TYPES, read_file, send
from app.api.needs import needs
from app.checks.probe import FRESH_SECONDS, WAIT_SECONDS, Look
from app.config import ROOT
from app.ingest.writer import Writer
from app.schemas.health import HealthSchema
from app.store.tasks import LATE_AFTER_INTERVALS, TaskRun
from app.web.permissions import HEALTH, OPEN, PAGE, READ
from app.web.problems import problem
from app.web.request import Answer

blueprint = Blueprint("service", __name__, description="Health, metrics and this document.")
# Also without the prefix: Prometheus' default path.
exposition = Blueprint("exposition", __name__, description="Metrics for Prometheus.")
# Not part of the OpenAPI document.
pages = flask.Blueprint("docs", __name__)

# An answer or a commit within this time proves that the database is alive: on the embedded engine,
# one refresh of the rollups can block other statements for longer than WAIT_SECONDS.
PROOF_SECONDS = 3.0
RETRY_AFTER_SECONDS = 2


# Health.


@blueprint.route("/health")
@blueprint.doc(security=[])
@blueprint.response(200, HealthSchema, description="The hub accepts updates; see `status`.")
@blueprint.alt_response(503, schema=HealthSchema, description="The hub cannot accept updates.")
@needs(HEALTH)
def read_health() -> Response:
    """Report the hub's health. Answers within a second even if the database hangs."""
    look, silent_seconds = hub().probe.look(hub().database), hub().probe.silent_seconds
    writer, config = hub().writer, hub().config
    checks = {
        "database": check_database(
            look, silent_seconds, writer.last_commit_seconds_ago, time.monotonic()
        ),
        "migrations": check_migrations(look),
        "writer": check_writer(writer),
        "tasks": check_tasks(look, config.task_interval(config.sweep_seconds)),
        "analysts": check_analysts(look),
        "standby": asdict(hub().reads.state),
    }
    states = {check["status"] for check in checks.values()} - {"none"}
    # A full or slow queue alone is not a 503: it drains, or the writer reports `refusing`. A load
    # balancer takes a hub that answers 503 out of service.
    is_accepting = (
        checks["database"]["status"] != "down" and checks["writer"]["status"] != "refusing"
    )
    status = "unavailable" if not is_accepting else "ok" if states == {"ok"} else "degraded"
    body = {"status": status, "version": __version__, "checks": checks}
    response = json_response(body, 200 if is_accepting else 503)
    if not is_accepting:
        response.headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
    response.headers["Cache-Control"] = "no-store"
    return response


def check_database(
    look: Look | None, silent_seconds: float, last_commit_seconds_ago: float | None, now: float
) -> dict[str, Any]:
    """`ok`; `slow` if only something else proves that it is alive; `down` otherwise."""
    age = None if look is None else now - look.at
    is_current = age is not None and age < FRESH_SECONDS + WAIT_SECONDS
    error = look.error if look is not None else None
    seconds = None if look is None or error else round(look.seconds, 4)
    if is_current and error is None:
        return {"status": "ok", "seconds": seconds, "detail": None}
    detail = error if is_current else f"The database has not answered for {silent_seconds:.1f} s."
    proofs = [last_commit_seconds_ago, None if error else age]
    is_alive = any(proof is not None and proof < PROOF_SECONDS for proof in proofs)
    return {"status": "slow" if is_alive else "down", "seconds": seconds, "detail": detail}


def check_migrations(look: Look | None) -> dict[str, Any]:
    """Whether migrations are pending, as of the database's last answer."""
    if look is None or look.error is not None:
        return {"status": "unknown", "pending": []}
    names = list(look.pending_migrations)
    return {"status": "pending" if names else "ok", "pending": names}


def check_writer(writer: Writer) -> dict[str, Any]:
    """Whether this process stores updates in time, and how many are queued."""
    delay = writer.delay
    status = "full" if writer.is_full else "ok" if delay is None else "slow"
    if writer.damage is not None:
        status = "damaged"
    if not writer.is_accepting:
        status = "refusing"
    ago = writer.last_commit_seconds_ago
    return {
        "status": status,
        "queued": writer.queued,
        "capacity": writer.capacity,
        "detail": writer.damage or delay,
        "last_commit_seconds_ago": None if ago is None else round(ago, 3),
    }


def check_tasks(look: Look | None, sweep_seconds: int) -> dict[str, Any]:
    """Whether the scheduled tasks ran on time, as of the database's last answer.

    If none has ever run, the status is `late` once web processes have waited for three intervals
    of the stale detector (`sweep_seconds`).
    """
    if look is None or look.error is not None:
        return {"status": "unknown", "tasks": []}
    tasks = [_describe_task(run) for run in look.tasks]
    states = {task["status"] for task in tasks}
    if not tasks and look.waited_for_tasks_seconds > LATE_AFTER_INTERVALS * sweep_seconds:
        states = {"late"}
    status = next((status for status in ("late", "failing") if status in states), "ok")
    return {"status": status, "tasks": tasks}


def check_analysts(look: Look | None) -> dict[str, Any]:
    """Whether analysts may connect, as of the database's last answer."""
    if look is None or look.error is not None:
        return {"status": "unknown", "refused_until": None}
    until = look.analysts_refused_until
    return {"status": "refused" if until else "ok", "refused_until": until}


def _describe_task(run: TaskRun) -> dict[str, Any]:
    return {
        "task_id": run.task_id,
        "status": "late" if run.is_late else "failing" if run.last_error else "ok",
        "interval_seconds": run.interval_seconds,
        "age_seconds": round(run.age_seconds, 3),
        "last_started_at": run.last_started_at,
        "last_finished_at": run.last_finished_at,
        "last_duration_seconds": run.last_duration_seconds,
        "error": run.last_error,
    }


# Metrics and the OpenAPI document.


@exposition.route("/metrics")
@exposition.response(200, {"type": "string"}, content_type="text/plain")
@needs(READ)
def read_metrics() -> Response:
    """Return the metrics of the hub, its jobs, series and nodes for Prometheus.

    In OpenMetrics if `Accept` names it. Also at `/metrics`, without the prefix.
    """
    accepted = current_request().headers.get("accept", "")
    body, content_type = metrics.expose(accepted, hub().state_metrics.families())
    headers = [("Content-Type", content_type), ("Cache-Control", "no-store"), ("Vary", "Accept")]
    return compressed(Answer(200, body, headers))


@blueprint.route("/openapi.json")
@blueprint.response(200, {"type": "object"})
@blueprint.alt_response(304, success=True, description="Not modified since the given ETag")
@needs(READ)
def read_openapi() -> Response:
    """Return the OpenAPI 3 description of this API."""
    return conditional_json(current_api.spec.to_dict())


# The page that shows the OpenAPI document.

_STATIC = ROOT / "app" / "static"
_SWAGGER = _STATIC / "node_modules" / "swagger-ui-dist"
_ASSETS = {
    "docs.js": _STATIC / "docs" / "docs.js",
    "favicon-32x32.png": _SWAGGER / "favicon-32x32.png",
    "swagger-ui.css": _SWAGGER / "swagger-ui.css",
    "swagger-ui-bundle.js": _SWAGGER / "swagger-ui-bundle.js",
}
# Only the hub's own scripts, no other origin. Swagger UI sets some style attributes.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; style-src-attr 'unsafe-inline'; "
    "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)


@pages.route("/docs")
@needs(PAGE)
def show_docs() -> Response:
    """The API documentation page. 503 until its libraries are installed."""
    if not all(path.is_file() for path in _ASSETS.values()):
        return _not_installed()
    response = send(read_file(_STATIC / "docs" / "index.html"), "text/html; charset=utf-8")
    response.headers["Content-Security-Policy"] = _POLICY
    return response


@pages.route("/docs/assets/<name>")
@needs(OPEN)  # these files are public
def send_asset(name: str) -> Response:
    """One of the page's files; no other file in the folder is served."""
    path = _ASSETS.get(name)
    if path is None:
        raise NotFound
    if not path.is_file():
        return _not_installed()
    return send(read_file(path), TYPES[path.suffix])


def _not_installed() -> Response:
    answer = problem(
        503,
        "The browser libraries of this page are not installed: run `make setup`, or "
        "`telemetry-hub install`. "
        "The OpenAPI document is at openapi.json.",
        headers=[("Retry-After", "60")],
    )
    return to_response(answer)
