"""Nodes that are offline, or short of disk space or memory."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from app.domain.attention.items import About, Finding, Severity
from app.domain.attention.words import instant
from app.domain.rules import RuleSet, Subject

DISK_WARNING_PERCENT = 90.0
DISK_CRITICAL_PERCENT = 95.0
MEMORY_PERCENT = 95.0
MEMORY_SECONDS = 600
LOSING_SHOWN = timedelta(days=1)  # after the last loss
HYSTERESIS_PERCENT = 2.0  # an item ends that far below its limit


@dataclass(frozen=True, slots=True)
class NodeNow:
    """A node as it last reported. `least_memory_percent`: of the last MEMORY_SECONDS."""

    node_id: str
    state: str
    state_since: datetime
    last_seen_at: datetime
    disk_percent: float | None
    memory_percent: float | None
    least_memory_percent: float | None


def node_findings(node: NodeNow, rules: RuleSet, open_subjects: Collection[str]) -> list[Finding]:
    """What needs attention about a node; `open_subjects`: of the items that are open."""
    about = About(node_id=node.node_id)
    if node.state == "offline":
        return [_offline(node, about)]
    found = []
    disk = _disk(node, about, rules, open_subjects)
    if disk is not None:
        found.append(disk)
    memory = _memory(node, about, rules, open_subjects)
    if memory is not None:
        found.append(memory)
    return found


@dataclass(frozen=True, slots=True)
class LosingNode:
    """A node whose agent has dropped snapshots: how many so far, and when it last said so."""

    node_id: str
    lost: int
    lost_at: datetime


def losing_finding(node: LosingNode) -> Finding:
    """An agent had to drop snapshots."""
    summary = (
        f"The agent of {node.node_id} has lost {node.lost} snapshots so far (last reported "
        f"{instant(node.lost_at)})."
    )
    evidence = {"lost_snapshots": node.lost, "last_reported_at": node.lost_at}
    subject, about = f"node:{node.node_id}", About(node_id=node.node_id)
    return Finding("losing", "warning", subject, node.lost_at, summary, about, evidence)


def _offline(node: NodeNow, about: About) -> Finding:
    summary = f"The node {node.node_id} has sent nothing since {instant(node.last_seen_at)}."
    evidence = {"last_seen_at": node.last_seen_at}
    subject = f"node:{node.node_id}"
    return Finding("node_offline", "critical", subject, node.last_seen_at, summary, about, evidence)


def _disk(
    node: NodeNow, about: About, rules: RuleSet, open_subjects: Collection[str]
) -> Finding | None:
    used = node.disk_percent
    if used is None:
        return None
    subject = f"node:{node.node_id}:disk"
    warning = _limit(rules, node, "disk_percent_warning", DISK_WARNING_PERCENT)
    critical = _limit(rules, node, "disk_percent_critical", DISK_CRITICAL_PERCENT)
    slack = HYSTERESIS_PERCENT if subject in open_subjects else 0.0
    if used < min(warning, critical) - slack:
        return None
    severity: Severity = "critical" if used >= critical else "warning"
    limit = critical if severity == "critical" else warning
    return _limit_finding(node, about, subject, severity, "disk", limit)


def _memory(
    node: NodeNow, about: About, rules: RuleSet, open_subjects: Collection[str]
) -> Finding | None:
    subject = f"node:{node.node_id}:memory"
    limit = _limit(rules, node, "memory_percent", MEMORY_PERCENT)
    is_open = subject in open_subjects
    used = node.memory_percent if is_open else node.least_memory_percent
    if used is None or used < limit - (HYSTERESIS_PERCENT if is_open else 0.0):
        return None
    return _limit_finding(node, about, subject, "warning", "memory", limit)


def _limit(rules: RuleSet, node: NodeNow, name: str, default: float) -> float:
    applied = rules.setting(name, Subject(node_id=node.node_id))
    return float(applied.value) if applied is not None else default


def _limit_finding(
    node: NodeNow, about: About, subject: str, severity: Severity, what: str, limit: float
) -> Finding:
    used: Any = node.disk_percent if what == "disk" else node.memory_percent
    lasts = f" for {MEMORY_SECONDS // 60} min" if what == "memory" else ""
    summary = f"The {what} of {node.node_id} is at least {limit:.4g} % full{lasts}."
    evidence = {f"{what}_percent": round(used, 1), "limit_percent": limit}
    return Finding("node_limit", severity, subject, node.last_seen_at, summary, about, evidence)
