"""A loop as a job: `for block in track(blocks, total=…)`."""

from __future__ import annotations

import logging
import opcode
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from operator import length_hint
from types import CodeType, FrameType, TracebackType
from typing import Any, Generic, TypeVar

from telemetry_client.log_limit import LimitedLog
from telemetry_client.progress import Progress, percent_of
from telemetry_client.tracker.tracker import ProgressTracker
from telemetry_client.wire.cleaning import clean_integer

logger = logging.getLogger("telemetry_client.tracker")

Item = TypeVar("Item")

# What removes the iterator of a loop from the stack at `break` and `return`. None of them raises.
_LEAVING = frozenset({"POP_TOP", "POP_ITER", "END_FOR"})
# The loop is in a generator that was closed, or was left before this: by what, cannot be known.
_UNKNOWN = frozenset({None, "YIELD_VALUE", "RESUME"})
_LEFT = "the loop was left before its end"


class track(Iterator[Item], Generic[Item]):  # called as a function
    """Iterate over items as a job, which is completed after the last one.

    An item counts as done when the next one is asked for. `size` returns the bytes of an item;
    without it those of bytes, bytearray and memoryview are known. `total` is in bytes too. Of other
    items the number is counted, as percent of `total`, or of their own number if that is known.

    A loop that is left early is cancelled, and one that raises has failed. A bare `for` gets to
    know only where: with `with track(…) as items: for item in items: …` the message of the
    exception is reported too, and Ctrl-C is told from a failure. Within another generator, such as
    `tqdm(track(…))`, a bare loop that is left early has failed, whatever the reason. The other
    options are those of `ProgressTracker`, and `tracker` is the tracker.
    """

    def __init__(
        self,
        items: Iterable[Item],
        total: int | None = None,
        *,
        job_id: str | None = None,
        job_type: str | None = None,
        size: Callable[[Item], int] | None = None,
        **options: Any,
    ) -> None:
        self._is_over = True  # if one of the following raises
        self._length = length_hint(items) or None
        self._items = iter(items)
        self._size = size
        self._total = total
        self._count = 0
        self._bytes = 0
        self._item_bytes: int | None = None  # of the item that is being worked on
        self._loop: CodeType | None = None  # that asked for it
        self._log = LimitedLog(logger)
        self.tracker = ProgressTracker(job_id, job_type, **options)
        self._is_over = False

    def __iter__(self) -> track[Item]:
        return self

    def __next__(self) -> Item:
        if self._loop is not None:
            self._report_done()
        try:
            item = next(self._items)
        except StopIteration:
            self._end(None)
            raise
        except BaseException as exc:
            self._end(exc)
            raise
        self._loop = sys._getframe(1).f_code
        self._item_bytes = self._bytes_of(item)
        return item

    def __enter__(self) -> track[Item]:
        self.tracker.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if not self._is_over and exc is None:
            self._is_over = True
            self.tracker.cancel(_LEFT)
        self._is_over = True
        self.tracker.__exit__(kind, exc, traceback)

    def __del__(self) -> None:
        """The loop was left: the interpreter drops its iterator at once."""
        if self._is_over or sys.is_finalizing():
            return
        self._is_over = True
        frame = sys._getframe(1)
        instruction = _instruction_of(frame) if frame.f_code is self._loop else None
        if instruction in _LEAVING:
            self.tracker.cancel(_LEFT)
        elif instruction in _UNKNOWN:  # a failed job must not look like one that was stopped
            self.tracker.fail(_LEFT)
        else:
            place = f"{os.path.basename(frame.f_code.co_filename)}, line {frame.f_lineno}"
            self.tracker.fail(f"the loop was left before its end, as by an exception ({place})")

    def _bytes_of(self, item: Any) -> int | None:
        if self._size is not None:
            return self._measured(self._size, item)
        if isinstance(item, memoryview):
            return item.nbytes
        return len(item) if isinstance(item, (bytes, bytearray)) else None

    def _measured(self, size: Callable[[Item], int], item: Item) -> int:
        try:
            return clean_integer(size(item), "size", self._warn) or 0
        except Exception:
            self._log.log("size", "The size of an item could not be measured", trace=True)
            return 0

    def _warn(self, field: str, sentence: str) -> None:
        self._log.log_once(field, "Invalid telemetry value: %s", sentence)

    def _report_done(self) -> None:
        self._count += 1
        if self._item_bytes is None:
            total = self._length if self._total is None else self._total
            self.tracker.report(Progress(percent=percent_of(self._count, total)))
        else:
            self._bytes += self._item_bytes
            self.tracker.update_progress(self._bytes, self._total)

    def _end(self, exc: BaseException | None) -> None:
        if not self._is_over:
            self._is_over = True
            self.tracker.end_with(exc)


def _instruction_of(frame: FrameType) -> str:
    """The instruction that a frame executes.

    An exception in flight cannot be seen from here. But it was raised by some other instruction
    than the one that removes a loop's iterator.
    """
    return opcode.opname[frame.f_code.co_code[frame.f_lasti]]
