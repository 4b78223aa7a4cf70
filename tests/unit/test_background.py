"""The repeating thread, and the log that does not repeat itself."""

from __future__ import annotations

import logging
import threading
import time

import pytest

from app.background import FailureLog, RepeatingThread
from app.errors import HubError, first_line
from tools.hub_process import wait_until

LOGGER = logging.getLogger("hub.test")


def make_log() -> FailureLog:
    return FailureLog(LOGGER, "it fails", "it works again")


def test_first_failure_and_recovery_are_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    failures = make_log()
    with caplog.at_level(logging.INFO):
        failures.succeeded()
        for _ in range(2):
            for _ in range(3):
                with failures.attempt(OSError):
                    raise OSError("the reason\nand more")
            assert failures.is_failing
            for _ in range(3):
                with failures.attempt(OSError):
                    pass
    assert caplog.messages == ["it fails: the reason", "it works again"] * 2
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"] * 2


def test_defect_is_logged_every_time_with_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    failures = make_log()
    for _ in range(2):
        with failures.attempt(OSError):
            raise ZeroDivisionError
    assert caplog.messages == ["it fails"] * 2
    assert all(record.exc_info for record in caplog.records)


@pytest.mark.parametrize(
    ("exc", "line"),
    [
        (OSError("server closed\n\tThis probably means"), "server closed"),
        (ValueError("\n  spaces \n"), "spaces"),
        (ValueError(), "ValueError"),
        (HubError(), "The hub could not do what was asked."),
    ],
)
def test_first_line_of_an_exception(exc: Exception, line: str) -> None:
    assert first_line(exc) == line


def test_work_is_repeated_until_stopped_and_then_finished(
    caplog: pytest.LogCaptureFixture,
) -> None:
    calls: list[str] = []

    def work() -> None:
        calls.append("work")
        raise ZeroDivisionError

    thread = RepeatingThread("test", work, 0.01, finish=lambda: calls.append("finish"))
    thread.start()
    wait_until(lambda: len(calls) > 2)
    thread.stop()
    thread.stop()
    assert not thread.is_alive()
    assert calls[-1] == "finish"
    assert calls.count("finish") == 1
    assert caplog.messages == ["the thread test failed"] * (len(calls) - 1)


def test_first_call_waits_for_the_delay() -> None:
    calls: list[float] = []
    thread = RepeatingThread("test", lambda: calls.append(1), 0.01, delay=60)
    thread.start()
    thread.stop()
    assert not thread.is_alive()
    assert not calls


def test_stopping_before_the_start_does_nothing() -> None:
    RepeatingThread("test", lambda: None, 1).stop()


def test_calls_missed_during_a_long_one_are_left_out() -> None:
    starts: list[float] = []

    def work() -> None:
        starts.append(time.monotonic())
        if len(starts) == 1:
            time.sleep(0.5)  # two and a half intervals

    thread = RepeatingThread("test", work, 0.2)
    began = time.monotonic()  # not the first call's start, which may be late
    thread.start()
    wait_until(lambda: len(starts) > 2)
    thread.stop()
    assert starts[1] - began >= 0.59


def test_stop_waits_for_the_current_call() -> None:
    entered, leave = threading.Event(), threading.Event()

    def work() -> None:
        entered.set()
        leave.wait(10)

    thread = RepeatingThread("test", work, 1)
    thread.start()
    entered.wait(10)
    thread.stop(0.01)
    assert thread.is_alive()
    leave.set()
    thread.stop()
    assert not thread.is_alive()
