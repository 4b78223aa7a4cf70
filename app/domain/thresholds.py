"""Which rules apply to one job, as its answer shows them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from app.domain.rules import JOB_SETTINGS, Applied, RuleSet, Subject
from app.domain.staleness import SilenceRules, Threshold

Shown = dict[str, Any]
_RHYTHMS = ("overdue_after_seconds", "schedule")


def applied_thresholds(
    rules: RuleSet,
    silence: SilenceRules,
    subject: Subject,
    interval: int | None,
    pause: int | None,
    now: datetime,
) -> dict[str, Shown]:
    """Each of JOB_SETTINGS: its value, the rule that sets it, and what raised it.

    Of a schedule and a distance only the more specific applies; of mutes only one that has not
    expired.
    """
    found = {name: _shown(rules.setting(name, subject)) for name in JOB_SETTINGS}
    judged = silence.of(subject, interval, pause)
    found["stall_after_seconds"] = _shown(judged.stall)
    found["fail_after_seconds"] = _shown(judged.fail)
    rhythm = rules.rhythm(subject)
    for name in _RHYTHMS:
        if rhythm != rules.setting(name, subject):
            found[name] = _shown(None)
    found["mute_until"] = _shown(rules.mute(subject, now))
    return found


def _shown(applied: Applied | Threshold | None) -> Shown:
    if isinstance(applied, Threshold):
        value, raised_by = applied.seconds, applied.raised_by
        return {"value": value, "rule_id": applied.rule_id, "raised_by": raised_by}
    if applied is None:
        return {"value": None, "rule_id": None, "raised_by": None}
    return {"value": applied.value, "rule_id": applied.rule_id, "raised_by": None}
