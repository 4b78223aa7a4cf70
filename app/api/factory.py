"""Builds the Flask application: blueprints, hooks, the description of the API."""

from __future__ import annotations

import logging
from typing import Any

from flask import Flask
from flask_smorest import Api
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
    pings,
    registration,
    rules,
    service,
    signin,
    telemetry,
)
from app.api.context import EXTENSION, hub_of
from app.api.errors import register_error_handlers
from app.api.hooks import register_hooks
from app.api.needs import check_permissions
from app.hub import Hub
from app.schemas.fields import IDENTIFIER
from app.schemas.updates import JOB_TYPE, ProblemSchema
from app.web.paths import PREFIX

logger = logging.getLogger("hub.api")

# Part of the OpenAPI document if tokens are required.
_TOKENS_IN_SPEC = {
    "security": [{"token": []}, {"password": []}, {"key": []}],
    "components": {
        "securitySchemes": {
            "token": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
            "password": {
                "type": "http",
                "scheme": "basic",
                "description": "The token as the password, with any user name.",
            },
            "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
        }
    },
}


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


class _HubApi(Api):  # type: ignore[misc]  # flask-smorest has no types
    """Documents errors as problem+json."""

    ERROR_SCHEMA = ProblemSchema
    DEFAULT_RESPONSE_CONTENT_TYPE = "application/json"

    def _register_responses(self) -> None:
        ordinary = self.DEFAULT_RESPONSE_CONTENT_TYPE
        self.DEFAULT_RESPONSE_CONTENT_TYPE = "application/problem+json"
        super()._register_responses()
        self.DEFAULT_RESPONSE_CONTENT_TYPE = ordinary


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
        OPENAPI_VERSION="3.0.3",
        PROPAGATE_EXCEPTIONS=False,
    )
    if requires_tokens:
        app.config["API_SPEC_OPTIONS"] = _TOKENS_IN_SPEC
    # A redirect would lose the body of a push.
    app.url_map.strict_slashes = False
    app.url_map.merge_slashes = False
    for name, (converter, _) in CONVERTERS.items():
        app.url_map.converters[name] = converter
    _register_blueprints(app)
    return app


def close_app(app: Flask) -> None:
    """Close the hub of an application. Idempotent."""
    hub_of(app).close()


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


def _allow_empty(self: Any, field: Any, ret: dict[str, Any]) -> dict[str, bool]:
    """Document that query parameters may be empty; `QuerySchema` drops such ones."""
    return {"allowEmptyValue": True} if ret["in"] == "query" else {}
