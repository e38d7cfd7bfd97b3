"""Snapshots outlive the disk: whole or not there, only after a change, without what was forgotten; and come back."""

from __future__ import annotations

import logging
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from pydantic import SecretStr

from app import bootstrap
from app.errors import SettingsError
from app.service import Service
from app.settings import Settings, load_settings
from app.snapshots import NAME, Snapshots, Source
from storage.database import Database, file_url, open_database
from storage.errors import DatabaseUnavailable, Sealed
from storage.records import User
from storage.store import Store
from tests.app.commands import ROOT, launch, one_sentence
from tests.app.conftest import say
from tests.app.test_cli import FAKE

KILLED = """
import os, sys
from pathlib import Path
from app.snapshots import Snapshots, Source
from storage.database import open_database
url, folder, workshop = sys.argv[1:]
os.fsync = lambda _: os._exit(9)
Snapshots(Source(open_database(url).copy_to, lambda: 1), Path(folder), Path(workshop)).save()
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "bucket"
    made.mkdir()
    return made


@pytest.fixture
def keeping(settings: Settings, folder: Path) -> Settings:
    """The settings of a server that keeps snapshots."""
    return settings.model_copy(update={"snapshot_folder": folder})


@pytest.fixture
def snapshots(database: Database, folder: Path, tmp_path: Path) -> Iterator[Snapshots]:
    with database.watched() as version:
        yield Snapshots(Source(database.copy_to, version), folder, tmp_path / "workshop")


def texts_in(snapshot: Path, key: bytes | None = None) -> list[str]:
    """What was said according to a snapshot, which is copied, so that nothing is opened in the folder."""
    with TemporaryDirectory() as elsewhere:
        database = open_database(file_url(Path(shutil.copy(snapshot, elsewhere))), master=key)
        store = Store(database)
        owners = [person.user.id for person in store.list_people()]
        talks = [(owner, talk.id) for owner in owners for talk in store.list_conversations(owner)]
        try:
            return [turn.user_text for talk in sorted(talks) for turn in store.load_turns(*talk)]
        finally:
            database.close()


def soon(there: Callable[[], bool]) -> bool:
    """Whether something is so within some seconds."""
    for _ in range(200):
        with suppress(OSError):
            if there():
                return True
        time.sleep(0.05)
    return False


def test_a_snapshot_is_written_only_after_a_change(
    snapshots: Snapshots, service: Service, ada: User, folder: Path, tmp_path: Path
) -> None:
    say(service, ada, "I am Ada")
    assert (snapshots.save(), snapshots.save()) == (True, False)
    before = (folder / NAME).stat().st_ino
    service.held_turns(ada.id)
    assert not snapshots.save() and (folder / NAME).stat().st_ino == before
    say(service, ada, "I drink tea")
    assert snapshots.save()
    assert texts_in(folder / NAME) == ["I am Ada", "I drink tea"]
    assert [path.name for path in folder.iterdir()] == [NAME] and not (tmp_path / "workshop").exists()
    assert stat.S_IMODE((folder / NAME).stat().st_mode) == 0o600


def test_a_change_by_another_process_is_one(snapshots: Snapshots, ada: User, tmp_path: Path) -> None:
    snapshots.save()
    with sqlite3.connect(tmp_path / "imprint.db") as other:
        other.execute("UPDATE users SET name = 'Eve'")
    other.close()
    assert snapshots.save()


def test_a_kill_before_the_last_step_leaves_the_snapshot_before_and_the_next_one_cleans_up(
    snapshots: Snapshots, service: Service, ada: User, folder: Path, tmp_path: Path
) -> None:
    say(service, ada, "I am Ada")
    snapshots.save()
    say(service, ada, "I drink tea")
    place = [file_url(tmp_path / "imprint.db"), str(folder), str(tmp_path / "workshop")]
    assert subprocess.run([sys.executable, "-c", KILLED, *place], cwd=ROOT, check=False).returncode == 9
    assert (folder / f"{NAME}.new").exists() and (tmp_path / "workshop").exists()
    assert texts_in(folder / NAME) == ["I am Ada"]
    assert snapshots.save()
    assert texts_in(folder / NAME) == ["I am Ada", "I drink tea"]
    assert [path.name for path in folder.iterdir()] == [NAME] and not (tmp_path / "workshop").exists()


def test_what_is_forgotten_is_soon_in_no_file_of_the_folder(
    service: Service, database: Database, ada: User, bob: User, folder: Path, keeping: Settings
) -> None:
    def holds(text: bytes) -> bool:
        return any(text in path.read_bytes() for path in folder.iterdir())

    say(service, ada, "I drink tea from Vienna")
    say(service, bob, "I live in Oslo")
    with bootstrap.snapshots_of(database, keeping):  # the next round is five minutes away
        assert soon(lambda: holds(b"tea from") and holds(b"in Oslo"))
        service.forget_turns(ada.id, [1])
        assert soon(lambda: not holds(b"tea from")) and holds(b"in Oslo")
        service.delete_account(bob.id)
        assert soon(lambda: not holds(b"in Oslo")) and not holds(b"Bob")


def test_the_last_snapshot_is_written_when_all_is_stored(keeping: Settings, folder: Path) -> None:
    with bootstrap.opened(keeping) as database, bootstrap.snapshots_of(database, keeping):
        assert soon((folder / NAME).exists)
        Store(database).ensure_user("Ada")
    assert b"Ada" in (folder / NAME).read_bytes()


def test_a_folder_that_is_gone_is_a_warning_and_the_next_attempt_may_do(
    snapshots: Snapshots, service: Service, ada: User, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    say(service, ada, "I drink tea")
    shutil.rmtree(folder)
    folder.write_text("not a folder")
    snapshots.attempt()
    [record] = caplog.records
    assert record.levelno == logging.WARNING and str(folder) in record.message and "tea" not in record.message
    folder.unlink()
    folder.mkdir()
    snapshots.attempt()
    assert texts_in(folder / NAME) == ["I drink tea"]


def test_a_database_that_cannot_be_copied_is_a_warning_too(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def locked(_: Path) -> None:
        raise DatabaseUnavailable("The database is locked.")

    Snapshots(Source(locked, lambda: 1), folder, tmp_path / "workshop").attempt()
    assert "is locked" in caplog.text and list(folder.iterdir()) == []


def test_a_new_database_begins_with_the_snapshot_and_one_that_is_there_does_not(
    snapshots: Snapshots, service: Service, ada: User, folder: Path, tmp_path: Path, keeping: Settings
) -> None:
    say(service, ada, "I am Ada")
    snapshots.save()
    anew = keeping.model_copy(update={"database_url": file_url(tmp_path / "anew" / "imprint.db")})
    for more in ("Bob", "Cid"):
        with bootstrap.opened(anew) as database:
            assert [turn.user_text for turn in Store(database).held_turns(ada.id)] == ["I am Ada"]
            Store(database).ensure_user(more)
    with bootstrap.opened(anew) as database:
        assert {person.user.name for person in Store(database).list_people()} == {"Ada", "Bob", "Cid"}
    with bootstrap.opened(keeping) as database:
        assert {person.user.name for person in Store(database).list_people()} == {"Ada"}


def test_a_sealed_database_is_sealed_in_the_folder_and_opens_with_its_key_alone(
    folder: Path, keeping: Settings
) -> None:
    sealed = keeping.model_copy(update={"master_key": SecretStr("0f" * 32)})
    with bootstrap.opened(sealed) as database, bootstrap.snapshots_of(database, sealed):
        user = (store := Store(database)).ensure_user("Ada")
        store.append_turn(user.id, store.start_conversation(user.id).id, "I drink tea from Vienna")
    assert b"tea from" not in (folder / NAME).read_bytes()
    assert texts_in(folder / NAME, sealed.master) == ["I drink tea from Vienna"]
    with pytest.raises(Sealed):
        texts_in(folder / NAME)


def test_a_snapshot_that_is_none_ends_the_start_and_stays(folder: Path, tmp_path: Path, keeping: Settings) -> None:
    (folder / NAME).write_bytes(b"not a database, but a text of some length")
    with pytest.raises(SettingsError, match=r"bucket/imprint.db is not restored.*not a database"):
        bootstrap.opened(keeping).__enter__()
    assert (folder / NAME).read_bytes().startswith(b"not") and not (tmp_path / "imprint.db").exists()


@pytest.mark.parametrize(
    ("database", "where", "said"),
    [
        (None, "nowhere", "no folder that can be written to"),
        (None, "file", "no folder that can be written to"),
        ("postgresql://imprint@127.0.0.1/imprint", "", "is for a SQLite file"),
    ],
)
def test_what_cannot_be_kept_up_is_one_sentence_at_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, database: str | None, where: str, said: str
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("IMPRINT_SNAPSHOT_FOLDER", str(tmp_path / where))
    with pytest.raises(SettingsError, match=said) as refused:
        load_settings(model=tmp_path, database_url=database or file_url(tmp_path / "imprint.db"))
    assert "\n" not in str(refused.value) and "IMPRINT_SNAPSHOT_FOLDER" in str(refused.value)


def test_a_server_that_is_terminated_leaves_all_it_has_in_the_folder(
    service: Service, ada: User, keeping: Settings, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    say(service, ada, "I am Ada")
    monkeypatch.setenv("IMPRINT_SNAPSHOT_FOLDER", str(folder))
    flags = ["--port", "17867", "--model", str(tmp_path), "--database", keeping.database_url]
    command = [sys.executable, "-c", FAKE, "fa4e" * 16, *flags]
    server = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert server.stdout and b"Imprint is at" in server.stdout.readline()
    assert soon((folder / NAME).exists)
    say(service, ada, "I drink tea")
    server.send_signal(signal.SIGTERM)
    assert (server.communicate(timeout=20), server.returncode) == ((b"", b""), 0)
    assert texts_in(folder / NAME) == ["I am Ada", "I drink tea"]


def test_a_file_without_its_snapshot_folder_starts_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMPRINT_SNAPSHOT_FOLDER", str(tmp_path / "nowhere"))
    code, _, err = launch("people", "--model", tmp_path, "--database", file_url(tmp_path / "imprint.db"))
    assert (code, one_sentence(err)) == (2, True)
    assert not (tmp_path / "imprint.db").exists()
