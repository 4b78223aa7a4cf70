"""The OpenAPI document: what generated clients need beyond what flask-smorest knows of the routes.

Each operation has an id, the name of its view, and an example of a request and its answer: a file
of that name in `examples`. A test sends every example and compares the answers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import orjson
from apispec import BasePlugin
from flask import Flask
from flask_smorest import Api

from app.config import ROOT
from app.schemas.queries import HIDDEN
from app.schemas.updates import ProblemSchema

EXAMPLES = ROOT / "app" / "api" / "examples"

_DESCRIPTION = """\
Telemetry Hub records the progress of backup, replication and restore jobs.

`bps` fields are BYTES per second, `network_*_rate_mbps` are MEGABYTES per second. Instants are \
RFC 3339 with an offset. Errors are `application/problem+json` (RFC 9457) and name the field.
"""
_SCHEMES = {
    "token": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": "A token of `python -m app token create`. A hub without a key needs none.",
    },
    "password": {
        "type": "http",
        "scheme": "basic",
        "description": "The token as the password, with any user name.",
    },
    "key": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "The token."},
}


class HubApi(Api):  # type: ignore[misc]  # flask-smorest has no types
    """Describes the routes of an application, and errors as problem+json."""

    ERROR_SCHEMA = ProblemSchema
    DEFAULT_RESPONSE_CONTENT_TYPE = "application/json"

    def __init__(self, app: Flask, *, requires_tokens: bool) -> None:
        by_token: list[dict[str, list[str]]] = [{name: []} for name in _SCHEMES]
        super().__init__(
            app,
            spec_kwargs={
                "extra_plugins": [_Operations()],
                "info": {
                    "description": _DESCRIPTION,
                    "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
                },
                # Relative to the document's address, as a proxy may add a path prefix.
                "servers": [{"url": "../..", "description": "The hub that serves this document"}],
                "security": by_token if requires_tokens else [*by_token, {}],
                "components": {"securitySchemes": _SCHEMES},
            },
        )
        self.ma_plugin.converter.add_attribute_function(_allow_null)
        self.ma_plugin.converter.add_parameter_attribute_function(_allow_empty)

    def _register_responses(self) -> None:
        ordinary = self.DEFAULT_RESPONSE_CONTENT_TYPE
        self.DEFAULT_RESPONSE_CONTENT_TYPE = "application/problem+json"
        super()._register_responses()
        self.DEFAULT_RESPONSE_CONTENT_TYPE = ordinary

    def _register_pagination_header(self) -> None:
        """Not used: lists are paged by cursors."""


def _allow_null(self: Any, field: Any, ret: dict[str, Any]) -> dict[str, Any]:
    """Null among the values of a nullable field; generated clients do not expect its type then."""
    if not field.allow_none or "enum" not in ret:
        return {}
    ret.pop("type")
    return {"enum": [*(value for value in ret["enum"] if value is not None), None]}


def _allow_empty(self: Any, field: Any, ret: dict[str, Any]) -> dict[str, bool]:
    """Document that query parameters may be empty; `QuerySchema` drops such ones."""
    return {"allowEmptyValue": True} if ret["in"] == "query" else {}


class _Operations(BasePlugin):
    """Completes each operation: its id, its examples, and parameters that it does not show."""

    def path_helper(
        self, path: Any = None, operations: Any = None, parameters: Any = None, **kwargs: Any
    ) -> None:
        """Add examples to the parameters of a path, which its operations share."""
        for method, operation in operations.items():
            name = camel_case(_view_of(kwargs["rule"]))
            if len(operations) > 1 and method != "get":  # one view for both
                name += f"By{method.capitalize()}"
            operation.setdefault("operationId", name)
            example = read_example(operation["operationId"])
            _add_to_parameters(parameters, example)

    def operation_helper(self, path: Any = None, operations: Any = None, **kwargs: Any) -> None:
        """Complete the operations of a path, whose schemas are resolved already."""
        for operation in operations.values():
            example = read_example(operation["operationId"])
            parameters = operation.get("parameters", [])
            parameters[:] = [each for each in parameters if HIDDEN not in each.get("schema", {})]
            _add_to_parameters(parameters, example)
            if "body" in example:
                _add_to_content([operation["requestBody"]], example["body"])
            if "answer" in example:
                _add_to_content(_successes(operation), example["answer"])


def camel_case(name: str) -> str:
    """`list_jobs` as `listJobs`."""
    first, *others = name.split("_")
    return first + "".join(word.capitalize() for word in others)


def read_example(operation_id: str) -> dict[str, Any]:
    """The `parameters`, `body` and `answer` of an operation's example, without what it lacks."""
    path = EXAMPLES / f"{operation_id}.json"
    if not path.is_file():
        return {}
    example: dict[str, Any] = orjson.loads(path.read_bytes())
    return example


def _view_of(rule: Any) -> str:
    return str(rule.endpoint).rpartition(".")[2]


def _add_to_parameters(parameters: Iterable[dict[str, Any]], example: dict[str, Any]) -> None:
    values = example.get("parameters", {})
    for parameter in parameters:
        if parameter["name"] in values:
            parameter.setdefault("example", values[parameter["name"]])


def _successes(operation: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for status, response in operation["responses"].items():
        if str(status).startswith("2"):
            yield response


def _add_to_content(described: Iterable[dict[str, Any]], example: Any) -> None:
    """To the first media type, which is that of the example."""
    for each in described:
        first = next(iter(each.get("content", {}).values()), None)
        if first is not None:
            first["example"] = example
