"""Forgetting: nothing of it is left in any file, nothing of it comes back, and nobody else notices."""

import random
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from storage.errors import DatabaseUnavailable, NotFound
from storage.records import Conversation, Forgotten, Turn, User
from storage.store import Store
from tests.storage.conftest import BLOB, fold


def occurrences(path: Path, marker: str) -> int:
    return sum(file.read_bytes().count(marker.encode()) for file in path.parent.iterdir())


def chat(store: Store, user: User, talk: Conversation, numbers: random.Random) -> None:
    """One turn of any length, often answered and folded, so that rows grow, move and leave copies behind."""
    marker = f"Marker-{user.name}-"
    turn = store.append_turn(user.id, talk.id, marker * numbers.choice([1, 3, 20, 60]))
    if numbers.random() < 0.9:
        store.answer_turn(user.id, turn.id, marker * numbers.choice([1, 10, 60, 100]))
    if numbers.random() < 0.8:
        memory = store.load_memory(user.id)
        fold(store, turn, memory.version if memory else 0, marker.encode() * numbers.choice([1, 5, 20]))


def chat_in_turns(store: Store, ada: User, bob: User, seed: int) -> None:
    numbers = random.Random(seed)
    talks = [(user, store.start_conversation(user.id)) for user in (ada, bob)]
    for _ in range(200):
        chat(store, *numbers.choice(talks), numbers)


# Without VACUUM each of these leaves text of Ada's in the file; most other seeds do not.
@pytest.mark.parametrize("seed", [3, 9, 29])
def test_what_was_forgotten_is_in_no_file(store: Store, path: Path, ada: User, bob: User, seed: int) -> None:
    chat_in_turns(store, ada, bob, seed)
    assert occurrences(path, "Marker-Ada-") > 0
    store.forget_everything(ada.id)
    assert {file.name for file in path.parent.iterdir()} >= {"imprint.db", "imprint.db-wal", "imprint.db-shm"}
    assert occurrences(path, "Marker-Ada-") == 0
    assert occurrences(path, "Marker-Bob-") > 0


def test_forgetting_counts_what_it_removed(store: Store, ada: User, turn: Turn) -> None:
    store.answer_turn(ada.id, turn.id, "é")
    fold(store, turn)
    assert store.forget_everything(ada.id) == Forgotten(1, 1, len(turn.user_text) + 2 + len(BLOB))
    assert store.forget_everything(ada.id) == Forgotten(0, 0, 0)


def test_forgetting_leaves_the_user_and_all_others(store: Store, ada: User, bob: User, turn: Turn) -> None:
    other = store.append_turn(bob.id, store.start_conversation(bob.id).id, "Hello.")
    memory = fold(store, other)
    store.forget_everything(ada.id)
    assert store.find_user("Ada") == ada
    assert (store.list_conversations(ada.id), store.held_turns(ada.id)) == ([], [])
    assert store.load_memory(bob.id) == memory


def test_a_fold_computed_before_the_forgetting_does_not_come_back(store: Store, ada: User, turn: Turn) -> None:
    store.forget_everything(ada.id)
    with pytest.raises(NotFound):
        fold(store, turn)
    assert store.load_memory(ada.id) is None


def test_numbers_are_never_used_again(store: Store, ada: User, turn: Turn) -> None:
    version = fold(store, turn).version
    store.forget_everything(ada.id)
    talk = store.start_conversation(ada.id)
    later = store.append_turn(ada.id, talk.id, "Afresh.")
    assert talk.id > turn.conversation_id
    assert later.id > turn.id
    assert fold(store, later).version > version


def test_an_unknown_user_has_nothing_to_forget(store: Store) -> None:
    with pytest.raises(NotFound, match="no user 7"):
        store.forget_everything(7)


def test_a_reader_that_stays_is_named_and_forgetting_again_finishes(
    store: Store, path: Path, ada: User, turn: Turn
) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT user_text FROM turns").fetchall()
        with pytest.raises(DatabaseUnavailable, match="forget once more"):
            store.forget_everything(ada.id)
        assert store.unfolded_turns(ada.id) == []
        reader.execute("ROLLBACK")
    store.forget_everything(ada.id)
    assert occurrences(path, turn.user_text) == 0
