"""Every database that cannot be used is refused with one sentence, and left as it was."""

import os
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from storage.database import Database, file_url, open_database
from storage.errors import DatabaseUnavailable, NewerSchema, NotADatabase, StorageError
from storage.faults import translated
from storage.records import User
from storage.schema import revisions
from storage.store import Store
from tests.storage.conftest import TIMEOUT, file_digests

NOBODY = 65534


def refusal(url: str, kind: type[StorageError]) -> str:
    with pytest.raises(kind) as refused:
        open_database(url, timeout=TIMEOUT).close()
    message = str(refused.value)
    assert message.startswith("The ")
    assert message.endswith(".")
    assert "\n" not in message
    return message


def write_sql(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()


@pytest.fixture
def unprivileged_folder() -> Iterator[Path]:
    """A folder of our own, as a user whom file permissions bind, which root is not."""
    was = os.geteuid()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if was == 0:
            os.chown(folder, NOBODY, -1)
            os.seteuid(NOBODY)
        try:
            yield folder
        finally:
            os.seteuid(was)
            folder.chmod(0o700)


def test_a_missing_folder_is_made(tmp_path: Path) -> None:
    path = tmp_path / "one" / "two" / "imprint.db"
    open_database(file_url(path)).close()
    assert path.is_file()
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_any_path_makes_a_url(tmp_path: Path) -> None:
    path = tmp_path / "50%41 ?#@é" / "imprint.db"
    open_database(file_url(path)).close()
    assert path.is_file()


def test_a_locked_database_is_refused_at_opening(path: Path, database: Database) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        message = refusal(file_url(path), DatabaseUnavailable)
    assert f"{path} is locked by another process" in message


def test_a_locked_database_can_be_read_and_not_written(path: Path, store: Store, ada: User) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert store.find_user("Ada") == ada
        with pytest.raises(DatabaseUnavailable, match="locked by another process"):
            store.start_conversation(ada.id)
    store.start_conversation(ada.id)


def test_a_read_only_file_is_refused(unprivileged_folder: Path) -> None:
    path = unprivileged_folder / "imprint.db"
    open_database(file_url(path)).close()
    path.chmod(0o400)
    before = path.read_bytes()
    assert f"{path} is read-only" in refusal(file_url(path), DatabaseUnavailable)
    assert path.read_bytes() == before
    assert path.with_name("imprint.db-wal").read_bytes() == b""


def test_a_read_only_folder_is_refused(unprivileged_folder: Path) -> None:
    path = unprivileged_folder / "imprint.db"
    open_database(file_url(path)).close()
    before = file_digests(unprivileged_folder)
    unprivileged_folder.chmod(0o500)
    assert str(path) in refusal(file_url(path), DatabaseUnavailable)
    assert file_digests(unprivileged_folder) == before


def test_a_folder_in_which_nothing_may_be_written_is_refused(unprivileged_folder: Path) -> None:
    unprivileged_folder.chmod(0o500)
    path = unprivileged_folder / "imprint.db"
    assert f"{path} cannot be opened" in refusal(file_url(path), DatabaseUnavailable)


def test_a_folder_that_cannot_be_made_is_refused(unprivileged_folder: Path) -> None:
    unprivileged_folder.chmod(0o500)
    folder = unprivileged_folder / "data"
    assert f"The folder {folder}" in refusal(file_url(folder / "imprint.db"), DatabaseUnavailable)


def test_a_folder_in_place_of_the_file_is_refused(tmp_path: Path) -> None:
    assert "check that it is a file" in refusal(file_url(tmp_path), DatabaseUnavailable)


@pytest.mark.parametrize("content", [b"These are notes, not a database.\n" * 9, b"xy", b"\0" * 5_000])
def test_a_file_that_is_not_a_database_is_refused_and_kept(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    assert f"{path} is not a database file" in refusal(file_url(path), NotADatabase)
    assert {file.name: file.read_bytes() for file in path.parent.iterdir()} == {path.name: content}


def test_a_damaged_database_is_refused_and_kept(path: Path) -> None:
    open_database(file_url(path)).close()
    path.write_bytes(path.read_bytes()[:4096] + b"\xff" * 40_000)
    before = file_digests(path.parent)
    assert "is damaged" in refusal(file_url(path), NotADatabase)
    assert file_digests(path.parent) == before


def test_another_programs_database_is_refused_and_kept(path: Path) -> None:
    write_sql(path, "CREATE TABLE recipes (name TEXT)")
    before = file_digests(path.parent)
    assert "tables of another program" in refusal(file_url(path), NotADatabase)
    assert file_digests(path.parent) == before


def test_an_empty_file_becomes_a_database(path: Path) -> None:
    path.touch()
    open_database(file_url(path)).close()
    assert path.read_bytes().startswith(b"SQLite format 3")


def test_a_newer_schema_is_refused_and_both_revisions_are_named(path: Path) -> None:
    open_database(file_url(path)).close()
    write_sql(path, "UPDATE alembic_version SET version_num = '9999'")
    before = file_digests(path.parent)
    message = refusal(file_url(path), NewerSchema)
    assert "9999" in message
    assert revisions()[-1] in message
    assert file_digests(path.parent) == before


@pytest.mark.parametrize(
    "url",
    [
        "",
        "imprint.db",
        "nosuch://here",
        "postgresql://ada:s3cret@host:port/name",
        "postgresql+nosuch://ada:s3cret@host/name",
        "postgresql:/ada:s3cret@host",
        "oracle+cx_oracle://ada:s3cret@host/name",
        "sqlite+aiosqlite:///imprint.db",
        "sqlite:///imprint.db?timeout=soon",
        "sqlite:///im%00print.db",
        "sqlite:///im\ud800print.db",
    ],
)
def test_an_address_that_names_no_database_is_refused_without_its_password(url: str) -> None:
    message = refusal(url, DatabaseUnavailable)
    assert "address" in message
    assert "s3cret" not in message


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "sqlite:///file:x?mode=memory&uri=true"])
def test_a_database_that_would_forget_is_refused(url: str) -> None:
    assert "nothing would be kept" in refusal(url, DatabaseUnavailable)


def test_a_full_disk_is_named(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection, pytest.raises(DatabaseUnavailable, match="the disk is full"):
        connection.execute("PRAGMA max_page_count = 1")
        with translated(str(path)):
            connection.execute("CREATE TABLE turns (user_text TEXT)")
