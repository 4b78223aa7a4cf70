"""What is transferred, and in which order.

Every table of the schema is in one of these lists; a test compares them with the database.
"""

from __future__ import annotations

# Whole, each after those that its foreign keys name.
TABLES = (
    "tokens",
    "rules",
    "maintenance",
    "hub_absences",
    "nodes",
    "node_events",
    "jobs",
    "job_runs",
    "job_disks",
    "job_events",
    "sender_losses",
    "series",
    "series_runs",
    "attention",
    "destinations",
    "destination_addresses",
    "notification_routes",
)

# Not for analysts and archives: a part of an export leaves them out.
PRIVATE = ("tokens", "destinations", "destination_addresses", "notification_routes")

# Rows that triggers and tasks make from the others, or that are about the hub that runs.
LEFT_OUT = (
    "schema_migrations",
    "tasks",
    "ingest_beats",
    "ingest_presence",
    "job_counts",
    "job_count_changes",
    "job_ends",
    "machine_job_counts",
    "changed_runs",
    "attention_changes",
    "episodes",
    "notifications",
    "rollup_refreshes",
    "wide_writes",
    "stale_hours",
    "retention_clock",
    "series_edges",  # a part of the manifest
)
