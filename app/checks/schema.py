"""Reads the schema from the text of the migrations, which `doctor` must not apply."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from app.database.migrate import Migration, read_migrations

_COMMENT = re.compile(r"--[^\n]*")
_BODY = re.compile(r"\$\$.*?\$\$", re.DOTALL)  # of a function
_TABLE = re.compile(r"CREATE TABLE (\w+) \((.*?)\n\)", re.DOTALL)
_ALTERED = re.compile(r"ALTER TABLE (\w+)\s+(.*)", re.DOTALL)
_INDEX = re.compile(r"CREATE (UNIQUE )?INDEX (\w+)\s+ON \w+ (?:USING \w+ )?(\(.*?\))", re.DOTALL)
_KEY = re.compile(
    r"CONSTRAINT (\w+) (?:PRIMARY KEY|UNIQUE(?: NULLS NOT DISTINCT)?)\s+(\(.*?\))", re.DOTALL
)
_HYPERTABLE = re.compile(r"create_hypertable\(\s*'(\w+)'")
_ROLLUP = re.compile(
    r"CREATE MATERIALIZED VIEW (\w+)\s.*?\sAS\n(SELECT .*)\nWITH NO DATA", re.DOTALL
)
_COMPRESSED = re.compile(
    r"ALTER (?:TABLE|MATERIALIZED VIEW) (\w+) SET \(\s*timescaledb\.compress\b"
)
_COLUMN = re.compile(
    r"(\w+) (double precision|\w+(?:\[\])?)"
    r"(?: NOT NULL)?(?: DEFAULT ('(?:[^']|'')*'|[\w.]+(?:\(\))?))?(?: NOT NULL)?"
    r"(?: GENERATED [^,]*)?"
)
_ADDED = re.compile(rf"ADD COLUMN {_COLUMN.pattern}")
_DROPPED_INDEX = re.compile(r"DROP INDEX (\w+)")
_DROPPED = re.compile(r"DROP COLUMN (\w+)")


@dataclass(frozen=True, slots=True)
class Column:
    """A column's type and default, as written in a migration."""

    type: str
    default: str | None


@dataclass(frozen=True, slots=True)
class Index:
    """The columns of an index, as written in a migration: `(job_id, time)`."""

    columns: str
    is_unique: bool


@dataclass(slots=True)
class Schema:
    """The objects that the numbered migrations create, by name.

    `rollups`: the statement of each; `made_by`: the file that created it; `compressed`: the file
    that set up compression.
    """

    tables: dict[str, dict[str, Column]] = field(default_factory=dict)
    indexes: dict[str, Index] = field(default_factory=dict)
    hypertables: list[str] = field(default_factory=list)
    rollups: dict[str, str] = field(default_factory=dict)
    made_by: dict[str, str] = field(default_factory=dict)
    compressed: dict[str, str] = field(default_factory=dict)

    def read(self, migration: Migration) -> None:
        """Add what one more migration does."""
        for statement in _BODY.sub("", _COMMENT.sub("", migration.sql)).split(";"):
            self._read_statement(statement.strip(), f"migrations/{migration.name}")

    def _read_statement(self, statement: str, file: str) -> None:
        if made := _TABLE.match(statement):
            lines = made[2].strip().split(",\n")
            columns = [m for line in lines if (m := _COLUMN.fullmatch(line.strip()))]
            self.tables[made[1]] = {m[1]: Column(m[2], m[3]) for m in columns}
            for name, on in _KEY.findall(made[2]):
                self.indexes[name] = Index(on, is_unique=True)
        elif made := _INDEX.match(statement):
            self.indexes[made[2]] = Index(made[3], is_unique=made[1] is not None)
        elif made := _DROPPED_INDEX.match(statement):
            del self.indexes[made[1]]
        elif made := _ROLLUP.match(statement):
            self.rollups[made[1]], self.made_by[made[1]] = made[2], file
        elif made := _COMPRESSED.match(statement):
            self.compressed[made[1]] = file
        elif made := _ALTERED.match(statement):
            columns = list(_ADDED.finditer(made[2]))
            self.tables[made[1]] |= {m[1]: Column(m[2], m[3]) for m in columns}
            for name in _DROPPED.findall(made[2]):
                del self.tables[made[1]][name]
        elif made := _HYPERTABLE.search(statement):
            self.hypertables.append(made[1])


def read_schema() -> Schema:
    """The schema after all numbered migrations. Raises MigrationError."""
    schema = Schema()
    for migration in read_migrations():
        if not migration.is_repeatable:
            schema.read(migration)
    return schema
