"""`telemetry doctor`: what sending needs, looked at one by one, with what to do about it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from rich.console import Console
from rich.text import Text

from telemetry_client.cli.bar import duration_text
from telemetry_client.client import HealthReport, TelemetryClient
from telemetry_client.errors import QueueError
from telemetry_client.queue import TelemetryQueue
from telemetry_client.results import Accepted, Result, Unreachable
from telemetry_client.settings import Settings, default_spool

# The hub shifts timestamps that are further ahead than this, and says so on the job.
WORST_OFFSET_SECONDS = 300.0
NOTABLE_OFFSET_SECONDS = 5.0
TOKEN_ENDS_SOON = timedelta(days=14)  # as the hub, which says so in its answers from then on
OLD_SECONDS = 3600.0  # a backlog that is older has not been tried for long

Verdict = Literal["ok", "warn", "fail"]
_STYLES = {"ok": "green", "warn": "yellow", "fail": "bold red"}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at; `advice` is what to do about it."""

    verdict: Verdict
    what: str
    detail: str
    advice: str = ""


def examine(url: str | None) -> int:
    """Print every finding; 1 if one is a failure, else 0."""
    console = Console(highlight=False, soft_wrap=True)
    findings = []
    for finding in look(url):
        findings.append(finding)
        verdict = Text(f"{finding.verdict:4}", style=_STYLES[finding.verdict])
        console.print(verdict, Text(f" {finding.what}: {finding.detail}"), sep="")
        if finding.advice:
            console.print(Text(f"      {finding.advice}"))
    return 1 if any(finding.verdict == "fail" for finding in findings) else 0


def look(url: str | None) -> Iterator[Finding]:
    """Every finding, the cause before its consequences."""
    settings = Settings.from_env()
    try:
        client = TelemetryClient(url)
    except ValueError as exc:
        yield Finding("fail", "address", str(exc), "Set SHA_API_URL, such as http://hub:8082.")
    else:
        with client:
            report = client.health()
            yield judge_hub(client.url, report)
            if report.is_reachable:
                yield judge_token(client.check_ingest(), settings.token is not None)
                if settings.token is not None:
                    yield from judge_token_end(client.session())
                yield judge_clock(report.clock_offset_seconds)
    try:
        spool = default_spool()
    except QueueError as exc:
        yield _unusable("spool", exc)
    else:
        yield from look_into("spool", spool)
    if settings.queue.exists():
        yield from look_into("node queue", settings.queue)


def judge_hub(url: str, report: HealthReport) -> Finding:
    if not report.is_reachable:
        return Finding(
            "fail",
            "hub",
            f"{url} cannot be reached ({report.reason}).",
            f"Is the hub running, the tunnel up, SHA_API_URL right? Try: curl {url}/api/v1/health",
        )
    took = "" if report.latency_seconds is None else f" in {report.latency_seconds * 1000:.0f} ms"
    sentence = f"{url} answers{took}: version {report.version}, {report.status}."
    if report.status == "unavailable":
        return Finding("fail", "hub", sentence, "It takes no updates now; its log says why.")
    if report.status != "ok":
        return Finding("warn", "hub", sentence, f"Updates are taken. See {url}/api/v1/health")
    return Finding("ok", "hub", sentence)


def judge_token(result: Result, has_token: bool) -> Finding:
    whose = "TELEMETRY_TOKEN" if has_token else "no TELEMETRY_TOKEN"
    if isinstance(result, Accepted):
        return Finding("ok", "token", f"with {whose} the hub takes updates.")
    status = result.status
    if status in (401, 403):
        detail = f"with {whose} the hub answers {status}: {result.reason}"
        return Finding(
            "fail",
            "token",
            detail,
            "Have one made on the hub's machine with the scope `ingest`, and set TELEMETRY_TOKEN.",
        )
    if isinstance(result, Unreachable):
        return Finding(
            "fail",
            "token",
            f"the hub does not take updates now ({result.reason}).",
            "They are kept and sent later; look at the hub.",
        )
    return Finding("fail", "token", result.reason, "Do hub and client fit together?")


def judge_token_end(said: Mapping[str, Any] | None) -> Iterator[Finding]:
    """How long a token that the hub knows is good, and what for."""
    try:
        ends_at = datetime.fromisoformat((said or {})["expires_at"])
        left = ends_at - datetime.now(UTC)
    except (KeyError, TypeError, ValueError):  # the hub knows none, or asks for none
        return
    assert said is not None
    types = said.get("job_types") or []
    limit = f" of {', '.join(map(str, types))}" if types else ""
    days = f"{left.days} days" if left.days > 0 else "less than a day"
    sentence = (
        f"{said.get('name')}, {said.get('scope')}{limit}: ends in {days}, {ends_at:%Y-%m-%d}."
    )
    if left < TOKEN_ENDS_SOON:
        advice = "Have the next one made on the hub's machine (`token create`), and set it here."
        yield Finding("warn", "token end", sentence, advice)
    else:
        yield Finding("ok", "token end", sentence)


def judge_clock(offset_seconds: float | None) -> Finding:
    if offset_seconds is None:
        return Finding("warn", "clock", "the hub's answer has no date to compare with.")
    ahead = "ahead of" if offset_seconds < 0 else "behind"
    size = abs(offset_seconds)
    sentence = f"{size:.0f} s {ahead} the hub's." if size >= 1 else "as the hub's."
    advice = "Let NTP set this machine's clock: charts show the sender's time."
    if size > WORST_OFFSET_SECONDS:
        return Finding("fail", "clock", sentence, advice)
    if size > NOTABLE_OFFSET_SECONDS:
        return Finding("warn", "clock", sentence, advice)
    return Finding("ok", "clock", sentence)


def look_into(what: str, path: Path) -> Iterator[Finding]:
    """What a queue holds, and what it has given up. Makes none."""
    if not path.exists():
        yield judge_place(what, path)
        return
    try:
        with TelemetryQueue(path) as queue:
            stats = queue.get_stats()
    except QueueError as exc:
        yield _unusable(what, exc)
        return
    yield judge_backlog(what, path, stats)
    yield judge_losses(what, path, stats)


def _unusable(what: str, exc: QueueError) -> Finding:
    return Finding(
        "fail",
        what,
        str(exc),
        "Until it can be used, what cannot be sent is kept in memory and lost with the job.",
    )


def judge_place(what: str, path: Path) -> Finding:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        is_usable = path.parent.is_dir()
    except OSError:
        is_usable = False
    if is_usable:
        return Finding("ok", what, f"{path} is not there yet: nothing had to wait.")
    return Finding(
        "fail",
        what,
        f"{path} cannot be made.",
        "Name a file that this user may write: TELEMETRY_SPOOL.",
    )


def judge_backlog(what: str, path: Path, stats: dict[str, Any]) -> Finding:
    pending, most = stats["pending"], stats["max_size"]
    if not pending:
        return Finding("ok", what, f"{path} is empty.")
    oldest = stats["oldest_age_seconds"] or 0.0
    sentence = f"{path} holds {pending} of at most {most}, the oldest since "
    sentence += f"{duration_text(oldest)}."
    advice = f"telemetry queue drain --path {path}"
    if pending >= 0.9 * most:
        return Finding("fail", what, sentence, f"The next ones push older ones out: {advice}")
    if oldest > OLD_SECONDS:
        return Finding("warn", what, sentence, advice)
    return Finding("ok", what, sentence)


def judge_losses(what: str, path: Path, stats: dict[str, Any]) -> Finding:
    dead = stats["dead"]
    evicted = stats["evicted_by_count"] + stats["evicted_by_age"]
    sentence = f"{dead} dead letters, {evicted} pushed out since it was made."
    if dead:
        advice = f"telemetry queue dead --path {path} says why; `replay` sends them again."
        return Finding("warn", f"{what} losses", sentence, advice)
    return Finding("ok", f"{what} losses", sentence)
