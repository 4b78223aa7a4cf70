"""The statuses of jobs and disks, and those that a sender may report."""

from __future__ import annotations

# As in the constraints of `jobs` and `job_disks`.
JOB_STATUSES = ("pending", "running", "stalled", "completed", "failed", "cancelled")
DISK_STATUSES = ("pending", "transferring", "completed", "failed", "cancelled")

END_STATUSES = ("completed", "failed", "cancelled")
LIVE_STATUSES = ("running", "stalled")

REPORTED_STATUSES = ("running", *END_STATUSES)
REPORTED_DISK_STATUSES = ("pending", "transferring", "completed", "failed")
