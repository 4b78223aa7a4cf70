"""Pictures of each view of the dashboard, light and dark, into docs/images/: `make screenshots`.

They are of a hub of its own with a month of simulated nights (`app.commands.simulation`) and jobs
that run.
"""

from __future__ import annotations

import random
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import psycopg
from playwright.sync_api import Browser, Page, ViewportSize

from app.clock import isoformat
from app.commands.simulation import (
    NODES,
    PUSH_SECONDS,
    Body,
    Senders,
    SimulatedJob,
    plan_history,
    snapshots,
    updates,
)
from app.config import ROOT
from tools.browser.chromium import open_chromium
from tools.browser.demo import PATIENT, push, push_snapshots
from tools.browser.views import wait_ready
from tools.hub_process import HubProcess

IMAGES = ROOT / "docs" / "images"
SEED = 5
NIGHTS = 26  # older updates would be shifted: they may come four weeks late
MACHINE = "pgprod1"
LARGEST_KIB = 200
SIZE: ViewportSize = {"width": 1280, "height": 800}


def main() -> int:
    IMAGES.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix="hub-screenshots-") as folder,
        HubProcess(Path(folder), **PATIENT) as hub,
        open_chromium() as browser,
    ):
        views = fill(hub, datetime.now(UTC).replace(microsecond=0))
        for theme in ("light", "dark"):
            _take_all(browser, f"http://127.0.0.1:{hub.port}", theme, views)
    return 0


def fill(hub: HubProcess, now: datetime) -> dict[str, tuple[str, int]]:
    """Push it all; the address of each view, and how many charts it draws."""
    nights = list(_nights(now))
    senders = Senders(SEED, now)
    others = [job for job in plan_history(SEED, now) if job.vm_name != MACHINE]
    items = [item for job in [*nights, *others] for item in _updates(job)]
    items += [_item(job, at, body) for at, job, body in senders.past(now)]
    push(hub, _with_a_gap(sorted(items, key=lambda item: str(item["timestamp"])), nights[-1]))
    times = [now - timedelta(minutes=24 * 60 - minute) for minute in range(24 * 60 + 1)]
    # Their busy times, which the simulation gives to all at once, lie apart.
    nodes = [islice(snapshots(node, SEED), 45 * (n + 1), None) for n, node in enumerate(NODES)]
    push_snapshots(
        hub,
        [
            {**next(snapshots_of_node), "timestamp": isoformat(at)}
            for at in times
            for snapshots_of_node in nodes
        ],
    )
    for path, body in senders.tick(datetime.now(UTC)):
        hub.request("POST", f"/api/v1{path}", body)
    quiet = senders.jobs[4].job_id
    with psycopg.connect(hub.owner_dsn(), prepare_threshold=None) as conn:
        for statement in _AS_IT_WOULD_BE:
            conn.execute(statement, {"quiet": quiet})
    shown = nights[-1].job_id
    running = senders.jobs[0].job_id
    return {
        "overview": ("/", 0),
        "machines": ("/machines", 0),
        "machine": (f"/machines/{MACHINE}", 3),
        "job-summary": (f"/jobs/{running}", 0),
        "job-performance": (f"/jobs/{shown}?tab=performance", 2),
        "job-details": (f"/jobs/{shown}?tab=details", 0),
        "compare": (f"/compare/{shown}", 3),
        "nights": ("/nights", 0),
        "nodes": ("/nodes", 0),
        "node": (f"/nodes/{NODES[0]}?range=24h", 6),
    }


def _nights(now: datetime) -> Iterator[SimulatedJob]:
    """The nightly backup of one machine: it grows a little, and now and then one fails."""
    rng = random.Random(SEED)
    tonight = now.replace(hour=1, minute=15, second=0)
    for night in range(NIGHTS, -1, -1):
        started_at = tonight - timedelta(days=night)
        if started_at > now - timedelta(hours=1):
            continue
        size = int((480 + 6 * (NIGHTS - night) + rng.uniform(-25, 25)) * 1024**3)
        yield SimulatedJob(
            "backup",
            MACHINE,
            "repo-main",
            started_at,
            (size // 2, size // 3, size // 6),
            speed_bps=310_000_000,
            fate="failed" if night in (6, 17) else "completed",
            until_percent=58,
            backup_type="incremental",
        )


def _updates(job: SimulatedJob) -> Iterator[Body]:
    for step, body in enumerate(updates(job, SEED)):
        yield _item(job, job.started_at + timedelta(seconds=step * PUSH_SECONDS), body)


def _item(job: SimulatedJob, at: datetime, body: Body) -> Body:
    return {"job_id": job.job_id, "job_type": job.job_type, "timestamp": isoformat(at), **body}


def _with_a_gap(items: list[Body], job: SimulatedJob) -> Iterator[Body]:
    """Three minutes of silence in one job: a network that was away."""
    start = job.started_at + timedelta(minutes=21)
    silence = isoformat(start), isoformat(start + timedelta(minutes=3))
    for item in items:
        if item["job_id"] == job.job_id and silence[0] < str(item["timestamp"]) < silence[1]:
            continue
        yield item


# As if the hub had been there all the time, and had noticed the one that went quiet. Jobs keep the
# time of arrival: charts take what arrived before the last refresh from the rollups.
_AS_IT_WOULD_BE = (
    """UPDATE jobs SET created_at = started_at, last_progress_at = newest_update_at
       WHERE newest_update_at IS NOT NULL""",
    """UPDATE job_events AS event
       SET time = CASE WHEN event.to_status = 'running' THEN job.started_at
                       ELSE coalesce(job.completed_at, event.time) END
       FROM jobs AS job
       WHERE job.job_id = event.job_id AND job.newest_update_at IS NOT NULL""",
    """UPDATE jobs SET status = 'stalled', last_telemetry_at = last_telemetry_at - interval '94 s',
           last_progress_at = last_progress_at - interval '94 s',
           error_message = 'No update for 60 seconds: stalled'
       WHERE job_id = %(quiet)s""",
    "UPDATE nodes SET state_since = now() - interval '11 days 3 hours'",
)


def _take_all(
    browser: Browser, base_url: str, theme: Any, views: dict[str, tuple[str, int]]
) -> None:
    context = browser.new_context(
        base_url=base_url, viewport=SIZE, color_scheme=theme, timezone_id="Europe/Berlin"
    )
    page = context.new_page()
    for name, (address, charts) in views.items():
        page.goto(address)
        wait_ready(page, charts)
        if "?tab=" in address:
            page.locator(".tab-list").evaluate("(tabs) => scrollTo(0, tabs.offsetTop - 24)")
        page.wait_for_timeout(700)  # sparklines, ages
        _take(page, IMAGES / f"{name}-{theme}.png")
    context.close()


def _take(page: Page, path: Path) -> None:
    page.screenshot(path=path, animations="disabled")
    kib = path.stat().st_size // 1024
    print(f"{path.relative_to(ROOT)}  {kib} KiB", flush=True)
    if kib > LARGEST_KIB:
        raise SystemExit(f"{path.name} is larger than {LARGEST_KIB} KiB.")


if __name__ == "__main__":
    sys.exit(main())
