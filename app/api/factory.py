"""Builds the WSGI application: settings, writer, blueprints, documents."""

from __future__ import annotations

import logging
from multiprocessing.util import Finalize
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_to_bytes

from flask import Flask, Response, request
from flask_smorest import Api
from webargs.flaskparser import FlaskParser
from werkzeug.routing import BaseConverter, PathConverter

from app import __version__
from app.api import (
    dashboard,
    history,
    jobs,
    nodes,
    registration,
    requests,
    service,
    signin,
    telemetry,
)
from app.api.auth import guard_app
from app.api.context import Hub
from app.api.errors import problem, register_error_handlers
from app.api.fast_chart import FastChart
from app.api.fast_push import FastPush
from app.api.gate import PushGate, spare_threads
from app.api.headers import SafeHeaders
from app.api.hosts import HostGate, allowed_hosts
from app.api.limits import TokenRate
from app.auth.guard import Guard
from app.auth.keys import read_keys
from app.auth.watch import TokenWatch
from app.config import Config
from app.database.pool import Database
from app.domain.snapshots import Snapshot
from app.domain.updates import Update
from app.ingest.heartbeat import Heartbeat
from app.ingest.snapshots import store_snapshots
from app.ingest.transaction import store_updates
from app.ingest.writer import Writer
from app.schemas.fields import IDENTIFIER
from app.schemas.updates import JOB_TYPE, ProblemSchema

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

logger = logging.getLogger("hub.api")

PREFIX = "/api/v1"
# Part of the API's description while tokens are asked for.
_TOKENS_IN_SPEC = {
    "security": [{"token": []}],
    "components": {
        "securitySchemes": {"token": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}}
    },
}


class IdentifierConverter(PathConverter):
    """Takes all the rest of a path, slashes too, so that a bad id is refused with a reason."""

    regex = r"[\s\S]*?"
    part_isolating = False


class JobConverter(IdentifierConverter):
    """The same, but for what is the address of a job's end: that only takes POST, and says so."""

    regex = r"[\s\S]*?(?<!/complete)"


class JobTypeConverter(BaseConverter):
    """One part of a path. Below `history` are the charts, which take no pushes."""

    regex = r"(?!history\Z)[^/]+"
    part_isolating = True


# The types of parts of paths: how they are read, and what the OpenAPI document says of them.
CONVERTERS = {
    "identifier": (IdentifierConverter, IDENTIFIER),
    "job": (JobConverter, IDENTIFIER),
    "job_type": (JobTypeConverter, JOB_TYPE),
}


class _BadRequestParser(FlaskParser):
    DEFAULT_VALIDATION_STATUS = 400


class _HubApi(Api):  # type: ignore[misc]  # flask-smorest has no types
    """Documents errors as the problem+json they are answered as."""

    ERROR_SCHEMA = ProblemSchema
    DEFAULT_RESPONSE_CONTENT_TYPE = "application/json"

    def _register_responses(self) -> None:
        ordinary = self.DEFAULT_RESPONSE_CONTENT_TYPE
        self.DEFAULT_RESPONSE_CONTENT_TYPE = "application/problem+json"
        super()._register_responses()
        self.DEFAULT_RESPONSE_CONTENT_TYPE = ordinary


def build_app(config: Config) -> Flask:
    """The application with its writer running and its pool open; see `app.create_app`."""
    guard = _make_guard(config)
    app = make_routes(asks_for_tokens=guard is not None)
    app.before_request(_refuse_broken_path)
    requests.register_request_hooks(app)
    app.extensions["hub"], app.extensions["hub_heartbeat"] = _start_hub(config)
    register_error_handlers(app)  # after flask-smorest's own, which they replace
    hub: Hub = app.extensions["hub"]
    fast = app.extensions["hub_fast_push"] = FastPush(
        FastChart(app.wsgi_app, hub, PREFIX), hub, PREFIX
    )
    gate = app.extensions["hub_push_gate"] = PushGate(
        fast, config.threads - spare_threads(config.threads)
    )
    gated: WSGIApplication = gate
    if config.token_rate:
        gated = TokenRate(gated, config.token_rate)
    app.wsgi_app = gated  # type: ignore[assignment,method-assign]
    guard_app(app, guard)
    hosts = HostGate(app.wsgi_app, allowed_hosts(config), f"{PREFIX}/health")
    app.wsgi_app = SafeHeaders(hosts)  # type: ignore[method-assign]
    app.extensions["hub_token_watch"] = _start_watch(config, guard, hub.database)
    logger.info("Telemetry API endpoints enabled (Real-time SBC progress tracking)")
    logger.info("Telemetry API routes registered: POST %s/telemetry/{job_type}/{job_id}", PREFIX)
    return app


def make_routes(*, asks_for_tokens: bool) -> Flask:
    """Every route and its description, with nothing behind them."""
    app = Flask("hub", static_folder=None)
    app.config.update(
        API_TITLE="Telemetry Hub",
        API_VERSION=__version__,
        OPENAPI_VERSION="3.0.3",
        PROPAGATE_EXCEPTIONS=False,
    )
    if asks_for_tokens:
        app.config["API_SPEC_OPTIONS"] = _TOKENS_IN_SPEC
    # A redirect would lose the body of a push, and would answer another path than was asked for.
    app.url_map.strict_slashes = False
    app.url_map.merge_slashes = False
    for name, (converter, _) in CONVERTERS.items():
        app.url_map.converters[name] = converter
    _register_blueprints(app)
    return app


def close_app(app: Flask) -> None:
    """Drain the writer and close the pool. Idempotent."""
    hub: Hub = app.extensions["hub"]
    if app.extensions["hub_token_watch"] is not None:
        app.extensions["hub_token_watch"].stop()
    _close(app.extensions["hub_heartbeat"], hub.writer, hub.database)


def _start_hub(config: Config) -> tuple[Hub, Heartbeat]:
    database = Database.from_config(config)
    writer = Writer(
        database,
        {Update: store_updates, Snapshot: store_snapshots},
        capacity=config.queue_updates,
        wait_seconds=config.wait_seconds,
        late_days=config.late_data_days,
    )
    heartbeat = Heartbeat(database, lambda: writer.is_accepting and not writer.is_full)
    database.open()
    writer.start()
    heartbeat.start()
    # Runs at the end of any process, also of a web worker started by multiprocessing, whose
    # atexit handlers are not called.
    Finalize(None, _close, args=(heartbeat, writer, database), exitpriority=100)
    return Hub(config, database, writer), heartbeat


def _make_guard(config: Config) -> Guard | None:
    """Knows the tokens; None without a key for them. Raises ConfigError for a bad key."""
    if config.token_key_file is not None:
        return Guard(read_keys(config.token_key_file))
    logger.warning(
        "HUB_TOKEN_KEY_FILE is not set: whoever is on this machine may push and read, nobody else"
    )
    return None


def _start_watch(config: Config, guard: Guard | None, database: Database) -> TokenWatch | None:
    if guard is None or config.token_key_file is None:
        return None
    watch = TokenWatch(guard, database, config.token_key_file)
    watch.start()
    Finalize(None, watch.stop, exitpriority=110)  # as with the writer: see _start_hub
    return watch


def _close(heartbeat: Heartbeat, writer: Writer, database: Database) -> None:
    heartbeat.stop()
    writer.stop()
    database.close()


def _register_blueprints(app: Flask) -> None:
    api = _HubApi(app)
    for converter, schema in CONVERTERS.values():
        api.register_converter(converter, lambda _, schema=schema: schema)
    api.ma_plugin.converter.add_parameter_attribute_function(_allow_empty)
    for blueprint in (
        telemetry.blueprint,
        registration.blueprint,
        jobs.blueprint,
        nodes.blueprint,
        telemetry.snapshots,
        history.blueprint,
        service.blueprint,
        signin.blueprint,
    ):
        blueprint.ARGUMENTS_PARSER = _BadRequestParser()
        api.register_blueprint(blueprint, url_prefix=PREFIX)
    app.register_blueprint(service.pages, url_prefix=PREFIX)
    app.register_blueprint(dashboard.blueprint)
    app.register_blueprint(signin.pages)
    # Addresses of older senders and dashboards, without the prefix.
    app.register_blueprint(history.blueprint, url_prefix="", name="history_unprefixed")
    app.register_blueprint(telemetry.snapshots, url_prefix="/api", name="snapshots_unversioned")


def _allow_empty(self: Any, field: Any, ret: dict[str, Any]) -> dict[str, bool]:
    """What OpenAPI says of a parameter of a query: see `QuerySchema`, which drops empty ones."""
    return {"allowEmptyValue": True} if ret["in"] == "query" else {}


def _refuse_broken_path() -> Response | None:
    """A path or query that is no UTF-8 would reach the views with replacement characters."""
    raw: str = request.environ.get("PATH_INFO", "")
    query: str = request.environ.get("QUERY_STRING", "")
    name = "path"
    try:
        raw.encode("latin-1").decode()
        name = "query"
        unquote_to_bytes(query.encode("latin-1")).decode()
    except UnicodeError:
        reason = "Is not UTF-8."
        return problem(400, f"{name}: {reason}", errors={name: [reason]})
    return None
