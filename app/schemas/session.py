"""The response of GET /session."""

from __future__ import annotations

from marshmallow import fields

from app.schemas.answers import AnswerSchema


class SessionSchema(AnswerSchema):
    """The token or cookie of the request."""

    required = fields.Boolean(metadata={"description": "Whether this hub requires tokens."})
    signed_in = fields.Boolean(metadata={"description": "Whether a valid token was sent."})
    by_cookie = fields.Boolean(
        metadata={"description": "Whether it was sent as a browser's cookie."}
    )
    token_id = fields.String(allow_none=True)
    name = fields.String(allow_none=True)
    scope = fields.String(
        allow_none=True,
        metadata={"description": "`ingest`, `read` or `admin`; by a cookie always `read`."},
    )
    job_types = fields.List(
        fields.String(),
        metadata={"description": "The only types of jobs it may push; empty: no limit."},
    )
    expires_at = fields.String(allow_none=True, metadata={"format": "date-time"})
    problem = fields.String(
        allow_none=True,
        metadata={"description": "What is wrong with the token; null: nothing."},
    )
