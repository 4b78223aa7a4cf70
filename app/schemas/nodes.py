"""Snapshots of nodes, and queries and responses for nodes.

`network_rx_rate_mbps` and `network_tx_rate_mbps` are MEGABYTES per second, names that senders use.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

from marshmallow import (
    EXCLUDE,
    Schema,
    fields,
    post_load,
)

from app.domain.fields import METRICS, Field, Kind
from app.domain.nodes import Source
from app.schemas.answers import AnswerSchema
from app.schemas.fields import (
    LENIENT,
    LENIENT_ITEMS,
    Identifier,
    StrictInteger,
    StrictNumber,
    Timestamp,
)
from app.schemas.queries import (
    CommaSeparated,
    QueryTimestamp,
    WindowQuery,
    about,
    instant,
    next_cursor_field,
    points_field,
)

DEFAULT_METRICS = ("cpu_percent", "memory_percent", "disk_percent", "load_avg_1m")
LARGEST_LOSS = 2**31 - 1
HIGHEST_MEASURE = 10**15  # far above any real value; sums over a chart stay finite


# Snapshots.


class Uptime(StrictInteger):
    """Whole seconds; collectors also send a fraction, which is cut off."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> int:
        if isinstance(value, float) and math.isfinite(value):
            value = math.floor(value)
        return super()._deserialize(value, attr, data, **kwargs)


def _metric(name: str, field: Field) -> fields.Field[Any]:
    metric = _strict_metric(name, field)
    odd = {LENIENT: "Anything else is not kept, but a percent of more than 100 as 100."}
    metric.metadata = about(field.description, **metric.metadata, **odd)
    return metric


def _strict_metric(name: str, field: Field) -> fields.Field[Any]:
    if name == "uptime_seconds":
        return Uptime(allow_none=True, metadata={"type": "number"})
    if field.kind is Kind.INTEGER:
        return StrictInteger(allow_none=True)
    high = 100 if field.kind is Kind.PERCENT else HIGHEST_MEASURE
    return StrictNumber(high=high, allow_none=True)


class SnapshotSchema(Schema):
    """One snapshot of a node's metrics.

    A metric may be absent or null, both meaning that it was not reported: loaded, it is absent.
    Unknown fields are ignored. `cpu_percent` may exceed 100, because collectors add up cores. No
    measure exceeds 10^15, and no count 2^63 - 1. The schema refuses other values; of a pushed
    snapshot they are left out, and the receipt names them (`app.schemas.decode`).
    """

    class Meta:
        unknown = EXCLUDE
        include: ClassVar = {name: _metric(name, field) for name, field in METRICS.items()}

    node_id = Identifier(metadata=about("1 to 255 characters."))
    timestamp = Timestamp(
        allow_none=True,
        metadata=about("When it was taken, RFC 3339 with offset; absent: on arrival."),
    )

    lost_snapshots = StrictInteger(
        high=LARGEST_LOSS,
        allow_none=True,
        metadata=about(
            "How many snapshots the sender had to drop since the last one it delivered; "
            "absent or 0: none."
        ),
    )

    @post_load
    def _drop_nulls(self, data: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        return {name: value for name, value in data.items() if value is not None}


class SnapshotBatchSchema(Schema):
    """Snapshots of one or more nodes."""

    class Meta:
        unknown = EXCLUDE

    snapshots = fields.List(
        fields.Nested(SnapshotSchema),
        required=True,
        metadata={LENIENT_ITEMS: "Anything else is rejected alone, with a reason."},
    )


# Queries.


class NodeHistoryQuery(WindowQuery):
    """Which metrics of a node, over which window, in how many points."""

    metrics = CommaSeparated(
        tuple(METRICS),
        load_default=DEFAULT_METRICS,
        metadata=about(f"Metrics by comma, of {', '.join(METRICS)}."),
    )
    points = points_field()
    from_ = QueryTimestamp(
        data_key="from", metadata=about("Start of the window; default: a day before its end.")
    )
    to = QueryTimestamp(
        metadata=about("End of the window, exclusive; default: just after the newest snapshot.")
    )


# Answers.


def _state(description: str) -> fields.String:
    return fields.String(metadata=about(description, enum=["online", "offline"]))


def _shown_metric(field: Field) -> fields.Field[Any]:
    number = fields.Integer if field.kind is Kind.INTEGER else fields.Float
    return number(allow_none=True, metadata=about(field.description))


class NodeSchema(AnswerSchema):
    """The current state of a node: its newest snapshot, and whether it still reports."""

    class Meta:
        include: ClassVar = {name: _shown_metric(field) for name, field in METRICS.items()}

    node_id = fields.String()
    state = _state(
        "`offline` after HUB_NODE_OFFLINE_SECONDS without a snapshot while the hub took them; "
        "the next new snapshot brings it back."
    )
    lost_snapshots = fields.Integer(
        metadata=about("How many snapshots its agent had to drop so far, as far as it says.")
    )
    lost_at = instant("When it last said so; the hub's clock.", allow_none=True)
    state_since = instant("When the state last changed, or the node was first seen; hub's clock.")
    age_seconds = fields.Float(metadata=about("Seconds since the last snapshot arrived."))
    first_seen_at = instant("The hub's clock.")
    last_seen_at = instant("Arrival of the last snapshot; the hub's clock.")
    newest_snapshot_at = instant("Time of the newest snapshot; sender's clock.")
    clock_offset_seconds = fields.Float(
        allow_none=True, metadata=about("What the node's timestamps were shifted by, seconds.")
    )


class NodeListSchema(AnswerSchema):
    """A page of nodes, by id."""

    items = fields.List(fields.Nested(NodeSchema))
    next_cursor = next_cursor_field()


class NodeEventSchema(AnswerSchema):
    """A change of a node's state."""

    id = fields.Integer()
    time = instant("The hub's clock.")
    from_state = _state("The state before.")
    to_state = _state("The state after.")
    reason = fields.String(metadata=about("A sentence."))
    evidence = fields.Dict(
        metadata=about(
            "`last_seen`: arrival of the last snapshot before; `silent_seconds`: from then to the "
            "change; `threshold_seconds`: what was allowed, only when going offline."
        )
    )


class NodeEventListSchema(AnswerSchema):
    """A page of a node's events, newest first."""

    items = fields.List(fields.Nested(NodeEventSchema))
    next_cursor = next_cursor_field()


class NodeHistorySchema(AnswerSchema):
    """Metrics of a node over a window, in columns of one length."""

    node_id = fields.String()
    from_ = fields.String(
        data_key="from",
        metadata=about("RFC 3339, UTC. Start of the window, on a whole step.", format="date-time"),
    )
    to = instant("End of the window, exclusive, on a whole step.")
    resolution_seconds = fields.Integer(
        metadata=about("Length of a step, seconds; 0: each snapshot is a point.")
    )
    source = fields.String(
        metadata=about(
            "The source of the answer: snapshots, or their rollups by the minute or hour, with "
            "steps of at least that length.",
            enum=[source.value for source in Source],
        )
    )
    metrics = fields.List(fields.String(), metadata=about("The metrics of `series`, in order."))
    snapshots = fields.Integer(metadata=about("Snapshots in the window."))
    last_point_unfinished = fields.Boolean(
        metadata=about(
            "The node is online and the last point's step is not over at its newest snapshot: "
            "new snapshots may still change that point."
        )
    )
    series = fields.Dict(
        metadata=about(
            "`t`: the start of each step, seconds since 1970-01-01T00:00:00Z; and for each metric "
            "`mean`, `min` and `max`, in the unit of the metric, null where nothing was reported."
        )
    )
