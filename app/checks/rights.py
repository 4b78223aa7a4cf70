"""Checks the rights of the web workers' database user."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg

from app.config import Config
from app.database.pool import Connection, Database
from app.errors import DatabaseUnavailable, first_line

HUB_ROLE = "telemetry_hub"
OWNERS_RIGHTS = (
    "The web workers have the owner's rights: HUB_OWNER_URL is not set, and DATABASE_URL is used "
    "for everything."
)

# A member of the owner's role has its rights, or takes them with SET ROLE.
_RIGHTS = """
WITH ours AS (
    SELECT oid, relname, relowner
    FROM pg_class
    WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v', 'm')
      AND NOT EXISTS (SELECT FROM pg_depend AS d WHERE d.objid = oid AND d.deptype = 'e')
)
SELECT rolname, rolsuper,
       EXISTS (SELECT FROM ours WHERE pg_has_role(rolname, relowner, 'MEMBER')) AS is_owner,
       has_schema_privilege(rolname, 'public', 'CREATE') AS may_create,
       EXISTS (SELECT FROM ours WHERE relname LIKE '%%\\_telemetry'
                   AND has_table_privilege(rolname, ours.oid, 'UPDATE, DELETE, TRUNCATE'))
           AS may_change_updates,
       coalesce((SELECT pg_has_role(login.rolname, role.oid, 'USAGE')
                 FROM pg_roles AS role WHERE role.rolname = %(role)s), false) AS has_role
FROM pg_roles AS login
WHERE rolname = coalesce(%(user)s, current_user)
"""


def judge_rights(conn: Connection, user: str | None = None) -> Iterator[str]:
    """One sentence for each right that the user (default: of `conn`) should not have, or lacks."""
    row = conn.execute(_RIGHTS, {"role": HUB_ROLE, "user": user}).fetchone()
    if row is None:
        yield f"There is no role {user}: run `python -m app migrate`."
        return
    user, is_superuser, is_owner, may_create, may_change_updates, has_role = row
    if is_superuser:
        yield f"DATABASE_URL's user {user} is a superuser."
    elif is_owner:
        yield f"DATABASE_URL's user {user} owns the hub's tables, and may drop and alter them."
    else:
        if may_create:
            yield f"DATABASE_URL's user {user} may create tables."
        if may_change_updates:
            yield f"DATABASE_URL's user {user} may change or delete what was stored."
    if not has_role:
        yield (
            f"DATABASE_URL's user {user} is not a member of {HUB_ROLE}: "
            f"run GRANT {HUB_ROLE} TO {user}."
        )


def judge_hubs_rights(conn: Connection, config: Config) -> Iterator[str]:
    """The same for the web workers' user; `conn` is the owner's.

    Raises psycopg.Error and DatabaseUnavailable.
    """
    if config.is_embedded:  # a second connection would wait for the first one's transaction
        yield from judge_rights(conn, HUB_ROLE)
    elif config.owner_url is not None:
        with Database.from_config(config).connect(autocommit=True) as conn:
            yield from judge_rights(conn)


def describe_rights(config: Config) -> Iterator[str]:
    """Messages for the start of the hub; none if the rights are correct."""
    if config.is_embedded:
        return
    if config.owner_url is None:
        yield OWNERS_RIGHTS
        return
    try:
        with Database.from_config(config).connect(autocommit=True) as conn:
            yield from judge_rights(conn)
    except DatabaseUnavailable as exc:
        yield f"DATABASE_URL cannot be used yet. {first_line(exc)}"
    except psycopg.Error as exc:
        yield f"The rights of DATABASE_URL's user could not be checked ({type(exc).__name__})."
