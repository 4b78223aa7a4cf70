"""The statuses of jobs and disks: which there are, and which a sender may report."""

from __future__ import annotations

# As the constraints of `jobs` and `job_disks` have them.
JOB_STATUSES = ("pending", "running", "stalled", "completed", "failed", "cancelled")
DISK_STATUSES = ("pending", "transferring", "completed", "failed", "cancelled")

END_STATUSES = ("completed", "failed", "cancelled")
LIVE_STATUSES = ("running", "stalled")

REPORTED_STATUSES = ("running", *END_STATUSES)
REPORTED_DISK_STATUSES = ("pending", "transferring", "completed", "failed")
