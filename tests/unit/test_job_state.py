"""What the rows of a job and its disks show, given what was named."""

from __future__ import annotations

from app.domain.job_state import DiskState, JobState, disk_columns, job_columns


def percent(percents: list[float]) -> object:
    """The percent of a job whose disks of unknown sizes have these percents."""
    disks = {
        index: DiskState({"progress_percent": value}, {"progress_percent": 1})
        for index, value in enumerate(percents)
    }
    columns = {index: disk_columns(disk, "running") for index, disk in disks.items()}
    return job_columns(JobState("j", "backup", "running", disks=disks), columns)["progress_percent"]


def test_percent_does_not_depend_on_the_order_of_the_disks() -> None:
    """Rows of disks are read in any order."""
    assert percent([0.1, 0.2, 0.3]) == percent([0.3, 0.2, 0.1])
