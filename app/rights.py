"""What the user that faces the network may do to the database, against what it should."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg

from app.config import Config
from app.db import Connection, Database
from app.errors import DatabaseUnavailable

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
SELECT current_user,
       (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) AS is_superuser,
       EXISTS (SELECT FROM ours WHERE pg_has_role(relowner, 'MEMBER')) AS is_owner,
       has_schema_privilege('public', 'CREATE') AS may_create,
       EXISTS (SELECT FROM ours WHERE relname LIKE '%%\\_telemetry'
                   AND has_table_privilege(oid, 'UPDATE, DELETE, TRUNCATE')) AS may_change_updates,
       coalesce((SELECT pg_has_role(oid, 'USAGE') FROM pg_roles WHERE rolname = %s), false)
           AS has_role
"""


def judge_rights(conn: Connection) -> Iterator[str]:
    """One sentence for each right that the user of `conn` has too many, or has not."""
    row = conn.execute(_RIGHTS, [HUB_ROLE]).fetchone()
    assert row is not None
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
        yield f"DATABASE_URL's user {user} is no member of {HUB_ROLE}: GRANT {HUB_ROLE} TO {user}."


def judge_hubs_rights(config: Config) -> Iterator[str]:
    """The same for the user that the web workers connect as.

    Raises psycopg.Error and DatabaseUnavailable.
    """
    if config.is_embedded or config.owner_url is not None:
        with Database.from_config(config).connect(autocommit=True) as conn:
            yield from judge_rights(conn)


def describe_rights(config: Config) -> Iterator[str]:
    """What to tell whoever starts the hub: nothing when its rights are as they should be."""
    if not config.is_embedded and config.owner_url is None:
        yield OWNERS_RIGHTS
    try:
        yield from judge_hubs_rights(config)
    except DatabaseUnavailable:
        yield "DATABASE_URL cannot be used yet: is there such a login, and is its password right?"
    except psycopg.Error as exc:
        yield f"The rights of DATABASE_URL's user could not be looked at ({type(exc).__name__})."
