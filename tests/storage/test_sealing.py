"""Sealed at rest: nothing plain in the files, no other key opens it, and a forgotten person's key is gone."""

import sqlite3
from pathlib import Path

import pytest

from storage.database import Database, file_url, open_database
from storage.errors import CorruptMemory, Sealed
from storage.records import Folding, Manner, Packed
from storage.store import Store

ONE, OTHER = bytes(range(32)), bytes(32)
SAID, REPLIED, STATE = "My cat is called Miso.", "Miso is a fine name.", b"state-of-miso" * 50


def opened(path: Path, master: bytes | None) -> Store:
    return Store(open_database(file_url(path), master=master))


def tell(store: Store) -> int:
    user = store.ensure_user("Ada")
    turn = store.append_turn(user.id, store.start_conversation(user.id).id, SAID)
    store.answer_turn(user.id, turn.id, REPLIED)
    store.commit_fold(turn.id, user.id, store.memory_version(user.id), Packed(STATE, "f", 1), Folding(0.1, 9, "link"))
    store.rename_conversation(user.id, turn.conversation_id, "About Miso")
    store.set_manner(user.id, turn.conversation_id, Manner(instructions="Speak as Miso would."))
    return user.id


def plain_in(folder: Path) -> list[str]:
    found = [path for path in folder.iterdir() for text in (b"Miso", b"state-of-miso") if text in path.read_bytes()]
    return [path.name for path in found]


def test_what_is_sealed_is_read_as_it_was_and_is_nowhere_plain(tmp_path: Path) -> None:
    store = opened(tmp_path / "i.db", ONE)
    user = tell(store)
    assert plain_in(tmp_path) == []
    (turn,) = store.held_turns(user)
    memory = store.load_memory(user)
    assert (turn.user_text, turn.reply_text, memory and memory.blob) == (SAID, REPLIED, STATE)
    assert [talk.title for talk in store.list_conversations(user, "MISO")] == ["About Miso"]
    assert store.list_conversations(user, "Rex") == []
    assert store.load_manner(user, turn.conversation_id).instructions == "Speak as Miso would."


def test_what_was_plain_is_sealed_once_there_is_a_key(tmp_path: Path) -> None:
    user = tell(opened(tmp_path / "i.db", None))
    assert plain_in(tmp_path)
    store = opened(tmp_path / "i.db", ONE)
    assert (store.unlock(), store.unlock()) == (1, 0)
    assert plain_in(tmp_path) == []
    assert [turn.user_text for turn in store.held_turns(user)] == [SAID]


@pytest.mark.parametrize(("key", "remedy"), [(OTHER, "another key"), (None, "set IMPRINT_MASTER_KEY")])
def test_another_key_or_none_opens_nothing_and_changes_nothing(tmp_path: Path, key: bytes | None, remedy: str) -> None:
    user = tell(opened(tmp_path / "i.db", ONE))
    store = opened(tmp_path / "i.db", key)
    for verb in (store.unlock, lambda: store.held_turns(user), lambda: store.load_memory(user)):
        with pytest.raises(Sealed, match=remedy):
            verb()
    assert [turn.user_text for turn in opened(tmp_path / "i.db", ONE).held_turns(user)] == [SAID]


def test_the_master_key_can_be_changed(tmp_path: Path) -> None:
    user = tell(opened(tmp_path / "i.db", ONE))
    both = Store(open_database(file_url(tmp_path / "i.db"), master=OTHER, old_master=ONE))
    assert [turn.user_text for turn in both.held_turns(user)] == [SAID]
    assert (both.unlock(), both.unlock()) == (0, 0)
    store = opened(tmp_path / "i.db", OTHER)
    store.unlock()
    assert [turn.user_text for turn in store.held_turns(user)] == [SAID]
    with pytest.raises(Sealed, match="another key"):
        opened(tmp_path / "i.db", ONE).unlock()


def test_what_a_crash_left_plain_is_erased_by_the_next_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tell(opened(tmp_path / "i.db", None))
    with monkeypatch.context() as crash, pytest.raises(KeyboardInterrupt):
        crash.setattr(Database, "erase_traces", lambda self: (_ for _ in ()).throw(KeyboardInterrupt))
        opened(tmp_path / "i.db", ONE).unlock()
    assert plain_in(tmp_path)
    assert opened(tmp_path / "i.db", ONE).unlock() == 0
    assert plain_in(tmp_path) == []


def test_a_changed_state_is_named_as_one_that_can_be_rebuilt(tmp_path: Path) -> None:
    store = opened(tmp_path / "i.db", ONE)
    user = tell(store)
    with sqlite3.connect(tmp_path / "i.db") as connection:
        connection.execute("UPDATE memories SET blob = zeroblob(3)")
    with pytest.raises(CorruptMemory, match="rebuild the memory"):
        store.load_memory(user)


def test_what_is_damaged_is_forgotten_with_everything(tmp_path: Path) -> None:
    store = opened(tmp_path / "i.db", ONE)
    user = tell(store)
    tell(store)
    with sqlite3.connect(tmp_path / "i.db") as connection:
        connection.execute("UPDATE turns SET user_text = 'x' || user_text WHERE id = 1")
    with pytest.raises(Sealed):
        store.held_turns(user)
    assert store.forget_everything(user).turns == 2
    assert store.held_turns(user) == []


def test_forgetting_a_person_destroys_the_key(tmp_path: Path) -> None:
    store = opened(tmp_path / "i.db", ONE)
    user = tell(store)
    with sqlite3.connect(tmp_path / "i.db") as connection:
        (key,) = connection.execute("SELECT sealed_key FROM users").fetchone()
    store.forget_everything(user)
    assert not [path for path in tmp_path.iterdir() if key in path.read_bytes()]
    tell(store)
    assert plain_in(tmp_path) == []


def test_nothing_sealed_can_be_put_in_anothers_place(tmp_path: Path) -> None:
    store = opened(tmp_path / "i.db", ONE)
    user = tell(store)
    with sqlite3.connect(tmp_path / "i.db") as connection:
        connection.execute("UPDATE turns SET user_text = reply_text")
    with pytest.raises(Sealed, match="was changed"):
        store.held_turns(user)
