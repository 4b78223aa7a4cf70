"""The base of the schemas of answers. These are documentation; tests compare them with answers."""

from __future__ import annotations

from typing import Any, ClassVar

from marshmallow import Schema, fields


class AnswerSchema(Schema):
    """What the hub answers: each field is in every answer, except those that `optional` names."""

    optional: ClassVar[frozenset[str]] = frozenset()

    def on_bind_field(self, field_name: str, field_obj: fields.Field[Any]) -> None:
        field_obj.required = field_name not in self.optional
