"""The crash benchmark can fail: its check notices what a crash could do to a store."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from sqlalchemy import update

from app.ledger import messages_of
from app.memories import Memories
from app.settings import Settings
from benchmarks.crash import PLACES, Acknowledged, NotRecovered, check, killed, place_of, run, texts_of
from core.engine import Engine
from core.state import State
from storage.database import file_url, open_database
from storage.records import Turn, User
from storage.store import Store
from storage.tables import MemoryRow
from tests.tiny import tiny_engine, tiny_folder


@pytest.fixture(scope="module")
def engine() -> Engine:
    return tiny_engine()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    database = open_database(file_url(tmp_path / "crash.db"))
    yield Store(database)
    database.close()


@pytest.fixture
def ada(store: Store) -> User:
    return store.ensure_user("Ada")


@pytest.fixture
def acknowledged(engine: Engine, store: Store, ada: User) -> list[Acknowledged]:
    """Two turns of Ada, stored and folded as they should be."""
    turns = [say(store, ada, text) for text in ("I like tea.", "My cat is blue.")]
    Memories(store, 0).settle(engine, ada.id)
    return turns


def say(store: Store, user: User, text: str) -> Acknowledged:
    turn = store.append_turn(user.id, store.start_conversation(user.id).id, text)
    store.answer_turn(user.id, turn.id, "I see.")
    return Acknowledged(turn.id, user.name, text)


def put_state(store: Store, user: User, state: State, turns: int) -> None:
    """Store a state and a header as no verb would: what a broken one might have left."""
    blob = state.to_bytes()
    values = {"blob": blob, "digest": hashlib.sha256(blob).hexdigest(), "turns_folded": turns}
    with store._database.write() as session:
        session.execute(update(MemoryRow).where(MemoryRow.user_id == user.id).values(**values))


def state_of(store: Store, user: User) -> State:
    memory = store.load_memory(user.id)
    assert memory is not None
    return State.from_bytes(memory.blob)


def folded_again(engine: Engine, store: Store, user: User) -> State:
    return engine.fold(state_of(store, user), messages_of(store.held_turns(user.id)[-1]))


def turn(number: int, reply: str | None = None, folded_at: float | None = None) -> Turn:
    return Turn(number, 1, 1, "tea", reply, 0.0, None, folded_at, None, None, None, None)


def test_a_sound_store_is_found_good(engine: Engine, store: Store, acknowledged: list[Acknowledged]) -> None:
    findings = check(engine, store, acknowledged)
    assert findings.are_good
    assert (findings.acknowledged, findings.held) == (2, 2)


def test_a_turn_that_is_gone_is_lost(engine: Engine, store: Store, acknowledged: list[Acknowledged]) -> None:
    findings = check(engine, store, [*acknowledged, Acknowledged(99, "Ada", "I have a boat.")])
    assert findings.lost == 1
    assert not findings.are_good


def test_a_turn_of_a_user_who_is_gone_is_lost(engine: Engine, store: Store) -> None:
    assert check(engine, store, [Acknowledged(1, "Bob", "I have a boat.")]).lost == 1


def test_a_turn_with_another_text_is_lost(engine: Engine, store: Store, acknowledged: list[Acknowledged]) -> None:
    changed = [acknowledged[0], acknowledged[1]._replace(text="My cat is red.")]
    assert check(engine, store, changed).lost == 1


def test_a_turn_that_was_not_folded_is_lost_and_waits(
    engine: Engine, store: Store, ada: User, acknowledged: list[Acknowledged]
) -> None:
    findings = check(engine, store, [*acknowledged, say(store, ada, "I have a boat.")])
    assert (findings.lost, findings.waiting) == (1, 1)
    assert not findings.are_good


def test_a_header_that_counts_too_few_is_a_lost_turn(
    engine: Engine, store: Store, ada: User, acknowledged: list[Acknowledged]
) -> None:
    put_state(store, ada, state_of(store, ada), turns=1)
    assert check(engine, store, acknowledged).lost == 1


def test_a_turn_folded_twice_is_noticed(
    engine: Engine, store: Store, ada: User, acknowledged: list[Acknowledged]
) -> None:
    put_state(store, ada, folded_again(engine, store, ada), turns=3)
    findings = check(engine, store, acknowledged)
    assert findings.twice == 1
    assert not findings.are_good


def test_a_turn_folded_twice_is_noticed_also_where_the_header_hides_it(
    engine: Engine, store: Store, ada: User, acknowledged: list[Acknowledged]
) -> None:
    put_state(store, ada, folded_again(engine, store, ada), turns=2)
    findings = check(engine, store, acknowledged)
    assert (findings.lost, findings.twice) == (0, 0)
    assert not findings.are_good


def test_a_turn_stored_twice_is_noticed(
    engine: Engine, store: Store, ada: User, acknowledged: list[Acknowledged]
) -> None:
    say(store, ada, acknowledged[0].text)
    Memories(store, 0).settle(engine, ada.id)
    assert check(engine, store, acknowledged).twice == 1


def test_a_slightly_wrong_state_is_noticed(
    engine: Engine, store: Store, ada: User, acknowledged: list[Acknowledged]
) -> None:
    sums = state_of(store, ada).sums
    off = torch.zeros_like(sums)
    off[0, 0, 0] = 1e-3 * max(1.0, float(sums.abs().max()))
    put_state(store, ada, State(sums + off), turns=2)
    findings = check(engine, store, acknowledged)
    assert findings.difference == pytest.approx(1e-3, rel=0.01)
    assert not findings.are_good


@pytest.mark.parametrize(
    ("place", "before", "after"),
    [
        ("before append", [turn(1, "", 1.0)], [turn(1, "", 1.0)]),
        ("recovering", [turn(1)], [turn(1)]),
        ("replying", [], [turn(1)]),
        ("folding", [], [turn(1, "Yes.")]),
        ("replying and folding", [], [turn(1, "Yes."), turn(2)]),
        ("idle", [turn(1)], [turn(1, "", 1.0), turn(2, "Yes.", 2.0)]),
    ],
)
def test_where_a_kill_hit_shows_in_the_store(place: str, before: list[Turn], after: list[Turn]) -> None:
    assert place_of(before, after) == place


def test_no_text_is_sent_twice() -> None:
    texts = [text for number in range(5) for text in texts_of(0, number)]
    assert len(set(texts)) == len(texts)


def test_a_process_that_ends_by_itself_is_not_taken_for_killed() -> None:
    with pytest.raises(NotRecovered, match="ended before"):
        killed(["true"], "ready", 0)


@pytest.mark.slow
def test_killed_processes_lose_nothing(tmp_path: Path) -> None:
    settings = Settings(model=tiny_folder(tmp_path / "tiny"), device="cpu")
    result, findings = run(settings, kills=2, seed=0)
    assert findings.are_good
    assert findings.acknowledged > 0
    assert sum(result["hits"].values()) == 2
    assert tuple(result["hits"]) == PLACES
