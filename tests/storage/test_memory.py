"""The memory: each turn is folded once, no fold is lost, and damage is noticed."""

import hashlib
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from random import Random

import pytest
from sqlalchemy import update

from storage.database import Database, open_database
from storage.errors import AlreadyFolded, CorruptMemory, DatabaseUnavailable, MemoryChanged, NotFound
from storage.records import (
    SNAPSHOT_EVERY,
    Conversation,
    Packed,
    Rewriting,
    Turn,
    User,
    is_worth_keeping,
)
from storage.rows import lock_user
from storage.store import Store
from storage.tables import MemoryRow
from tests.storage.conftest import BLOB, MASTER, fold, packed

THREADS = 8
WRITERS, TURNS = 8, 1000


def test_without_a_fold_there_is_no_memory(store: Store, ada: User) -> None:
    assert store.load_memory(ada.id) is None
    assert store.memory_version(ada.id) == 0


def test_a_fold_stores_the_state_and_marks_its_turn(store: Store, ada: User, turn: Turn) -> None:
    memory = fold(store, turn)
    assert store.load_memory(ada.id) == memory
    assert (memory.version, memory.blob, memory.header.turns_folded) == (1, BLOB, 1)
    assert memory.header.digest == hashlib.sha256(BLOB).hexdigest()
    [held] = store.held_turns(ada.id)
    assert (held.folded_at, held.fold_seconds, held.tokens) == (memory.updated_at, 0.5, 12)
    assert (held.position, held.link, store.last_link(ada.id)) == (1, "l1nk", "l1nk")
    assert store.unfolded_turns() == []


def test_a_turn_is_folded_once(store: Store, ada: User, turn: Turn) -> None:
    memory = fold(store, turn)
    with pytest.raises(AlreadyFolded, match=str(turn.id)):
        fold(store, turn, memory.version, b"again")
    assert store.load_memory(ada.id) == memory


@pytest.mark.parametrize("stale", [0, 2])
def test_a_state_computed_from_another_version_is_refused(
    store: Store, ada: User, talk: Conversation, turn: Turn, stale: int
) -> None:
    memory = fold(store, turn)
    later = store.append_turn(ada.id, talk.id, "Another.")
    with pytest.raises(MemoryChanged, match=f"at version 1 and not at {stale}"):
        fold(store, later, stale)
    assert store.load_memory(ada.id) == memory
    assert store.unfolded_turns(ada.id) == [later]


def test_unfolded_turns_are_those_of_every_user_oldest_first(store: Store, turn: Turn, bob: User) -> None:
    other = store.append_turn(bob.id, store.start_conversation(bob.id).id, "Hello.")
    assert store.unfolded_turns() == [turn, other]
    assert store.unfolded_turns(bob.id) == [other]


def test_a_rebuilt_state_replaces_the_old_one(store: Store, ada: User, turn: Turn) -> None:
    fold(store, turn)
    memory = store.replace_memory(ada.id, 1, Rewriting(Packed(b"rebuilt", "beef", 2), {turn.id: "new"}))
    assert store.held_turns(ada.id)[0].link == store.last_link(ada.id) == "new"
    assert (memory.version, memory.header.fingerprint, memory.header.format_version) == (2, "beef", 2)
    assert store.load_memory(ada.id) == memory


def test_a_rebuild_from_a_forgotten_memory_cannot_come_back(store: Store, ada: User, turn: Turn) -> None:
    stale = fold(store, turn)
    store.forget_everything(ada.id)
    fold(store, store.append_turn(ada.id, store.start_conversation(ada.id).id, "Afresh."))
    with pytest.raises(MemoryChanged):
        store.replace_memory(ada.id, stale.version, Rewriting(packed(b"forgotten"), {}))


def test_a_rebuild_of_other_turns_than_are_held_changes_nothing(store: Store, ada: User, turn: Turn) -> None:
    memory = fold(store, turn)
    with pytest.raises(MemoryChanged, match="Other turns are held"):
        store.replace_memory(ada.id, 1, Rewriting(packed(b"rebuilt"), {}))
    assert store.load_memory(ada.id) == memory


def test_the_ledger_is_in_the_order_of_folding(store: Store, ada: User, talk: Conversation, turn: Turn) -> None:
    later = store.append_turn(ada.id, talk.id, "Another.")
    fold(store, turn, fold(store, later).version)
    assert [held.id for held in store.held_turns(ada.id)] == [later.id, turn.id]


def test_an_unknown_user_has_no_memory_to_replace(store: Store) -> None:
    with pytest.raises(NotFound):
        store.replace_memory(7, 0, Rewriting(packed(b"x"), {}))


@pytest.mark.parametrize("column", ["blob", "digest"])
def test_a_change_of_one_bit_is_noticed(path: Path, store: Store, ada: User, turn: Turn, column: str) -> None:
    memory = fold(store, turn)
    changed = {"blob": bytes([BLOB[0] ^ 1]) + BLOB[1:], "digest": memory.header.digest[:-1] + "x"}
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"UPDATE memories SET {column} = ?", (changed[column],))
        connection.commit()
    with pytest.raises(CorruptMemory, match="does not match its digest"):
        store.load_memory(ada.id)


def test_a_corrupt_memory_can_be_rebuilt(path: Path, store: Store, ada: User, turn: Turn) -> None:
    fold(store, turn)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE memories SET blob = x'00'")
        connection.commit()
    memory = store.replace_memory(ada.id, store.memory_version(ada.id), Rewriting(packed(b"rebuilt"), {turn.id: "new"}))
    assert store.load_memory(ada.id) == memory


def fold_until_it_counts(store: Store, turn: Turn) -> None:
    """What a careful caller does: compute from the memory that was read, and start over when it has changed."""
    while True:
        memory = store.load_memory(turn.user_id)
        total = int(memory.blob) if memory else 0
        try:
            fold(store, turn, memory.version if memory else 0, b"%d" % (total + 1))
        except MemoryChanged:
            continue
        return


def in_threads(work: Callable[[int], object]) -> None:
    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(work, range(THREADS)))


WRITER = """
import sys
from storage.database import open_database
from storage.errors import MemoryChanged
from storage.records import Folding, Packed
from storage.store import Store

store = Store(open_database(sys.argv[1], timeout=60.0, master=bytes.fromhex(sys.argv[3])))
user = store.ensure_user("Ada")
talk = store.start_conversation(user.id)
for _ in range(int(sys.argv[2])):
    turn = store.append_turn(user.id, talk.id, "x")
    while True:  # as a careful caller: compute from the memory that was read, and start over when it has changed
        memory = store.load_memory(user.id)
        total = b"%d" % (1 + (int(memory.blob) if memory else 0))
        try:
            version, packed = memory.version if memory else 0, Packed(total, "f", 1)
            store.commit_fold(turn.id, user.id, version, packed, Folding(0.1, 9, "link"))
        except MemoryChanged:
            continue
        break
"""


@pytest.mark.slow
def test_no_update_of_eight_writers_is_lost(store: Store, url: str, kind: str, ada: User) -> None:
    turns = TURNS if kind == "sqlite" else TURNS // 5  # enough for them to meet; where they lock, the others are slower
    command = [sys.executable, "-c", WRITER, url, str(turns // WRITERS), MASTER.hex() if kind == "sealed" else ""]
    writers = [subprocess.Popen(command) for _ in range(WRITERS)]
    assert [writer.wait(timeout=300) for writer in writers] == [0] * WRITERS
    memory = store.load_memory(ada.id)
    assert memory and (int(memory.blob), memory.version, memory.header.turns_folded) == (turns,) * 3
    assert len(store.held_turns(ada.id)) == turns
    assert [talk.turns for talk in store.list_conversations(ada.id)] == [turns // WRITERS] * WRITERS


@pytest.fixture
def patient(store: Store, url: str, kind: str) -> Iterator[Database]:
    """The same database for many at once, of whom one waits for the others: longer than the tests of a lock."""
    opened = open_database(url, timeout=60.0, master=MASTER if kind == "sealed" else None)
    yield opened
    opened.close()


def test_one_turn_offered_by_eight_threads_is_folded_exactly_once(patient: Database, turn: Turn) -> None:
    refused: list[Exception] = []

    def work(_: int) -> None:
        try:
            fold_until_it_counts(Store(patient), turn)
        except AlreadyFolded as error:
            refused.append(error)

    in_threads(work)
    assert len(refused) == THREADS - 1
    assert Store(patient).load_memory(turn.user_id) is not None


def test_every_flipped_bit_of_a_state_is_found(store: Store, database: Database, ada: User, turn: Turn) -> None:
    fold(store, turn)
    rng = Random(0)
    for _ in range(1000):
        place, bit = rng.randrange(len(BLOB)), 1 << rng.randrange(8)
        damaged = BLOB[:place] + bytes([BLOB[place] ^ bit]) + BLOB[place + 1 :]
        with database.write() as session:
            session.execute(update(MemoryRow).values(blob=damaged))
        with pytest.raises(CorruptMemory):
            store.load_memory(ada.id)


@pytest.mark.parametrize("size", [0, 1, len(BLOB) // 2, len(BLOB) - 1])
def test_a_state_cut_short_is_found(store: Store, database: Database, ada: User, turn: Turn, size: int) -> None:
    fold(store, turn)
    with database.write() as session:
        session.execute(update(MemoryRow).values(blob=BLOB[:size]))
    with pytest.raises(CorruptMemory):
        store.load_memory(ada.id)


def test_a_writer_waits_for_another_one_no_longer_than_it_should(
    store: Store, database: Database, ada: User, talk: Conversation
) -> None:
    with database.write() as session:
        lock_user(session, ada.id)
        with pytest.raises(DatabaseUnavailable):
            store.append_turn(ada.id, talk.id, "me too")
    assert store.append_turn(ada.id, talk.id, "now").user_text == "now"


def test_states_on_the_way_are_few_and_fewer_the_older_they_are(store: Store, ada: User, talk: Conversation) -> None:
    version, count = 0, 9 * SNAPSHOT_EVERY
    for number in range(count):
        version = fold(store, store.append_turn(ada.id, talk.id, f"{number}"), version).version
    kept, before = [], version + 1
    while snapshot := store.load_snapshot(ada.id, before, "f00d"):
        kept.append(snapshot.turns)
        before = snapshot.position
    assert [turns // SNAPSHOT_EVERY for turns in kept] == [9, 8, 6, 4]
    assert store.load_snapshot(ada.id, version + 1, "0ther") is None


@pytest.mark.parametrize("newest", [1, 31, 32, 33, 64, 1000, 12345])
def test_what_is_worth_keeping_is_never_far_before_a_change(newest: int) -> None:
    kept = [turns for turns in range(1, newest + 1) if is_worth_keeping(turns, newest)]
    assert len(kept) <= 2 * newest.bit_length()
    for changed in range(1, newest + 1):
        back, start = newest - changed, max((turns for turns in kept if turns < changed), default=0)
        assert newest - start <= 3 * back + 3 * SNAPSHOT_EVERY
