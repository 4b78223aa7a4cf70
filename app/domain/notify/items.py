"""An item of attention as routes and messages see it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from app.domain.rules import Subject
from app.domain.runs import split_key


@dataclass(frozen=True, slots=True)
class Item:
    """A row of `attention`. `job_id`: the key of a run; `until` is None while it is open."""

    id: int
    kind: str
    severity: str
    rank: int  # of the severity, 1: the worst
    subject: str
    since: datetime
    noticed_at: datetime
    summary: str
    advice: str
    until: datetime | None = None
    job_id: str | None = None
    node_id: str | None = None
    vm_name: str | None = None
    job_type: str | None = None
    repository_id: str | None = None
    evidence: dict[str, Any] = field(default_factory=dict)
    is_acknowledged: bool = False

    @property
    def key(self) -> tuple[str, str]:
        """What identifies the condition, before and after it was over for a moment."""
        return self.kind, self.subject

    @property
    def machine(self) -> str | None:
        """The machine or the node that it is about."""
        return self.vm_name or self.node_id

    @property
    def rule_subject(self) -> Subject:
        """What rules and maintenance windows are looked up for."""
        job_id = None if self.job_id is None else split_key(self.job_id)[0]
        return Subject(
            job_type=self.job_type, vm_name=self.vm_name, job_id=job_id, node_id=self.node_id
        )
