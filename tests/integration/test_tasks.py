"""The scheduled tasks: leases, records of runs, the web processes' beats, health, `python -m jobs`.

The clock of leases is a parameter. What waits here waits for another process or thread.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from flask.testing import FlaskClient

from app.api.service import check_tasks
from app.checks.doctor import run_checks
from app.checks.probe import Look
from app.config import PARENT_VARIABLE, ROOT, Config
from app.database.addresses import owner_dsn
from app.database.pool import Connection, Database
from app.errors import ConfigError
from app.ingest.heartbeat import Heartbeat
from app.store import tasks as store
from app.store.tasks import TaskRun
from jobs.runner import LEASE_SECONDS, Runner
from jobs.schedule import Task, first_delays, tasks
from tests.factories import NOW
from tools.hub_process import DATABASE, database_settings

pytestmark = pytest.mark.owner

PATIENCE_SECONDS = 60.0


def later(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def make_task(run: Callable[[], object] = dict, task_id: str = "t", interval: int = 30) -> Task:
    return Task(task_id, lambda database, config, now: run(), interval)


def row_of(conn: Connection, task_id: str = "t") -> TaskRun:
    return next(run for run in store.read_tasks(conn) if run.task_id == task_id)


def wait_for(condition: Callable[[], Any], seconds: float = PATIENCE_SECONDS) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)
    return found


# Leases.


def claim(conn: Connection, holder: str, seconds: float, interval: int = 30) -> bool:
    return store.claim_task(
        conn, "t", holder, interval_seconds=interval, lease_seconds=20, now=later(seconds)
    )


def test_one_of_two_processes_gets_the_lease(conn: Connection) -> None:
    assert [claim(conn, holder, 0) for holder in ("a", "b")] == [True, False]


def test_many_processes_at_once_get_one_lease(database: Database) -> None:
    claimed: list[bool] = []

    def try_it(n: int) -> None:
        with database.transaction() as conn:
            claimed.append(claim(conn, f"process-{n}", 0))

    threads = [threading.Thread(target=try_it, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(claimed) == [False] * 7 + [True]


def test_a_finished_task_is_due_again_after_its_interval_only(conn: Connection) -> None:
    claim(conn, "a", 0)
    assert store.finish_task(conn, "t", "a", duration_seconds=1, result="{}", error=None)
    assert not claim(conn, "b", 15)
    assert claim(conn, "b", 29.9)  # a tick a moment early does not wait for the next


def test_the_lease_of_a_dead_process_expires(conn: Connection) -> None:
    claim(conn, "dead", 0, interval=5)
    assert not claim(conn, "b", 19, interval=5)
    assert claim(conn, "b", 20, interval=5)


def test_a_renewed_lease_does_not_expire(conn: Connection) -> None:
    claim(conn, "a", 0, interval=5)
    assert store.renew_lease(conn, "t", "a", 20, now=later(15))
    assert not claim(conn, "b", 34, interval=5)
    assert claim(conn, "b", 35, interval=5)


def test_who_lost_the_lease_neither_renews_nor_records(conn: Connection) -> None:
    claim(conn, "paused", 0, interval=5)
    claim(conn, "b", 20, interval=5)
    assert not store.renew_lease(conn, "t", "paused", 20, now=later(21))
    assert not store.finish_task(conn, "t", "paused", duration_seconds=1, result="{}", error="x")
    assert row_of(conn).last_error is None


def test_a_clock_that_was_set_back_holds_up_no_task(conn: Connection) -> None:
    claim(conn, "dead", 3600)  # an hour ahead
    assert not claim(conn, "b", 3590)
    assert claim(conn, "b", 0)
    assert not claim(conn, "c", 19)
    store.finish_task(conn, "t", "b", duration_seconds=1, result="{}", error=None)
    assert claim(conn, "c", 30)


# Runs.


def test_a_run_is_recorded(conn: Connection, database: Database, config: Config) -> None:
    runner = Runner(database, config)
    assert runner.run(make_task(lambda: {"found": 3}), now=NOW)
    run = row_of(conn)
    assert (run.last_started_at, run.last_finished_at) == (NOW, NOW)
    assert (run.last_result, run.last_error, run.interval_seconds) == ({"found": 3}, None, 30)
    assert run.last_duration_seconds is not None
    assert 0 <= run.last_duration_seconds < 60
    assert conn.execute("SELECT lease_holder FROM tasks").fetchone() == (None,)


def test_two_processes_do_the_work_once(database: Database, config: Config) -> None:
    ran: list[int] = []
    runners = [Runner(database, config) for _ in range(2)]
    task = make_task(lambda: ran.append(1))
    for seconds in range(0, 120, 15):  # each ticks every 30 s, half an interval apart
        runners[seconds // 15 % 2].run(task, now=later(seconds))
    assert len(ran) == 4


def test_a_failing_task_records_its_error_and_others_run(
    conn: Connection, database: Database, config: Config, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise ZeroDivisionError("secret detail")

    runner = Runner(database, config)
    assert runner.run(make_task(fail, "bad"), now=NOW)
    assert runner.run(make_task(dict, "good"), now=NOW)
    assert (
        row_of(conn, "bad").last_error
        == "It failed with ZeroDivisionError; the reason is in the hub's log."
    )
    assert row_of(conn, "bad").last_result is None
    assert row_of(conn, "good").last_error is None
    assert any("secret detail" in str(record.exc_info) for record in caplog.records)


def test_a_failed_task_is_run_again_and_its_error_goes(
    conn: Connection, database: Database, config: Config
) -> None:
    def fail() -> None:
        raise ConfigError("A sentence.")

    runner = Runner(database, config)
    runner.run(make_task(fail), now=NOW)
    assert row_of(conn).last_error == "A sentence."
    assert runner.run(make_task(), now=later(30))
    assert row_of(conn).last_error is None


def test_a_long_run_keeps_its_lease(
    conn: Connection, database: Database, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.runner.LEASE_SECONDS", 0.3)

    def expiry() -> datetime:
        row = conn.execute("SELECT lease_expires_at FROM tasks").fetchone()
        assert row is not None
        expires_at: datetime = row[0]
        return expires_at

    def work() -> None:
        first = expiry()
        wait_for(lambda: expiry() > first)

    assert Runner(database, config).run(make_task(work))
    assert row_of(conn).last_error is None


def test_a_run_that_keeps_the_embedded_engine_busy_is_recorded(
    conn: Connection, database: Database, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lease is not renewed and expires, but no other process takes the run."""
    monkeypatch.setattr("jobs.runner.LEASE_SECONDS", 0.1)

    def work() -> str:
        with database.connect(autocommit=True) as own:
            own.execute("SELECT pg_sleep(0.5)")
        return "done"

    assert Runner(database, config).run(make_task(work))
    run = row_of(conn)
    assert (run.last_result, run.last_error) == ("done", None)


def test_a_runner_that_is_stopping_begins_nothing(
    conn: Connection, database: Database, config: Config
) -> None:
    """A tick that comes with the signal would keep the process up for as long as it takes."""
    runner = Runner(database, config)
    assert runner.stop(0)
    assert not runner.run(make_task())
    assert store.read_tasks(conn) == []


def test_a_database_that_is_away_is_logged_once(
    database: Database, config: Config, caplog: pytest.LogCaptureFixture
) -> None:
    away = Database(f"postgresql://x@127.0.0.1:{free_port()}/x", is_embedded=False)
    runner = Runner(away, config)  # its pool is closed, which is as far away as it gets
    with caplog.at_level(logging.INFO, logger="hub.tasks"):
        assert [runner.run(make_task(), now=NOW) for _ in range(3)] == [False] * 3
        runner._database = database
        assert runner.run(make_task(), now=NOW)
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == 2
    assert messages[0].startswith("the tasks wait for the database: ")
    assert messages[1] == "the tasks continue"


def test_a_schema_that_is_not_there_yet_is_waited_for(
    database: Database, config: Config, caplog: pytest.LogCaptureFixture
) -> None:
    with database.transaction() as conn:
        conn.execute("ALTER TABLE tasks RENAME TO tasks_elsewhere")
    try:
        assert not Runner(database, config).run(make_task(), now=NOW)
        with database.reading() as reading:
            assert store.read_tasks(reading) == []
    finally:
        with database.transaction() as conn:
            conn.execute("ALTER TABLE tasks_elsewhere RENAME TO tasks")
    assert (
        "the tasks wait for the database: The database's schema does not exist yet."
        in caplog.messages
    )


def test_the_schedule_has_the_detector_at_its_interval() -> None:
    detector = tasks(Config())[0]
    assert (detector.id, detector.interval_seconds) == ("detect_stale_jobs", 30)
    assert tasks(Config(sweep_seconds=7))[0].interval_seconds == 7
    assert LEASE_SECONDS > 0


def test_the_schedule_has_the_work_on_chunks() -> None:
    intervals = {task.id: task.interval_seconds for task in tasks(Config(rollup_seconds=20))}
    assert intervals["refresh_rollups"] == 20
    assert intervals["compress_chunks"] == intervals["drop_expired_chunks"] == 3_600


def test_a_speedup_makes_every_task_due_more_often() -> None:
    usual = {task.id: task.interval_seconds for task in tasks(Config())}
    often = {task.id: task.interval_seconds for task in tasks(Config(task_speedup=10))}
    assert often == {task_id: max(seconds // 10, 1) for task_id, seconds in usual.items()}
    most = {task.interval_seconds for task in tasks(Config(sweep_seconds=7, task_speedup=100))}
    assert min(most) == 1


def test_a_task_of_a_hastened_hub_is_late_by_its_own_interval(
    database: Database, conn: Connection
) -> None:
    hastened = Config(task_speedup=10)
    detector = tasks(hastened)[0]
    Runner(database, hastened).run(detector, now=later(0))
    (run,) = store.read_tasks(conn, now=later(store.LATE_AFTER_SECONDS - 1))
    assert (run.interval_seconds, run.is_late) == (3, False)
    (run,) = store.read_tasks(conn, now=later(store.LATE_AFTER_SECONDS + 1))
    assert run.is_late


# Beats of web processes.


def beats(conn: Connection, heartbeat: Heartbeat) -> int:
    sql = "SELECT count(*) FROM ingest_beats WHERE process_id = %s"
    row = conn.execute(sql, [heartbeat.process_id]).fetchone()
    assert row is not None
    return int(row[0])


def test_a_web_process_beats_until_it_stops(conn: Connection, database: Database) -> None:
    heartbeat = Heartbeat(database, lambda: True)
    heartbeat.start()
    wait_for(lambda: beats(conn, heartbeat))
    heartbeat.stop()
    assert beats(conn, heartbeat) == 0
    heartbeat.stop()


def test_who_takes_no_updates_does_not_beat(
    conn: Connection, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.ingest.heartbeat.BEAT_SECONDS", 0.01)
    calls = threading.Semaphore(0)

    def takes_updates() -> bool:
        calls.release()
        return False

    heartbeat = Heartbeat(database, takes_updates)
    heartbeat.start()
    for _ in range(3):
        assert calls.acquire(timeout=60)
    assert beats(conn, heartbeat) == 0
    heartbeat.stop()


def test_a_beat_survives_a_database_that_is_away(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("app.ingest.heartbeat.BEAT_SECONDS", 0.01)
    away = Database(f"postgresql://x@127.0.0.1:{free_port()}/x", is_embedded=False)
    calls = threading.Semaphore(0)

    def takes_updates() -> bool:
        calls.release()
        return True

    heartbeat = Heartbeat(away, takes_updates)
    heartbeat.start()
    for _ in range(3):
        assert calls.acquire(timeout=60)
    heartbeat.stop()
    assert len([m for m in caplog.messages if m.startswith("the heartbeat cannot be")]) == 1


def test_a_beat_survives_a_cut_connection(
    conn: Connection, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.ingest.heartbeat.BEAT_SECONDS", 0.01)
    heartbeat = Heartbeat(database, lambda: True)
    heartbeat.start()
    wait_for(lambda: beats(conn, heartbeat))
    assert heartbeat._conn is not None
    with socket.socket(fileno=os.dup(heartbeat._conn.fileno())) as duplicate:
        duplicate.shutdown(socket.SHUT_RDWR)
    conn.execute("DELETE FROM ingest_beats WHERE process_id = %s", [heartbeat.process_id])
    wait_for(lambda: beats(conn, heartbeat))
    heartbeat.stop()


def test_the_application_beats(client: FlaskClient, conn: Connection) -> None:
    wait_for(lambda: store.waited_for_tasks_seconds(conn) > 0)


# Health and doctor.


def make_run(**changes: Any) -> TaskRun:
    values: dict[str, Any] = {
        "task_id": "t",
        "interval_seconds": 30,
        "last_started_at": NOW,
        "last_finished_at": NOW,
        "last_duration_seconds": 0.5,
        "last_result": {},
        "last_error": None,
        "age_seconds": 10.0,
        **changes,
    }
    return TaskRun(**values)


@pytest.mark.parametrize(
    ("look", "status"),
    [
        (Look(tasks=(make_run(),)), "ok"),
        (Look(tasks=(make_run(age_seconds=90.0),)), "ok"),
        (Look(tasks=(make_run(), make_run(age_seconds=91.0))), "late"),
        (Look(tasks=(make_run(last_error="It failed."),)), "failing"),
        (Look(tasks=(make_run(last_error="x"), make_run(age_seconds=91.0))), "late"),
        (Look(waited_for_tasks_seconds=90.0), "ok"),
        (Look(waited_for_tasks_seconds=91.0), "late"),
        (Look(error="away"), "unknown"),
        (None, "unknown"),
    ],
)
def test_health_of_the_tasks(look: Look | None, status: str) -> None:
    assert check_tasks(look, sweep_seconds=30)["status"] == status


def test_a_late_task_degrades_the_hub_and_no_more(
    client: FlaskClient, database: Database, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.checks.probe.FRESH_SECONDS", 0.0)
    monkeypatch.setattr("app.checks.probe.DatabaseProbe._is_fresh", _has_new_look())
    Runner(database, config).run(make_task(), now=later(-100_000))
    answer = client.get("/api/v1/health")
    body = answer.get_json()
    assert (answer.status_code, body["status"]) == (200, "degraded")
    assert body["checks"]["tasks"]["status"] == "late"
    (task,) = body["checks"]["tasks"]["tasks"]
    assert task["task_id"] == "t"
    assert task["age_seconds"] > 90
    assert task["last_finished_at"].endswith("Z")
    assert task["last_duration_seconds"] >= 0
    assert task["error"] is None


def _has_new_look() -> Callable[[Any], bool]:
    """In place of DatabaseProbe._is_fresh: true for a look newer than this moment."""
    since = time.monotonic()
    return lambda probe: probe._latest is not None and probe._latest.at > since


def doctor(conn: Connection, config: Config) -> tuple[bool, str]:
    check = next(check for check in run_checks(conn, config) if check.name == "tasks")
    return check.ok, check.detail


def test_the_doctor_tells_of_the_last_runs(
    conn: Connection, database: Database, config: Config
) -> None:
    assert doctor(conn, config) == (True, "No scheduled task has run yet.")
    Runner(database, config).run(make_task())
    ok, detail = doctor(conn, config)
    assert ok
    assert re.match(r"t ran \d+ s ago and took \d+\.", detail)


def test_the_doctor_finds_a_failing_task(
    conn: Connection, database: Database, config: Config
) -> None:
    def fail() -> None:
        raise ConfigError("A sentence.")

    Runner(database, config).run(make_task(fail))
    ok, detail = doctor(conn, config)
    assert not ok
    assert re.fullmatch(r"t ran \d+ s ago and failed: A sentence\.", detail)


def test_late_is_a_fault_only_while_the_hub_is_up(
    conn: Connection, database: Database, config: Config
) -> None:
    Runner(database, config).run(make_task(), now=later(-100_000))
    conn.execute("DELETE FROM ingest_beats")
    conn.execute("INSERT INTO ingest_beats VALUES ('web', now() - interval '1 hour', now())")
    ok, detail = doctor(conn, config)
    assert not ok
    assert "late for one due every 30 s" in detail


# The process.


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Process:
    """`python -m jobs` and the lines it has logged."""

    def __init__(self, *command: str, **env: str) -> None:
        ours = {k: v for k, v in os.environ.items() if k not in (PARENT_VARIABLE, *DATABASE)}
        self.popen = subprocess.Popen(
            command or (sys.executable, "-m", "jobs"),
            cwd=ROOT,
            env={**ours, **env},
            stderr=subprocess.PIPE,
            text=True,
        )
        self.lines: list[str] = []
        self.reader = threading.Thread(target=self._read)
        self.reader.start()

    def _read(self) -> None:
        assert self.popen.stderr is not None
        self.lines.extend(iter(self.popen.stderr.readline, ""))

    def messages(self) -> list[str]:
        return [json.loads(line)["message"] for line in list(self.lines)]

    def wait_for_message(self, start: str) -> None:
        wait_for(lambda: any(message.startswith(start) for message in self.messages()))

    def close(self) -> None:
        self.popen.kill()
        self.popen.wait()
        self.reader.join(60)
        assert self.popen.stderr is not None
        self.popen.stderr.close()


@pytest.fixture
def start(config: Config) -> Iterator[Callable[..., Process]]:
    """Starts the process with settings that lead to the test's database."""
    processes: list[Process] = []

    def launch(*command: str, **env: str) -> Process:
        processes.append(Process(*command, **{**database_settings(config), **env}))
        return processes[-1]

    yield launch
    for process in processes:
        process.close()


def detector_runs(conn: Connection) -> list[TaskRun]:
    runs = [run for run in store.read_tasks(conn) if run.last_finished_at is not None]
    return [run for run in runs if run.task_id == "detect_stale_jobs"]


def test_the_process_sweeps_and_ends_when_told(
    conn: Connection, start: Callable[..., Process]
) -> None:
    process = start()
    process.wait_for_message("Stale job detector started")
    run = wait_for(lambda: detector_runs(conn))[0]
    assert run.last_error is None
    assert run.last_result.keys() == {"stalled", "failed", "errors", "watched_seconds"}
    process.popen.send_signal(signal.SIGTERM)
    assert process.popen.wait(60) == 0
    process.reader.join(60)
    started, stopped = process.messages()
    assert started == "Stale job detector started"
    assert stopped.startswith("the tasks stopped")  # maybe in the middle of another one


def test_short_intervals_log_no_warnings(conn: Connection, start: Callable[..., Process]) -> None:
    """A run that takes longer than its interval delays the next one, and that is all."""
    process = start(HUB_TASK_SPEEDUP="100", HUB_SWEEP_SECONDS="1", HUB_LOG_LEVEL="WARNING")
    started_at = detector_started_at(conn)
    wait_for(lambda: detector_started_at(conn) > started_at + timedelta(seconds=3))
    process.popen.send_signal(signal.SIGTERM)
    assert process.popen.wait(60) == 0
    process.reader.join(60)
    warnings = [text for text in process.messages() if not text.startswith("the tasks stopped")]
    assert warnings == []


def detector_started_at(conn: Connection) -> datetime:
    wait_for(lambda: detector_runs(conn))
    started_at = detector_runs(conn)[0].last_started_at
    assert started_at is not None
    return started_at


def test_the_process_ends_with_its_parent(start: Callable[..., Process], tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    parent = start(
        sys.executable,
        "-c",
        "import os, subprocess, sys, time\n"
        f"env = {{**os.environ, {PARENT_VARIABLE!r}: str(os.getpid())}}\n"
        "child = subprocess.Popen([sys.executable, '-m', 'jobs'], env=env)\n"
        f"open({str(pid_file)!r}, 'w').write(str(child.pid))\n"
        "time.sleep(60)\n",
    )
    parent.wait_for_message("Stale job detector started")
    pid = int(pid_file.read_text())
    parent.popen.kill()
    parent.popen.wait()
    wait_for(lambda: has_ended(pid), seconds=30)  # it would sweep for ever


def has_ended(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_the_process_waits_for_a_database_that_is_away(
    conn: Connection, config: Config, start: Callable[..., Process]
) -> None:
    port = free_port()
    url = urlsplit(owner_dsn(config))
    away = url._replace(netloc=url.netloc.replace(str(url.port), str(port))).geturl()
    process = start(DATABASE_URL=away, HUB_OWNER_URL="", HUB_SWEEP_SECONDS="1")
    process.wait_for_message("the tasks wait for the database: ")
    assert process.popen.poll() is None
    if config.is_embedded:  # it is reached in another way, by a process that knows what it is
        return
    with Forwarder(port, url.port or 5432):
        wait_for(lambda: detector_runs(conn))
        process.wait_for_message("the tasks continue")
    waits = [message for message in process.messages() if message.startswith("the tasks wait for")]
    assert len(waits) <= 2  # before, and perhaps after


def test_the_process_ends_when_told_while_the_database_is_away(
    start: Callable[..., Process],
) -> None:
    process = start(DATABASE_URL=f"postgresql://x@127.0.0.1:{free_port()}/x", HUB_OWNER_URL="")
    process.wait_for_message("Stale job detector started")
    process.popen.send_signal(signal.SIGTERM)
    assert process.popen.wait(60) == 0


def test_the_process_waits_for_an_embedded_database_to_be_started(
    start: Callable[..., Process], tmp_path: Path
) -> None:
    process = start(DATABASE_URL="", HUB_OWNER_URL="", HUB_DATA_DIR=str(tmp_path))
    process.wait_for_message("the tasks wait for the database: No embedded database runs")
    process.popen.send_signal(signal.SIGINT)
    assert process.popen.wait(60) == 0


def test_a_bad_setting_stops_the_start_with_a_sentence(start: Callable[..., Process]) -> None:
    process = start(HUB_SWEEP_SECONDS="soon")
    assert process.popen.wait(PATIENCE_SECONDS) == 1
    process.reader.join(60)
    assert process.lines == ["hub: HUB_SWEEP_SECONDS is 'soon': it must be a whole number.\n"]


def test_the_tasks_never_load_flask() -> None:
    script = "import sys, jobs.__main__; sys.exit('flask' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=False).returncode == 0


class Forwarder:
    """Forwards connections from one port to another while it is open: a database that came back."""

    def __init__(self, port: int, target: int) -> None:
        self._target = target
        self._sockets = [socket.create_server(("127.0.0.1", port))]
        self._threads = [threading.Thread(target=self._accept)]

    def __enter__(self) -> None:
        self._threads[0].start()

    def __exit__(self, *_: object) -> None:
        for each in self._sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(60)
        for each in self._sockets:
            each.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._sockets[0].accept()
            except OSError:
                return
            far = socket.create_connection(("127.0.0.1", self._target))
            self._sockets += [near, far]
            for source, sink in ((near, far), (far, near)):
                thread = threading.Thread(target=self._copy, args=(source, sink))
                thread.start()
                self._threads.append(thread)

    def _copy(self, source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(65_536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            return


@pytest.mark.parametrize("speedup", [1, 10, 300])
def test_tasks_begin_one_after_the_other_before_any_is_due_again(speedup: int) -> None:
    scheduled = tasks(Config(task_speedup=speedup))
    delays = first_delays(scheduled)
    assert delays[0] == 0
    assert len(delays) == len(scheduled)
    assert delays == sorted(set(delays))
    shortest = min(task.interval_seconds for task in scheduled)
    assert delays[-1] < min(shortest, 5)
