"""Run `restic backup` and show its progress in the Telemetry Hub, live.

    export RESTIC_REPOSITORY=/srv/restic RESTIC_PASSWORD=…
    python examples/restic_to_hub.py /home
    python examples/restic_to_hub.py --init-temporary /usr/share     # a repository just to try it

One file, standard library only. The hub never delays or fails the backup: updates are pushed from
a thread of their own, the newest wins, and the exit status is restic's. At the end the job's chart
is fetched from the hub and drawn as text.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections import deque
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

MIB = 1024 * 1024
TIMEOUT_SECONDS = 2.0  # of one push; the backup does not wait for it
LAST_PUSH_SECONDS = 10.0  # how long to try to deliver the end, once the backup is over
SPEED_SECONDS = 2.0  # the speed is the mean over the last so many seconds
CHART_COLUMNS, CHART_ROWS = 72, 8

Body = dict[str, Any]


def main() -> int:
    args = parse_arguments()
    job_id = args.job_id or f"backup-{args.vm_name}-{int(time.time())}"
    with tempfile.TemporaryDirectory(prefix="restic-") as folder:
        if args.init_temporary:
            os.environ.update(RESTIC_REPOSITORY=folder, RESTIC_PASSWORD=secrets.token_hex(16))
            subprocess.run(["restic", "init", "--quiet"], check=True)
        status = back_up(args, job_id)
    print_chart(args.url, job_id)
    return status


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="restic backup, with its progress in the hub")
    address = os.environ.get("SHA_API_URL", "http://127.0.0.1:8082")
    parser.add_argument("--url", default=address, help="where the hub is (default: SHA_API_URL)")
    parser.add_argument("--job-id", help="default: backup-<machine>-<epoch>")
    parser.add_argument("--vm-name", default=socket.gethostname(), help="default: this machine")
    parser.add_argument(
        "--init-temporary", action="store_true", help="back up to a repository that is thrown away"
    )
    parser.add_argument("directory", type=Path)
    parser.add_argument("options", nargs="*", help="more options of restic backup, after --")
    return parser.parse_args()


def back_up(args: argparse.Namespace, job_id: str) -> int:
    """Run restic and push what it says; restic's exit status."""
    pusher = Pusher(f"{args.url.rstrip('/')}/api/v1/telemetry/backup/{job_id}")
    pusher.offer(
        {
            "status": "running",
            "current_phase": "scanning",
            "vm_name": args.vm_name,
            "repository_id": os.environ.get("RESTIC_REPOSITORY", "unknown"),
        }
    )
    signal.signal(signal.SIGINT, lambda *_: None)  # Ctrl-C reaches restic too; its end is ours
    reading = Reading()
    environment = {"RESTIC_PROGRESS_FPS": "2", **os.environ}  # two lines a second, not sixty
    command = ["restic", "backup", "--json", *args.options, str(args.directory)]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as restic:
        assert restic.stdout is not None
        for line in restic.stdout:
            if body := reading.take(line):
                pusher.offer(body)
                show(body)
    print()
    pusher.finish(reading.end(restic.returncode))
    return restic.returncode


class Reading:
    """Turns restic's lines into updates; remembers what the last one needs."""

    def __init__(self) -> None:
        self.total_bytes = 0
        self.errors: list[str] = []
        self._is_scanned = False
        self._samples: deque[tuple[float, int]] = deque([(time.monotonic(), 0)])

    def take(self, line: str) -> Body | None:
        """The update that a line of restic gives, if it gives one."""
        try:
            said = json.loads(line)
        except ValueError:
            self.errors.append(line.strip())  # restic's last words before it fails are plain text
            return None
        kind = said.get("message_type")
        if kind == "status":
            return self._status(said)
        if kind == "summary":
            self.total_bytes = said["total_bytes_processed"]
        elif kind == "error":
            self.errors.append(f"{said.get('item', '')}: {said.get('error', {})}")
        return None

    def _status(self, said: Body) -> Body:
        done, total = said.get("bytes_done", 0), said.get("total_bytes", 0)
        self.total_bytes = max(self.total_bytes, total)
        # restic counts the files while it already reads them, and knows its ETA once it has.
        self._is_scanned |= "seconds_remaining" in said or said.get("percent_done") == 1
        body: Body = {
            "status": "running",
            "current_phase": "scanning" if not done else "transferring",
            "bytes_transferred": done,
            "total_bytes": total,
            "transfer_speed_bps": self._speed(done),
        }
        if self._is_scanned:
            body["progress_percent"] = round(100 * min(said.get("percent_done", 0), 1), 2)
            body["eta_seconds"] = said.get("seconds_remaining", 0)
            if done >= total:
                body["current_phase"] = "finalizing"
        return body

    def _speed(self, done: int) -> int:
        """Bytes per second over the last SPEED_SECONDS."""
        now = time.monotonic()
        self._samples.append((now, done))
        while len(self._samples) > 2 and now - self._samples[1][0] > SPEED_SECONDS:
            self._samples.popleft()
        began, done_then = self._samples[0]
        return int(max(0, done - done_then) / max(now - began, 0.001))

    def end(self, exit_status: int) -> Body:
        """The last update. restic's status 3 is a snapshot that lacks some unreadable files."""
        body: Body = {"current_phase": "finalizing", "status": "completed", "eta_seconds": 0}
        if exit_status not in (0, 3):
            body["status"] = "cancelled" if exit_status in (130, -signal.SIGINT) else "failed"
        elif self.total_bytes:
            body["bytes_transferred"] = body["total_bytes"] = self.total_bytes
        if exit_status:
            detail = "; ".join(self.errors[-3:])[:1000]
            body["error"] = f"restic exited with {exit_status}: {detail}"
        return body


class Pusher(threading.Thread):
    """Pushes the newest update offered; an older one that has not left yet is dropped."""

    def __init__(self, url: str) -> None:
        super().__init__(daemon=True)
        self._url = url
        self._changed = threading.Condition()
        self._waiting: Body | None = None
        self.start()

    def offer(self, body: Body) -> None:
        """Hand in an update. Returns at once."""
        stamped = {**body, "timestamp": datetime.now(UTC).isoformat()}
        with self._changed:
            # What only an earlier one says (the first names the machine) must not get lost.
            self._waiting = {**(self._waiting or {}), **stamped}
            self._changed.notify()

    def finish(self, body: Body) -> None:
        """Hand in the last update and give it LAST_PUSH_SECONDS to arrive."""
        self.offer(body)
        self.join(LAST_PUSH_SECONDS)

    def run(self) -> None:
        trouble: str | None = None
        body: Body = {"status": "running"}
        while body["status"] == "running" or trouble:
            with self._changed:
                while self._waiting is None:
                    self._changed.wait()
                body, self._waiting = self._waiting, None
            problem = post(self._url, body)
            if problem and problem != trouble:
                print(f"\nnot in the hub: {problem}", file=sys.stderr)
            trouble = problem
            if problem:
                with self._changed:  # for the next try, unless a newer one has come by now
                    self._waiting = {**body, **(self._waiting or {})}
                time.sleep(1)


def post(url: str, body: Body) -> str | None:
    """Push one update; why it did not arrive, or None."""
    request = urllib.request.Request(
        url, json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS):
            return None
    except urllib.error.HTTPError as exc:
        return f"{exc.code} {exc.read()[:300]!r}"
    except OSError as exc:
        return str(exc)


def show(body: Body) -> None:
    speed, done = body["transfer_speed_bps"] / MIB, body["bytes_transferred"] / MIB
    percent = body.get("progress_percent", 0)
    line = f"{percent:5.1f} %  {done:9.0f} MiB  {speed:6.0f} MiB/s  {body['current_phase']}"
    print(f"\r{line:<60}", end="", flush=True)


def print_chart(url: str, job_id: str) -> None:
    """Fetch the job's chart from the hub and draw its speed over time."""
    address = f"{url.rstrip('/')}/api/v1/telemetry/history/{job_id}?points={CHART_COLUMNS}"
    try:
        with urllib.request.urlopen(address, timeout=10) as answer:
            history = json.load(answer)
    except OSError as exc:
        print(f"no chart: {exc}", file=sys.stderr)
        return
    print(f"\nGET {address}")
    print("\n".join(draw(history)))


def draw(history: Body) -> list[str]:
    """The chart as lines: bars of mean speed in MiB/s over seconds, and the percent done."""
    points = [point for point in history["chart_data"] if point["s"] is not None]
    top = max((point["s"] for point in points), default=0) or 1
    lines = [f"{history['job_id']}: {history['status']} after {history['duration_seconds']:.0f} s"]
    if not points:
        return [*lines, "no speeds were reported"]
    for row in range(CHART_ROWS, 0, -1):
        label = f"{top * row / CHART_ROWS / MIB:5.0f}" if row % 2 == 0 else " " * 5
        lines.append(f"{label} ┤{''.join(bar(p['s'] / top, row) for p in points)}")
    lines.append(f"MiB/s └{'─' * len(points)}")
    lines.append(f"       {marks(points, 't', ' s')}")
    lines.append(f"       {marks(points, 'p', ' %')}")
    peak, mean = (history[name] or 0 for name in ("peak_speed_bps", "avg_speed_bps"))
    lines.append(
        f"peak {peak / MIB:.0f} MiB/s, mean {mean / MIB:.0f} MiB/s, "
        f"{history['snapshots']} updates, {history['resolution_seconds']} s a bar"
    )
    return lines


def bar(share: float, row: int) -> str:
    """One character of a bar: `share` of the height, seen in `row` (1 is the lowest)."""
    eighths = round(share * CHART_ROWS * 8) - (row - 1) * 8
    return " ▁▂▃▄▅▆▇█"[min(max(eighths, 0), 8)]


def marks(points: list[Body], key: str, unit: str) -> str:
    """Values under the bars, one every 12."""
    cells = ["" if point[key] is None else f"{point[key]:.0f}{unit}" for point in points[::12]]
    return "".join(cell.ljust(12) for cell in cells)


if __name__ == "__main__":
    sys.exit(main())
