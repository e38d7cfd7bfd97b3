"""Forgetting: nothing of it is left in any file, nothing of it comes back, and nobody else notices."""

import random
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import select

from storage.database import Database
from storage.errors import DatabaseUnavailable, MemoryChanged, NotFound
from storage.records import Conversation, Receipt, Rewriting, Turn, User
from storage.store import Store
from storage.tables import ReceiptRow
from tests.storage.conftest import fold, packed


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
    memory = store.load_memory(ada.id)
    assert memory is not None
    gone, nothing = store.forget_everything(ada.id), store.forget_everything(ada.id)
    assert (gone.turns, gone.conversations, gone.text_bytes) == (1, 1, len(turn.user_text) + 2)
    assert (gone.digest_before, gone.digest_after) == (memory.header.digest, "")
    assert (nothing.turns, nothing.conversations, nothing.text_bytes, nothing.digest_before) == (0, 0, 0, "")


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


def test_a_person_is_deleted_with_everything_and_the_others_stay(
    store: Store, ada: User, bob: User, turn: Turn
) -> None:
    fold(store, turn)
    store.add_key(ada.id, "a" * 64, "key")
    store.set_secret(ada.id, "hash")
    store.open_session(ada.id, "b" * 64, 2e9, "hash")
    store.forget_turns(ada.id, {turn.id}, 1, Rewriting(packed(b"x"), {}))
    store.delete_user(ada.id)
    assert (store.find_user("Ada"), store.find_user("Bob")) == (None, bob)
    assert (store.owner_of_key("a" * 64), store.owner_of_session("b" * 64)) == (None, None)
    assert store.list_receipts(ada.id) == [] and store.load_memory(ada.id) is None
    assert [one.user for one in store.list_people()] == [bob]
    assert store.ensure_user("Ada").id > bob.id
    with pytest.raises(NotFound):
        store.delete_user(ada.id)


def test_of_a_deleted_person_no_file_holds_anything(store: Store, path: Path, ada: User, turn: Turn) -> None:
    fold(store, turn, blob=b"all that Miso is" * 9)
    store.delete_user(ada.id)
    store.erase_deleted()
    assert not [file for file in path.parent.iterdir() for gone in (b"Miso", b"Ada") if gone in file.read_bytes()]


def test_people_are_listed_with_what_is_kept_of_them(store: Store, ada: User, bob: User, turn: Turn) -> None:
    memory = fold(store, turn)
    first, second = store.list_people()
    assert (first.user, first.turns, first.last_turn_at, first.opens_with) == (ada, 1, turn.created_at, "name")
    assert first.memory_bytes >= len(memory.blob)
    assert (second.user, second.turns, second.memory_bytes, second.last_turn_at) == (bob, 0, 0, None)


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


def folded_pair(store: Store, ada: User, talk: Conversation, turn: Turn) -> tuple[Turn, Turn]:
    """Two turns in two conversations, both held; the first has text of its own to look for."""
    later = store.append_turn(ada.id, store.start_conversation(ada.id).id, "Keep this.")
    fold(store, later, fold(store, turn).version)
    return turn, later


def test_one_turn_is_forgotten_with_its_conversation_and_the_other_stays(
    store: Store, path: Path, ada: User, talk: Conversation, turn: Turn
) -> None:
    gone, kept = folded_pair(store, ada, talk, turn)
    receipt = store.forget_turns(ada.id, {gone.id}, 2, Rewriting(packed(b"without"), {kept.id: "new"}))
    assert (receipt.turns, receipt.conversations, receipt.text_bytes) == (1, 1, len(gone.user_text))
    [held] = store.held_turns(ada.id)
    assert (held.id, held.link) == (kept.id, "new")
    assert [talk.id for talk in store.list_conversations(ada.id)] == [kept.conversation_id]
    memory = store.load_memory(ada.id)
    assert memory is not None
    assert (memory.blob, memory.version, memory.header.turns_folded) == (b"without", 3, 1)
    assert memory.header.digest == receipt.digest_after
    assert occurrences(path, gone.user_text) == 0
    assert occurrences(path, kept.user_text) > 0


def test_a_conversation_with_turns_left_stays(store: Store, ada: User, talk: Conversation, turn: Turn) -> None:
    later = store.append_turn(ada.id, talk.id, "Keep this.")
    fold(store, later, fold(store, turn).version)
    receipt = store.forget_turns(ada.id, {turn.id}, 2, Rewriting(packed(b"x"), {later.id: "new"}))
    assert receipt.conversations == 0
    assert store.load_turns(ada.id, talk.id) == store.held_turns(ada.id)


WRONG = {
    "a turn of nobody": ({7, 1}, 2, {2: "new"}, NotFound),
    "an older version": ({1}, 1, {2: "new"}, MemoryChanged),
    "a link too few": ({1}, 2, {}, MemoryChanged),
    "a link too many": ({1}, 2, {1: "old", 2: "new"}, MemoryChanged),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_forgetting_that_is_not_right_changes_nothing(
    store: Store, ada: User, talk: Conversation, turn: Turn, wrong: str
) -> None:
    folded_pair(store, ada, talk, turn)
    before = store.held_turns(ada.id), store.load_memory(ada.id), store.list_conversations(ada.id)
    ids, version, links, error = WRONG[wrong]
    with pytest.raises(error):
        store.forget_turns(ada.id, ids, version, Rewriting(packed(b"x"), links))
    assert (store.held_turns(ada.id), store.load_memory(ada.id), store.list_conversations(ada.id)) == before
    assert store.list_receipts(ada.id) == []


def test_nobody_forgets_anothers_turn(store: Store, ada: User, bob: User, turn: Turn) -> None:
    fold(store, turn)
    with pytest.raises(NotFound):
        store.forget_turns(bob.id, {turn.id}, 0, Rewriting(packed(b"x"), {}))
    assert len(store.held_turns(ada.id)) == 1


def test_receipts_are_kept_newest_first_and_hold_no_text(store: Store, path: Path, ada: User, turn: Turn) -> None:
    fold(store, turn)
    first, second = store.forget_everything(ada.id), store.forget_everything(ada.id)
    assert store.list_receipts(ada.id) == [second, first]
    assert not any(isinstance(value, str) and turn.user_text in value for value in vars(first).values())
    assert isinstance(first, Receipt)


def test_what_a_crash_left_in_the_files_is_erased_by_the_next_start(
    store: Store, database: Database, path: Path, ada: User, turn: Turn, monkeypatch: pytest.MonkeyPatch
) -> None:
    fold(store, turn)
    with monkeypatch.context() as patch:
        patch.setattr(database, "erase_traces", lambda: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            store.forget_everything(ada.id)
    assert occurrences(path, turn.user_text) > 0
    store.finish_erasing()
    assert occurrences(path, turn.user_text) == 0


def test_a_receipt_is_marked_only_where_the_files_are_erased(
    store: Store, database: Database, kind: str, ada: User, turn: Turn
) -> None:
    store.forget_everything(ada.id)
    store.finish_erasing()
    with database.read() as session:
        marked = session.scalars(select(ReceiptRow.erased_at)).one() is not None
    assert marked == (kind != "postgresql")


def test_nothing_is_written_anew_where_nothing_is_left_to_erase(
    store: Store, database: Database, ada: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.forget_everything(ada.id)
    monkeypatch.setattr(database, "erase_traces", lambda: pytest.fail("the files were clean"))
    store.finish_erasing()


@pytest.mark.usefixtures("path")
@pytest.mark.parametrize(("another_ends", "times"), [(False, 2), (True, 3)])
def test_who_is_deleted_during_an_erasing_is_erased_by_the_next(
    store: Store,
    database: Database,
    ada: User,
    bob: User,
    monkeypatch: pytest.MonkeyPatch,
    another_ends: bool,
    times: int,
) -> None:
    erase, erased = database.erase_traces, list[str]()

    def meanwhile() -> None:
        erase()
        erased.append("once more")
        if len(erased) == 1:
            if another_ends:
                store.erase_deleted()
            store.delete_user(bob.id)

    monkeypatch.setattr(database, "erase_traces", meanwhile)
    store.delete_user(ada.id)
    for _ in range(3):
        store.erase_deleted()
    assert len(erased) == times
