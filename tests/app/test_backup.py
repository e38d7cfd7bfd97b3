"""A backup holds everything kept, is made while Imprint runs, and comes back whole or not at all."""

from __future__ import annotations

import shutil
import stat
from pathlib import Path

import pytest

from app.service import Service
from storage.database import Database, file_url, open_database, restore_database
from storage.errors import DatabaseUnavailable
from storage.records import User
from storage.store import Store
from tests.app.commands import launch, one_sentence
from tests.app.conftest import say


def test_a_backup_holds_every_turn_and_memory(
    service: Service, database: Database, store: Store, ada: User, tmp_path: Path
) -> None:
    say(service, ada, "I am Ada")
    copy = tmp_path / "copy.db"
    database.copy_to(copy)
    say(service, ada, "I drink tea")
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    opened = open_database(file_url(copy))
    again = Store(opened)
    assert again.held_turns(ada.id) == store.held_turns(ada.id)[:1]
    assert again.load_memory(ada.id) is not None
    opened.close()


def test_what_was_forgotten_is_in_no_backup(service: Service, database: Database, ada: User, tmp_path: Path) -> None:
    say(service, ada, "I drink tea from Vienna")
    service.forget_everything(ada.id)
    database.copy_to(tmp_path / "copy.db")
    assert b"tea from" not in (tmp_path / "copy.db").read_bytes()


def test_nothing_that_is_there_is_written_over(database: Database, tmp_path: Path) -> None:
    kept = tmp_path / "kept.txt"
    kept.write_text("mine")
    with pytest.raises(DatabaseUnavailable, match="exists"):
        database.copy_to(kept)
    assert kept.read_text() == "mine"
    with pytest.raises(DatabaseUnavailable, match="no such file"):
        database.copy_to(tmp_path / "nowhere" / "copy.db")


def test_a_backup_comes_back_and_its_memories_verify(tmp_path: Path) -> None:
    url, copy, other = file_url(tmp_path / "a.db"), tmp_path / "copy.db", file_url(tmp_path / "b.db")
    launch("chat", "--user", "Ada", "--model", tmp_path, "--database", url, lines=b"I am Ada\n")
    assert "Wrote" in launch("backup", copy, "--database", url)[1]
    before = copy.read_bytes()
    assert "Restored" in launch("restore", copy, "--database", other)[1]
    assert copy.read_bytes() == before
    verified = launch("memory", "verify", "--user", "Ada", "--model", tmp_path, "--database", other)
    assert (verified[0], "Clean: 1 turn" in verified[1]) == (0, True)
    code, _, err = launch("restore", copy, "--database", other)
    assert code == 1 and "exists" in err and one_sentence(err)


def test_nothing_is_restored_beside_the_log_of_another_database(
    store: Store, database: Database, tmp_path: Path
) -> None:
    store.ensure_user("Ada")
    database.copy_to(tmp_path / "copy.db")
    shutil.copy(tmp_path / "imprint.db-wal", tmp_path / "new.db-wal")  # SQLite would play it into what is restored
    with pytest.raises(DatabaseUnavailable, match=r"new.db-wal is left"):
        restore_database(tmp_path / "copy.db", file_url(tmp_path / "new.db"))
    assert not (tmp_path / "new.db").exists()


@pytest.mark.parametrize("content", [b"not a database, but a text of some length", None])
def test_what_is_no_backup_is_one_sentence_and_changes_nothing(tmp_path: Path, content: bytes | None) -> None:
    file, target = tmp_path / "file.db", tmp_path / "b.db"
    if content:
        file.write_bytes(content)
    code, _, err = launch("restore", file, "--database", file_url(target))
    assert code in (1, 2) and one_sentence(err)
    assert [path for path in tmp_path.iterdir() if path != file] == []
