"""A loop as a job: how far it is, and how it ended."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from telemetry_client import current_tracker, track
from tools.faulty_hub import FaultyHub

BLOCKS = [b"x" * 10, bytearray(20), memoryview(bytes(70))]


def end_of(hub: FaultyHub) -> dict[str, Any]:
    """The only end that the hub got."""
    (end,) = [update for update in hub.accepted if update["status"] != "running"]
    return end


def line_of(function: Callable[..., Any], offset: int) -> str:
    return f"test_loop.py, line {function.__code__.co_firstlineno + offset}"


def test_blocks_are_counted_by_their_bytes(faulty_hub: FaultyHub, places: dict[str, Any]) -> None:
    found = list(track(BLOCKS, total=100, job_id="backup-1", **places))
    assert found == BLOCKS
    end = end_of(faulty_hub)
    assert (end["status"], end["bytes_transferred"], end["total_bytes"]) == ("completed", 100, 100)


def test_a_block_is_done_when_the_next_one_is_asked_for(places: dict[str, Any]) -> None:
    items = track(BLOCKS, total=100, job_id="backup-1", **places)
    done = [items.tracker._feed.numbers[0] for _ in items]
    assert done == [None, 10, 30]


def test_other_items_are_measured_by_a_function(
    faulty_hub: FaultyHub, places: dict[str, Any]
) -> None:
    for _ in track(["a", "bcd"], size=len, job_id="backup-1", **places):
        pass
    assert end_of(faulty_hub)["bytes_transferred"] == 4


@pytest.mark.parametrize("total", [None, 4, 8])
def test_items_without_bytes_are_counted_in_percent(
    faulty_hub: FaultyHub, places: dict[str, Any], total: int | None
) -> None:
    for item in track("abcd", total, job_id="backup-1", **places):
        if item == "d":
            break
    end = end_of(faulty_hub)
    assert (end["status"], end["progress_percent"]) == ("cancelled", 37.5 if total == 8 else 75.0)


def test_items_of_an_unknown_number_have_no_percent(
    faulty_hub: FaultyHub, places: dict[str, Any]
) -> None:
    for item in track((letter for letter in "abcd"), job_id="backup-1", **places):
        if item == "c":
            break
    assert "progress_percent" not in end_of(faulty_hub)


# How it ends.


def breaks(places: dict[str, Any]) -> None:
    for _ in track(BLOCKS, job_id="backup-1", **places):
        break


def returns(places: dict[str, Any]) -> Any:
    for block in track(BLOCKS, job_id="backup-1", **places):
        return block


def returns_within_a_block(places: dict[str, Any]) -> Any:
    for block in track(BLOCKS, job_id="backup-1", **places):
        try:
            with contextlib.nullcontext(block) as inner:
                return inner
        finally:
            places["done"] = True


def breaks_in_the_middle(places: dict[str, Any]) -> None:
    for number, _ in enumerate(track(BLOCKS, job_id="backup-1", **places)):
        if number == 1:
            break


@pytest.mark.parametrize("leave", [breaks, returns, returns_within_a_block, breaks_in_the_middle])
def test_a_loop_that_is_left_is_cancelled(
    faulty_hub: FaultyHub, places: dict[str, Any], leave: Callable[..., Any]
) -> None:
    leave(dict(places))
    end = end_of(faulty_hub)
    assert (end["status"], end["error"]) == ("cancelled", "the loop was left before its end")


def raises(places: dict[str, Any]) -> None:
    for _ in track(BLOCKS, job_id="backup-1", **places):
        raise OSError("no space")


def raises_below(places: dict[str, Any]) -> None:
    def copy() -> None:
        raise OSError("no space")

    for _ in track(BLOCKS, job_id="backup-1", **places):
        copy()


def raises_in_an_expression(places: dict[str, Any]) -> None:
    for block in track(BLOCKS, job_id="backup-1", **places):
        if places[str(block)]:
            break


def raises_and_catches(places: dict[str, Any]) -> None:
    try:
        for _ in track(BLOCKS, job_id="backup-1", **places):
            raise OSError("no space")
    except OSError:
        return


@pytest.mark.parametrize(
    ("fail", "line"),
    [(raises, 2), (raises_below, 5), (raises_in_an_expression, 2), (raises_and_catches, 3)],
)
def test_a_loop_that_raises_has_failed(
    faulty_hub: FaultyHub, places: dict[str, Any], fail: Callable[..., Any], line: int
) -> None:
    with contextlib.suppress(OSError, KeyError):
        fail(places)
    end = end_of(faulty_hub)
    assert end["status"] == "failed"
    assert (
        end["error"]
        == f"the loop was left before its end, as by an exception ({line_of(fail, line)})"
    )


def test_items_that_fail_fail_the_job_with_their_message(
    faulty_hub: FaultyHub, places: dict[str, Any]
) -> None:
    def blocks() -> Iterator[bytes]:
        yield b"x"
        raise OSError("https://user:hunter2@host/ is away")

    with pytest.raises(OSError, match="hunter2"):
        for _ in track(blocks(), job_id="backup-1", **places):
            pass
    end = end_of(faulty_hub)
    assert (end["status"], end["error"]) == ("failed", "https://host/ is away")


@pytest.mark.parametrize(
    ("exc", "status", "error"),
    [
        (OSError("no space"), "failed", "no space"),
        (KeyboardInterrupt(), "cancelled", "KeyboardInterrupt"),
        (SystemExit(143), "cancelled", "SIGTERM"),
        (SystemExit(1), "failed", "exit status 1"),
        (None, "cancelled", "the loop was left before its end"),
    ],
)
def test_with_a_block_the_end_is_exact(
    faulty_hub: FaultyHub,
    places: dict[str, Any],
    exc: BaseException | None,
    status: str,
    error: str,
) -> None:
    try:
        with track(BLOCKS, total=100, job_id="backup-1", **places) as blocks:
            for _ in blocks:
                assert current_tracker() is blocks.tracker
                if exc is not None:
                    raise exc
                break
    except BaseException as caught:
        assert caught is exc
    end = end_of(faulty_hub)
    assert (end["status"], end["error"]) == (status, error)
    assert current_tracker() is None


def test_a_block_whose_loop_ends_is_completed(
    faulty_hub: FaultyHub, places: dict[str, Any]
) -> None:
    with track(BLOCKS, total=100, job_id="backup-1", **places) as blocks:
        assert len(list(blocks)) == 3
    assert end_of(faulty_hub)["status"] == "completed"


def test_a_loop_within_a_generator_has_failed_if_it_is_left(
    faulty_hub: FaultyHub, places: dict[str, Any]
) -> None:
    """Whether by `break` or by an exception cannot be known."""

    def wrap(items: track[Any]) -> Iterator[Any]:
        yield from (item for item in items)

    for _ in wrap(track(BLOCKS, job_id="backup-1", **places)):
        break
    end = end_of(faulty_hub)
    assert (end["status"], end["error"]) == ("failed", "the loop was left before its end")


def test_a_loop_that_is_left_where_it_cannot_be_seen_has_failed(
    faulty_hub: FaultyHub, places: dict[str, Any]
) -> None:
    """A failed job must not look like one that was stopped on purpose."""
    items = [track(BLOCKS, job_id="backup-1", **places)]
    next(items[0])

    def drop() -> None:
        items.clear()

    drop()
    end = end_of(faulty_hub)
    assert (end["status"], end["error"]) == ("failed", "the loop was left before its end")


def test_without_a_job_it_only_iterates(faulty_hub: FaultyHub) -> None:
    assert list(track("abc")) == ["a", "b", "c"]
    for _ in track("abc"):
        break
    assert faulty_hub.requests == []


@pytest.mark.parametrize("size", [lambda _: 1 / 0, lambda _: "many", lambda _: -1])
def test_a_size_that_cannot_be_measured_breaks_no_job(
    faulty_hub: FaultyHub, places: dict[str, Any], size: Any
) -> None:
    assert list(track("abc", size=size, job_id="backup-1", **places)) == ["a", "b", "c"]
    assert end_of(faulty_hub)["status"] == "completed"


def test_what_cannot_be_iterated_is_an_error_of_the_caller() -> None:
    with pytest.raises(TypeError):
        track(7, job_id="backup-1")  # type: ignore[arg-type]
