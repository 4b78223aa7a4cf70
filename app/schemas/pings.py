"""Reads pings: the requests by which programs tell Healthchecks that a job starts and ends.

https://healthchecks.io/docs/http_api/ describes them. A ping becomes an update like any other.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import parse_qs

from app.domain.updates import Ping, Update
from app.errors import InvalidInput
from app.schemas.fields import identifier_problem, normalise_identifier
from app.schemas.updates import LONGEST_INTERVAL, job_type_problem

JOB_TYPE = "backup"  # unless the query names another
SIGNALS = ("start", "fail", "log")
KEPT_BYTES = 10_000  # of a body, its end: what Healthchecks keeps unless it is told otherwise
# Nothing is heard between the start and the end. The hub calls a job silent after three times the
# interval: 72 h, the longest run that Healthchecks measures.
INTERVAL_SECONDS = LONGEST_INTERVAL

_EXIT_CODE = re.compile(r"-?[0-9]{1,10}", re.ASCII)  # 32 bits, as on Windows
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII)
_ERROR_LINES, _ERROR_CHARACTERS = 5, 1_000


@dataclass(frozen=True, slots=True)
class PingRequest:
    """What the address of a ping says. `signal`: of SIGNALS, an exit code, or empty for success."""

    job_id: str
    signal: str = ""
    job_type: str = JOB_TYPE
    run_name: str = ""

    @property
    def status(self) -> str:
        """The status of the update. That of a log is ignored."""
        if self.signal in ("start", "log"):
            return "running"
        return "failed" if self.signal == "fail" or int(self.signal or 0) else "completed"


def read_ping(path: str, query: str) -> PingRequest:
    """The ping that `<job_id>` or `<job_id>/<signal>` and a query ask for.

    Empty segments are ignored, as programs add slashes. So are parameters other than `job_type` and
    `rid`. Raises InvalidInput.
    """
    segments = [segment for segment in path.split("/") if segment]
    if not 1 <= len(segments) <= 2:
        raise _invalid("path", "Must be /ping/<job_id> or /ping/<job_id>/<signal>.")
    job_id = normalise_identifier(segments[0])
    if problem := identifier_problem(job_id):
        raise _invalid("job_id", problem)
    if job_id in SIGNALS:
        raise _invalid("job_id", f"{job_id!r} is a signal; the job's id comes before it.")
    signal = segments[1] if len(segments) > 1 else ""
    if signal and not (signal in SIGNALS or _EXIT_CODE.fullmatch(signal)):
        raise _invalid("signal", f"Must be {', '.join(SIGNALS)}, an exit code, or absent.")
    given = {name: values[0] for name, values in parse_qs(query).items()}
    job_type = given.get("job_type", JOB_TYPE)
    if problem := job_type_problem(job_type):
        raise _invalid("job_type", problem)
    run_name = given.get("rid", "").lower()
    if run_name and not _UUID.fullmatch(run_name):
        raise _invalid("rid", "Must be a UUID.")
    return PingRequest(job_id, signal, job_type, run_name)


def make_update(ping: PingRequest, body: bytes) -> Update:
    """The update that a ping stands for, without a timestamp. Its body is the job's last words."""
    output = last_words(body)
    is_log = ping.signal == "log"
    update = Update(
        ping.job_type,
        ping.job_id,
        ping.status,
        is_telemetry=not is_log,
        is_start=ping.signal == "start",
        ping=Ping(ping.run_name, output, is_log),
    )
    if update.status == "failed":
        update.fields["error_message"] = _error(ping.signal, output)
    elif ping.signal == "start":
        update.interval = INTERVAL_SECONDS
    return update


def last_words(body: bytes) -> str:
    """The last KEPT_BYTES of a body as text, without what no text can hold."""
    text = body[-KEPT_BYTES:].decode(errors="replace").replace("\0", "")
    if len(body) > KEPT_BYTES:
        text = "…" + text.lstrip("\N{REPLACEMENT CHARACTER}")  # half of a character
    return text.strip()


def _error(signal: str, output: str) -> str:
    """What failed, and the last lines of the output."""
    what = "The sender reported a failure" if signal == "fail" else f"Exited with {signal}"
    lines = "\n".join(output.splitlines()[-_ERROR_LINES:])[-_ERROR_CHARACTERS:].strip()
    return f"{what}: {lines}" if lines else f"{what}."


def _invalid(field: str, reason: str) -> InvalidInput:
    return InvalidInput(f"{field}: {reason}", {field: [reason]})
