"""Lists and charts as CSV, at addresses of their own: an operation answers in one media type.

`format=csv` at the address of the JSON does the same, for older clients. It is not in the OpenAPI
document.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Response
from flask_smorest import Blueprint

from app.api.needs import needs
from app.schemas.queries import csv_query
from app.web.permissions import READ

View = Callable[..., Response]

_FORM = (
    "Units are in the names of columns, times in UTC, and unknown values empty. The next page of a "
    'list, if any, is in the header `Link` (`rel="next"`).'
)


def also_csv(
    blueprint: Blueprint, rule: str, name: str, query: type[Any]
) -> Callable[[View], View]:
    """Decorate a view below all else: it is also the view `name` at `rule`, which answers in CSV.

    `query` is the view's schema, with a `format`.
    """

    def add(view: View) -> View:
        def export(query: dict[str, Any], **path: str) -> Response:
            return view(query, **path)

        summary = (view.__doc__ or "").splitlines()[0]
        export.__name__, export.__doc__ = name, f"{summary.rstrip('.')}, as CSV.\n\n{_FORM}"
        described: Any = needs(READ)(export)
        for decorate in (
            blueprint.alt_response(503, "SERVICE_UNAVAILABLE"),
            blueprint.alt_response(404, "NOT_FOUND"),
            blueprint.alt_response(304, success=True, description="Not modified since the ETag"),
            blueprint.response(200, {"type": "string"}, content_type="text/csv"),
            blueprint.arguments(csv_query(query), location="query", error_status_code=400),
            blueprint.route(rule),
        ):
            described = decorate(described)
        return view

    return add
