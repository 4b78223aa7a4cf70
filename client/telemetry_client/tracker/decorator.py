"""A function as a job: each call is a run."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar

from telemetry_client.tracker.tracker import ProgressTracker

Function = TypeVar("Function", bound=Callable[..., Any])


def tracked(
    job_id: str | None = None, job_type: str | None = None, **options: Any
) -> Callable[[Function], Function]:
    """Decorate a function whose calls are runs of a job, with the options of `ProgressTracker`.

    A call that returns is completed, and one that raises has failed. The function gets its tracker
    with `current_tracker()`. An `async` function never blocks its event loop. Raises TypeError for
    a generator function, whose call returns before anything is done.
    """

    def decorate(function: Function) -> Function:
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise TypeError(
                f"{function.__qualname__} is a generator function, whose call returns before "
                "anything is done: use `with ProgressTracker(…)` inside it"
            )
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def call_async(*args: Any, **kwargs: Any) -> Any:
                async with ProgressTracker(job_id, job_type, **options):
                    return await function(*args, **kwargs)

            return call_async  # type: ignore[return-value]

        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            with ProgressTracker(job_id, job_type, **options):
                return function(*args, **kwargs)

        return call  # type: ignore[return-value]

    return decorate
