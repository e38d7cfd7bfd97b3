"""The schema: the revisions lead to what tables.py says, once, whoever comes first."""

import subprocess
import sys
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Engine, NullPool, inspect
from sqlalchemy.exc import OperationalError

from storage.address import build_engine, for_writing, read_address
from storage.database import Database, age_database, file_url, open_database
from storage.records import Conversation, Turn, User
from storage.schema import bring_to_head, revisions
from storage.store import Store
from storage.tables import Base
from tests.storage.conftest import fold


def engine_of(path: Path) -> Engine:
    return for_writing(build_engine(read_address(file_url(path)), 1.0, NullPool))


def test_the_revisions_lead_to_the_tables_in_the_code(path: Path, database: Database) -> None:
    with engine_of(path).begin() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, Base.metadata) == []


def test_the_revisions_name_every_constraint_as_the_code_does(path: Path, tmp_path: Path, database: Database) -> None:
    written = engine_of(tmp_path / "written.db")
    Base.metadata.create_all(written)
    for table in Base.metadata.tables:
        migrated = inspect(engine_of(path))
        assert migrated.get_pk_constraint(table) == inspect(written).get_pk_constraint(table)
        assert migrated.get_foreign_keys(table) == inspect(written).get_foreign_keys(table)


def test_a_second_opening_changes_nothing(path: Path, database: Database, store: Store, ada: User) -> None:
    bring_to_head(engine_of(path), str(path))
    again = open_database(file_url(path))
    assert Store(again).find_user("Ada") == ada
    again.close()


def test_turns_held_before_there_was_a_ledger_get_their_order_and_stay(
    path: Path, database: Database, store: Store, ada: User, talk: Conversation
) -> None:
    turns = [store.append_turn(ada.id, talk.id, text) for text in ("one", "two", "three")]
    for version, turn in enumerate(turns[:2]):
        fold(store, turn, version)
    database.close()
    age_database(file_url(path), "0001")
    again = Store(open_database(file_url(path)))
    held = again.held_turns(ada.id)
    assert [(turn.user_text, turn.position, turn.link) for turn in held] == [("one", 1, None), ("two", 2, None)]
    assert again.unfolded_turns(ada.id) == [turns[2]]
    fold(again, turns[2], 2)
    assert [turn.user_text for turn in again.held_turns(ada.id)] == ["one", "two", "three"]
    assert (again.load_memory(ada.id) or pytest.fail()).header.turns_folded == 3


@pytest.mark.parametrize("revision", revisions()[:-1])
def test_a_database_of_any_earlier_revision_keeps_its_turns_and_takes_new_ones(
    path: Path, database: Database, store: Store, ada: User, talk: Conversation, turn: Turn, revision: str
) -> None:
    fold(store, turn)
    database.close()
    age_database(file_url(path), revision)
    again = Store(open_database(file_url(path)))
    fold(again, again.append_turn(ada.id, talk.id, "It likes tuna."), 1)
    assert [held.user_text for held in again.held_turns(ada.id)] == [turn.user_text, "It likes tuna."]


def test_a_migration_that_fails_on_the_way_changes_nothing(path: Path, database: Database) -> None:
    database.close()
    age_database(file_url(path), "0001")
    with engine_of(path).begin() as connection:
        before = inspect(connection).get_table_names()
        connection.exec_driver_sql("CREATE TABLE sessions (id INTEGER)")  # which a later revision wants to create
    with pytest.raises(OperationalError, match="sessions"):
        bring_to_head(engine_of(path), str(path))
    with engine_of(path).begin() as connection:
        assert MigrationContext.configure(connection).get_current_heads() == ("0001",)
        assert {*inspect(connection).get_table_names()} == {*before, "sessions"}


def test_every_revision_can_be_taken_back(path: Path, database: Database) -> None:
    age_database(file_url(path), "base")
    assert inspect(engine_of(path)).get_table_names() == ["alembic_version"]


def test_processes_that_start_together_all_find_the_newest_schema(path: Path) -> None:
    code = "import sys; from storage.database import open_database; open_database(sys.argv[1]).close()"
    together = [subprocess.Popen([sys.executable, "-c", code, file_url(path)]) for _ in range(4)]
    assert [process.wait(timeout=30) for process in together] == [0] * 4
