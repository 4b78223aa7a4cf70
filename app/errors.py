"""The hub's exceptions. The docstring of a class is its default message."""

from __future__ import annotations

from collections.abc import Sequence


def first_line(exc: BaseException) -> str:
    """Why, in one line, for the terminal and the log; the name of the class if nothing is known."""
    message = getattr(exc, "reason", None) or str(exc)
    return next(iter(message.strip().splitlines()), type(exc).__name__)


class HubError(Exception):
    """The hub could not do what was asked."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (type(self).__doc__ or "").strip().splitlines()[0])


# Errors that stop the start, or a command. The message is for the user at the terminal.


class StartError(HubError):
    """The hub cannot start."""


class ConfigError(StartError):
    """A setting has a value the hub cannot use."""


class EngineError(StartError):
    """The embedded TimescaleDB is not running."""


class MigrationError(StartError):
    """The database schema could not be brought up to date."""


# Errors of a request. `status` is the HTTP status of the answer.


class RequestError(HubError):
    """The request could not be answered.

    `errors` maps a field's path to its reasons; `headers` belong to the answer.
    """

    status = 500
    retry_after_seconds: int | None = None

    def __init__(self, message: str | None = None, errors: dict[str, list[str]] | None = None):
        super().__init__(message)
        self.errors = errors or {}
        self.headers: Sequence[tuple[str, str]] = ()


class InvalidInput(RequestError):
    """The request has values the hub does not accept."""

    status = 400


class Unauthorized(RequestError):
    """A token is required: send it as `Authorization: Bearer <token>`."""

    status = 401


class Forbidden(RequestError):
    """The token does not allow this."""

    status = 403


class NotFound(RequestError):
    """There is nothing at this address."""

    status = 404


def no_such_run(name: str) -> NotFound:
    """The error for the name of a run that does not exist (`app.domain.runs.run_name`)."""
    job_id, _, run = name.partition("/")
    if run:
        return NotFound(f"The job {job_id!r} has no run {run}.")
    return NotFound(f"There is no job {job_id!r}.")


class RequestTimeout(RequestError):
    """The body of the request took too long to arrive."""

    status = 408


class Conflict(RequestError):
    """The request contradicts what is stored."""

    status = 409


class TooLarge(RequestError):
    """The body is larger than the hub accepts."""

    status = 413


class UnsupportedMediaType(RequestError):
    """The hub does not accept a body of this content type."""

    status = 415


class TooManyUpdates(RequestError):
    """This token has sent too many updates; slow down."""

    status = 429
    retry_after_seconds = 1


class NotSupported(RequestError):
    """The hub does not implement this."""

    status = 501


class MethodUnknown(NotSupported):
    """The hub does not know this method; methods are in upper case."""


class StorageFailed(RequestError):
    """The update could not be stored; the reason is in the hub's log."""

    status = 500


class Unavailable(RequestError):
    """The hub cannot accept this now; try again."""

    status = 503
    retry_after_seconds = 1


NO_MEMORY = "The hub is short of memory; try again."


class QueueFull(Unavailable):
    """Too many updates are waiting to be stored; try again."""


class TooManyPushes(QueueFull):
    """Too many requests are waiting for their commit; try again."""


class DatabaseUnavailable(Unavailable):
    """The database cannot be reached; try again.

    `reason` has address, user and the driver's words, if known. It is not for answers.
    """

    retry_after_seconds = 2
    reason: str | None = None


class DatabaseDamaged(DatabaseUnavailable):
    """The database is damaged: the hub's log has the reason; try again after its repair."""

    retry_after_seconds = 60
