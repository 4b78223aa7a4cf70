"""Builds the Flask application: blueprints, hooks, the description of the API."""

from __future__ import annotations

import logging

from flask import Flask
from webargs.flaskparser import FlaskParser
from werkzeug.routing import BaseConverter, PathConverter

from app import __version__
from app.api import (
    attention,
    dashboard,
    history,
    jobs,
    nights,
    nodes,
    notifications,
    pings,
    registration,
    rules,
    service,
    signin,
    telemetry,
)
from app.api.context import EXTENSION, hub_of
from app.api.description import HubApi
from app.api.errors import register_error_handlers
from app.api.hooks import register_hooks
from app.api.needs import check_permissions
from app.hub import Hub
from app.schemas.fields import IDENTIFIER
from app.schemas.updates import JOB_TYPE
from app.web.paths import PREFIX

logger = logging.getLogger("hub.api")


class IdentifierConverter(PathConverter):
    """Matches the rest of a path with slashes, so that a bad id gets a 400 with a reason."""

    regex = r"[\s\S]*?"
    part_isolating = False


class JobConverter(IdentifierConverter):
    """Like `identifier`, but not `…/complete`, so that a GET there is answered 405."""

    regex = r"[\s\S]*?(?<!/complete)"


class JobTypeConverter(BaseConverter):
    """One segment of a path, except `history`, which leads to the charts."""

    regex = r"(?!history\Z)[^/]+"
    part_isolating = True


# Converters of path parameters, and their OpenAPI schemas.
CONVERTERS = {
    "identifier": (IdentifierConverter, IDENTIFIER),
    "job": (JobConverter, IDENTIFIER),
    "job_type": (JobTypeConverter, JOB_TYPE),
}


class _BadRequestParser(FlaskParser):
    DEFAULT_VALIDATION_STATUS = 400


def build_app(hub: Hub) -> Flask:
    """The application of a started hub. Raises StartError; see check_permissions."""
    app = make_routes(requires_tokens=hub.admission.guard is not None)
    check_permissions(app)
    app.extensions[EXTENSION] = hub
    register_hooks(app)
    register_error_handlers(app)  # after flask-smorest's own, which they replace
    logger.info("Telemetry API endpoints enabled (Real-time SBC progress tracking)")
    logger.info("Telemetry API routes registered: POST %s/telemetry/{job_type}/{job_id}", PREFIX)
    return app


def make_routes(*, requires_tokens: bool) -> Flask:
    """An application with every route and its description, without a hub."""
    app = Flask("hub", static_folder=None)
    app.config.update(
        API_TITLE="Telemetry Hub",
        API_VERSION=__version__,
        OPENAPI_VERSION="3.1.0",
        PROPAGATE_EXCEPTIONS=False,
    )
    # A redirect would lose the body of a push.
    app.url_map.strict_slashes = False
    app.url_map.merge_slashes = False
    for name, (converter, _) in CONVERTERS.items():
        app.url_map.converters[name] = converter
    _register_blueprints(app, requires_tokens=requires_tokens)
    return app


def close_app(app: Flask) -> None:
    """Close the hub of an application. Idempotent."""
    hub_of(app).close()


def _register_blueprints(app: Flask, *, requires_tokens: bool) -> None:
    api = HubApi(app, requires_tokens=requires_tokens)
    for converter, schema in CONVERTERS.values():
        api.register_converter(converter, lambda _, schema=schema: schema)
    for blueprint in (
        telemetry.blueprint,
        registration.blueprint,
        jobs.blueprint,
        nodes.blueprint,
        notifications.blueprint,
        attention.blueprint,
        nights.blueprint,
        telemetry.snapshots,
        history.blueprint,
        rules.blueprint,
        service.blueprint,
        service.exposition,
        signin.blueprint,
    ):
        blueprint.ARGUMENTS_PARSER = _BadRequestParser()
        api.register_blueprint(blueprint, url_prefix=PREFIX)
    api.register_blueprint(pings.blueprint)
    app.register_blueprint(service.pages, url_prefix=PREFIX)
    app.register_blueprint(dashboard.blueprint)
    app.register_blueprint(signin.pages)
    app.register_blueprint(service.exposition, url_prefix="", name="exposition_unprefixed")
    # Addresses of older senders and dashboards, without the prefix.
    app.register_blueprint(history.blueprint, url_prefix="", name="history_unprefixed")
    app.register_blueprint(telemetry.snapshots, url_prefix="/api", name="snapshots_unversioned")
