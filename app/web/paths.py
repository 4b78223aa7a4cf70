"""Paths of the API, and the ids in them."""

from __future__ import annotations

from app.errors import InvalidInput
from app.schemas.fields import identifier_problem, normalise_identifier
from app.schemas.updates import job_type_problem

PREFIX = "/api/v1"


def check_job_type(text: str) -> None:
    """Raise InvalidInput unless the path's job type is valid."""
    if problem := job_type_problem(text):
        raise InvalidInput(f"job_type: {problem}", {"job_type": [problem]})


def read_identifier(field: str, text: str) -> str:
    """The path's id, in NFC. Raises InvalidInput naming the field if it is not valid."""
    text = normalise_identifier(text)
    if problem := identifier_problem(text):
        raise InvalidInput(f"{field}: {problem}", {field: [problem]})
    return text
