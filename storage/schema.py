"""Bring a database to the newest schema, all or nothing, in one transaction.

Two processes that start together take turns at the write lock; the second one finds nothing left to do.
Knows the revisions, not what the tables are for.
"""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, inspect

from storage.errors import NewerSchema, NotADatabase

MIGRATIONS = Path(__file__).parent / "migrations"
# Any number will do that no other program on the same PostgreSQL database uses.
POSTGRESQL_LOCK = 7_266_337


def bring_to_head(engine: Engine, place: str) -> None:
    """Run the revisions that are missing; raise NewerSchema or NotADatabase before anything is changed."""
    with engine.begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({POSTGRESQL_LOCK})")
        config = migration_config(connection)
        held = set(MigrationContext.configure(connection).get_current_heads())
        script = ScriptDirectory.from_config(config)
        if held == set(script.get_heads()):
            # SQLite lets a transaction begin on a read-only file: only a statement that may write tells.
            connection.exec_driver_sql("UPDATE alembic_version SET version_num = version_num WHERE 1 = 0")
            return
        _check_known(held, script, place)
        if not held and inspect(connection).get_table_names():
            raise NotADatabase(
                f"The database {place} holds the tables of another program: name another database for Imprint."
            )
        command.upgrade(config, "head")


def take_back(engine: Engine, revision: str) -> None:
    """Undo the revisions after this one, all or nothing; what only they keep is lost."""
    with engine.begin() as connection:
        command.downgrade(migration_config(connection), revision)


def revisions() -> list[str]:
    """All of them, oldest first."""
    return [script.revision for script in ScriptDirectory(str(MIGRATIONS)).walk_revisions()][::-1]


def migration_config(connection: Connection) -> Config:
    """What alembic.command needs, on this connection, for instance to autogenerate a revision."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def _check_known(held: set[str], script: ScriptDirectory, place: str) -> None:
    unknown = held - {revision.revision for revision in script.walk_revisions()}
    if unknown:
        raise NewerSchema(
            f"The database {place} has schema revision {', '.join(sorted(unknown))}, and this version of Imprint knows "
            f"revisions up to {script.get_current_head()}: update Imprint, or name another database."
        )
