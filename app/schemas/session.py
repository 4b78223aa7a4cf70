"""The response of GET /session."""

from __future__ import annotations

from marshmallow import Schema, fields


class SessionSchema(Schema):
    """The token or cookie of the request."""

    required = fields.Boolean(
        required=True, metadata={"description": "Whether this hub requires tokens."}
    )
    signed_in = fields.Boolean(
        required=True, metadata={"description": "Whether a valid token was sent."}
    )
    by_cookie = fields.Boolean(
        required=True, metadata={"description": "Whether it was sent as a browser's cookie."}
    )
    token_id = fields.String(required=True, allow_none=True)
    name = fields.String(required=True, allow_none=True)
    scope = fields.String(
        required=True,
        allow_none=True,
        metadata={"description": "`ingest`, `read` or `admin`; by a cookie always `read`."},
    )
    job_types = fields.List(
        fields.String(),
        required=True,
        metadata={"description": "The only types of jobs it may push; empty: no limit."},
    )
    expires_at = fields.String(required=True, allow_none=True, metadata={"format": "date-time"})
    problem = fields.String(
        required=True,
        allow_none=True,
        metadata={"description": "What is wrong with the token; null: nothing."},
    )
