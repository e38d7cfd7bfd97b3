"""Bad days: the disk fills up, the clock goes back, a migration is killed. Nothing acknowledged is lost."""

import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from shutil import copy

import pytest
from alembic import command
from sqlalchemy import NullPool

from storage.address import build_engine, for_writing, read_address
from storage.database import file_url, open_database
from storage.errors import DatabaseUnavailable
from storage.records import Conversation, Turn, User
from storage.schema import migration_config
from storage.store import Store
from tests.storage.conftest import fold

KILLS = 12
MIGRATE = """
import sys
from storage.database import open_database

print("ready", flush=True)
open_database(sys.argv[1]).close()
"""


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of one megabyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "imprint", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("no disk can be mounted here")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_disk_that_fills_up_loses_nothing_and_the_work_goes_on_once_there_is_room(small_disk: Path) -> None:
    ballast, url = small_disk / "ballast", file_url(small_disk / "imprint.db")
    ballast.write_bytes(bytes(300_000))
    database = open_database(url, timeout=1.0)
    store = Store(database)
    user = store.ensure_user("Ada")
    talk, kept, version = store.start_conversation(user.id), list[Turn](), 0
    with pytest.raises(DatabaseUnavailable, match="disk is full") as refused:
        while True:
            turn = store.append_turn(user.id, talk.id, f"{len(kept)} " + "words " * 500)
            kept.append(turn)
            version = fold(store, turn, version, os.urandom(20_000)).version
    assert "\n" not in str(refused.value)
    there = [turn.id for turn in store.load_turns(user.id, talk.id)]
    assert version > 0 and there[: len(kept)] == [turn.id for turn in kept]
    held = [turn.user_text for turn in store.held_turns(user.id)]
    assert held == [turn.user_text for turn in kept[:version]]
    memory = store.load_memory(user.id)
    assert memory and memory.version == version
    ballast.unlink()
    for turn in store.unfolded_turns():
        version = fold(store, turn, version).version
    assert len(store.held_turns(user.id)) == len(store.load_turns(user.id, talk.id)) == version
    database.close()
    assert Store(open_database(url)).find_user("Ada") == user


def test_a_clock_that_goes_back_changes_no_order(
    store: Store, ada: User, talk: Conversation, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = iter(range(2_000_000_000, 0, -1000))
    monkeypatch.setattr(time, "time", lambda: float(next(now)))
    turns = [store.append_turn(ada.id, talk.id, text) for text in ("one", "two", "three")]
    for version, turn in enumerate(turns):
        fold(store, turn, version)
    assert [turn.user_text for turn in store.load_turns(ada.id, talk.id)] == ["one", "two", "three"]
    assert [turn.user_text for turn in store.held_turns(ada.id)] == ["one", "two", "three"]
    later = store.start_conversation(ada.id)
    store.append_turn(ada.id, later.id, "four")
    assert [one.id for one in store.list_conversations(ada.id)] == [later.id, talk.id]
    first = store.forget_everything(ada.id)
    second = store.forget_everything(ada.id)
    assert [one.id for one in store.list_receipts(ada.id)] == [second.id, first.id]


def test_a_migration_that_is_killed_is_done_or_not_begun(tmp_path: Path) -> None:
    old = tmp_path / "old.db"
    database = open_database(file_url(old))
    store = Store(database)
    user = store.ensure_user("Ada")
    talk = store.start_conversation(user.id)
    for version in range(200):
        fold(store, store.append_turn(user.id, talk.id, f"turn {version}"), version)
    database.close()
    engine = for_writing(build_engine(read_address(file_url(old)), 1.0, NullPool))
    with engine.begin() as connection:
        command.downgrade(migration_config(connection), "0001")
    rng, cut = random.Random(0), 0
    for number in range(KILLS):
        path = tmp_path / f"{number}.db"
        copy(old, path)
        with subprocess.Popen([sys.executable, "-c", MIGRATE, file_url(path)], stdout=subprocess.PIPE) as process:
            assert process.stdout and process.stdout.readline() == b"ready\n"
            time.sleep(rng.uniform(0, 0.15))
            process.kill()
        cut += process.returncode != 0
        again = open_database(file_url(path))
        assert [turn.user_text for turn in Store(again).held_turns(user.id)] == [f"turn {n}" for n in range(200)]
        again.close()
    assert cut
