"""`telemetry doctor`: checks what sending needs, and says what to do about each problem."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, Literal

from rich.console import Console
from rich.text import Text

from telemetry_client.cli.bar import duration_text
from telemetry_client.errors import QueueError
from telemetry_client.queue import TelemetryQueue
from telemetry_client.settings import Settings, default_spool
from telemetry_client.wire.client import HealthReport, TelemetryClient
from telemetry_client.wire.results import Accepted, Result, Unreachable

# The hub moves timestamps that are further ahead than this, and adds a warning to the job.
WORST_OFFSET_SECONDS = 300.0
NOTABLE_OFFSET_SECONDS = 5.0
TOKEN_ENDS_SOON = timedelta(days=14)  # the hub warns in its responses from then on, too
OLD_SECONDS = 3600.0  # an older backlog has not been sent for some time

Outcome = Literal["ok", "warn", "fail"]
_STYLES = {"ok": "green", "warn": "yellow", "fail": "bold red"}


@dataclass(frozen=True)
class Finding:
    """The outcome of one check; `advice` says what to do."""

    outcome: Outcome
    what: str
    detail: str
    advice: str = ""


def examine(url: str | None) -> int:
    """Print every finding; returns 1 if a check failed, else 0."""
    console = Console(highlight=False, soft_wrap=True)
    findings = []
    for finding in look(url):
        findings.append(finding)
        outcome = Text(f"{finding.outcome:4}", style=_STYLES[finding.outcome])
        console.print(outcome, Text(f" {finding.what}: {finding.detail}"), sep="")
        if finding.advice:
            console.print(Text(f"      {finding.advice}"))
    return 1 if any(finding.outcome == "fail" for finding in findings) else 0


def look(url: str | None) -> Iterator[Finding]:
    """All findings, causes before their consequences."""
    settings = Settings.from_env()
    try:
        client = TelemetryClient(url)
    except ValueError as exc:
        yield Finding(
            "fail", "address", str(exc), "Set SHA_API_URL, for example to http://hub:8082."
        )
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
    if report.answered_by is not None:
        return Finding(
            "fail",
            "hub",
            f"{url} does not answer as a hub: {report.answered_by}.",
            "A proxy, a sign-in page or another program answers in its place. Check SHA_API_URL,"
            " and whether the proxy passes /api/v1/ on to the hub.",
        )
    if not report.is_reachable:
        return Finding(
            "fail",
            "hub",
            f"{url} cannot be reached ({report.reason}).",
            f"Check the hub, the tunnel and SHA_API_URL. Try: curl {url}/api/v1/health",
        )
    took = "" if report.latency_seconds is None else f" in {report.latency_seconds * 1000:.0f} ms"
    sentence = f"{url} answers{took}: version {report.version}, {report.status}."
    if report.status == "unavailable":
        return Finding("fail", "hub", sentence, "It does not accept updates now; see its log.")
    if report.status != "ok":
        return Finding("warn", "hub", sentence, f"Updates are accepted. See {url}/api/v1/health")
    return Finding("ok", "hub", sentence)


def judge_token(result: Result, has_token: bool) -> Finding:
    prefix = f"with{'' if has_token else 'out'} TELEMETRY_TOKEN"
    if isinstance(result, Accepted):
        return Finding("ok", "token", f"{prefix} the hub accepts updates.")
    if isinstance(result, Unreachable) and result.is_from_hub and result.status in (401, 403):
        detail = f"{prefix} the hub answers {result.status}: {result.reason}"
        return Finding(
            "fail",
            "token",
            detail,
            "Create a token with the scope `ingest` on the hub's machine, and set TELEMETRY_TOKEN.",
        )
    if isinstance(result, Unreachable) and result.status is not None and not result.is_from_hub:
        return Finding(
            "fail",
            "token",
            f"an update does not get to the hub: {result.reason}.",
            "A proxy or a sign-in page answers in its place. Until it passes POST requests on,"
            " updates are kept.",
        )
    if isinstance(result, Unreachable):
        return Finding(
            "fail",
            "token",
            f"the hub does not accept updates now ({result.reason}).",
            "They are kept and sent later. Check the hub.",
        )
    return Finding(
        "fail", "token", result.reason, "Check that the versions of hub and client fit together."
    )


def judge_token_end(session: Mapping[str, Any] | None) -> Iterator[Finding]:
    """How long a token that the hub knows is valid, and for what."""
    try:
        # Python reads the Z itself since 3.11.
        ends_at = datetime.fromisoformat((session or {})["expires_at"].replace("Z", "+00:00"))
        left = ends_at - datetime.now(timezone.utc)
    except (AttributeError, KeyError, TypeError, ValueError):  # the hub needs or knows no token
        return
    assert session is not None
    types = session.get("job_types") or []
    limit = f" of {', '.join(map(str, types))}" if types else ""
    days = f"{left.days} days" if left.days > 0 else "less than a day"
    rights = f"{session.get('name')}, {session.get('scope')}{limit}"
    sentence = f"{rights}: expires in {days}, {ends_at:%Y-%m-%d}."
    if left < TOKEN_ENDS_SOON:
        advice = "Create the next one on the hub's machine (`token create`), and set it here."
        yield Finding("warn", "token expiry", sentence, advice)
    else:
        yield Finding("ok", "token expiry", sentence)


def judge_clock(offset_seconds: float | None) -> Finding:
    if offset_seconds is None:
        return Finding("warn", "clock", "the hub's response has no date to compare with.")
    ahead = "ahead of" if offset_seconds < 0 else "behind"
    size = abs(offset_seconds)
    sentence = f"{size:.0f} s {ahead} the hub's." if size >= 1 else "the same as the hub's."
    advice = "Set this machine's clock by NTP: charts show the sender's time."
    if size > WORST_OFFSET_SECONDS:
        return Finding("fail", "clock", sentence, advice)
    if size > NOTABLE_OFFSET_SECONDS:
        return Finding("warn", "clock", sentence, advice)
    return Finding("ok", "clock", sentence)


def look_into(what: str, path: Path) -> Iterator[Finding]:
    """What a queue holds, and what it has given up. Changes nothing."""
    if not path.exists():
        yield judge_place(what, path)
        return
    try:
        with TelemetryQueue(path, read_only=True) as queue:
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
        "Until this is solved, what cannot be sent is kept in memory and lost when the job ends.",
    )


def judge_place(what: str, path: Path) -> Finding:
    folder = path.absolute().parent
    nearest = next(each for each in (folder, *folder.parents) if os.path.lexists(each))
    try:
        with TemporaryFile(dir=nearest):  # has no name, so nothing is left of it
            is_usable = True
    except OSError:
        is_usable = False
    if is_usable:
        return Finding("ok", what, f"{path} does not exist yet: nothing had to wait.")
    return Finding(
        "fail",
        what,
        f"{path} cannot be created.",
        "Set TELEMETRY_SPOOL to a file that this user may write.",
    )


def judge_backlog(what: str, path: Path, stats: dict[str, Any]) -> Finding:
    pending, most = stats["pending"], stats["max_size"]
    if not pending:
        return Finding("ok", what, f"{path} is empty.")
    oldest = stats["oldest_age_seconds"] or 0.0
    sentence = f"{path} holds {pending} of at most {most}, the oldest for {duration_text(oldest)}."
    advice = f"telemetry queue drain --path {path}"
    if pending >= 0.9 * most:
        return Finding("fail", what, sentence, f"When full it drops its oldest entries: {advice}")
    if oldest > OLD_SECONDS:
        return Finding("warn", what, sentence, advice)
    return Finding("ok", what, sentence)


def judge_losses(what: str, path: Path, stats: dict[str, Any]) -> Finding:
    dead = stats["dead"]
    evicted = stats["evicted_by_count"] + stats["evicted_by_age"]
    sentence = f"{dead} dead letters, {evicted} dropped since it was created."
    if dead:
        advice = f"telemetry queue dead --path {path} shows why; `replay` sends them again."
        return Finding("warn", f"{what} losses", sentence, advice)
    return Finding("ok", f"{what} losses", sentence)
