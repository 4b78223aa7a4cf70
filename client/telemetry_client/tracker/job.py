"""Which job a tracker tracks, and how often it sends updates."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass

from telemetry_client.settings import Settings, job_type_of
from telemetry_client.tracker.cadence import INTERVAL_SECONDS, PERCENT_STEP
from telemetry_client.wire.cleaning import clean_text, job_id_problem, job_type_problem
from telemetry_client.wire.credentials import without_credentials

logger = logging.getLogger("telemetry_client.tracker")


@dataclass(frozen=True)
class Job:
    """A job that the hub accepts. `identity`: fields that only the first update contains.

    `resumes`: a run of it has begun already.
    """

    job_id: str
    job_type: str
    identity: dict[str, str | None]
    interval_seconds: float
    percent_step: float
    resumes: bool


def job_of(
    job_id: str | None,
    job_type: str | None,
    identity: dict[str, str | None],
    interval_seconds: float,
    percent_step: float,
    *,
    resumes: bool,
) -> Job | None:
    """The job to track; None if there is no job id or the hub would refuse it."""
    if job_id is None:
        job_id = Settings.from_env().job_id
    if job_id is None:
        logger.info("No telemetry: no job id was given")
        return None
    job_id = _exact_text(job_id)
    if problem := job_id_problem(job_id):
        logger.error("No telemetry: job_id %s: %s", ascii(job_id)[:300], problem)
        return None
    given_type = job_type_of(job_id) if job_type is None else _exact_text(job_type)
    if problem := job_type_problem(given_type):
        logger.error("job_type %s: %s", ascii(given_type)[:100], problem)
        given_type = job_type_of(job_id)
    clean = {
        name: clean_text(value, name, lambda _, sentence: logger.warning("%s", sentence))
        for name, value in identity.items()
    }
    if repository := clean.get("repository_id"):
        clean["repository_id"] = without_credentials(repository)
    return Job(
        job_id,
        given_type,
        clean,
        _positive(interval_seconds, INTERVAL_SECONDS),
        _positive(percent_step, PERCENT_STEP),
        resumes,
    )


def _exact_text(value: object) -> str:
    """Text as it is; anything else converted to text, or empty if that fails."""
    if isinstance(value, str):
        return str.__str__(value)
    return clean_text(value, "text") or ""


def _positive(value: float, default: float) -> float:
    try:
        number = float(value)
    except Exception:
        return default
    return number if 0 < number < math.inf else default
