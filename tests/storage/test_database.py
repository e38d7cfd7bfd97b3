"""How a connection behaves: the settings that durability, speed and forgetting rest on."""

import pytest
from sqlalchemy.exc import IntegrityError

from storage.database import Database
from storage.errors import StorageError
from storage.records import User
from storage.store import Store
from storage.tables import TurnRow, UserRow

FULL, ON, IN_MEMORY = 2, 1, 2
SETTINGS = {
    "journal_mode": "wal",
    "synchronous": FULL,
    "foreign_keys": ON,
    "secure_delete": ON,
    "temp_store": IN_MEMORY,
    "busy_timeout": 200,
}


@pytest.mark.parametrize("setting", SETTINGS)
def test_every_connection_is_set_up(database: Database, setting: str) -> None:
    for transaction in (database.read, database.write):
        with transaction() as session:
            [value] = session.connection().exec_driver_sql(f"PRAGMA {setting}").one()
            assert value == SETTINGS[setting]


def test_a_row_that_points_nowhere_is_refused_without_its_text(database: Database) -> None:
    with pytest.raises(StorageError, match="FOREIGN KEY") as refused, database.write() as session:
        session.add(TurnRow(conversation_id=7, user_id=7, user_text="secret", created_at=0.0))
    assert isinstance(refused.value.__cause__, IntegrityError)
    assert "secret" not in str(refused.value.__cause__)


def test_a_transaction_that_fails_changes_nothing(database: Database, store: Store, ada: User) -> None:
    with pytest.raises(ZeroDivisionError), database.write() as session:
        session.add(UserRow(name="Bob", created_at=0.0))
        session.flush()
        raise ZeroDivisionError
    assert store.find_user("Bob") is None


def test_a_reader_sees_one_moment_and_keeps_no_writer_waiting(database: Database, store: Store, ada: User) -> None:
    with database.read() as session:
        assert session.query(UserRow).count() == 1
        store.ensure_user("Bob")
        assert session.query(UserRow).count() == 1
