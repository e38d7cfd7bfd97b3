"""After a crash between any two steps of a turn: every acknowledged turn is folded, once."""

from __future__ import annotations

from threading import Event

import pytest
from sqlalchemy import update

from app.service import Service
from app.settings import Settings
from core.state import State
from storage.database import Database
from storage.records import Memory, User
from storage.store import Store
from storage.tables import TurnRow
from tests.app.conftest import loaded, say
from tests.fakes import FakeEngine, counts


def teas(memory: Memory | None) -> int:
    assert memory is not None
    return counts(State.from_bytes(memory.blob))["tea"]


@pytest.fixture
def conversation(store: Store, ada: User) -> int:
    return store.start_conversation(ada.id).id


def test_a_turn_without_a_reply_is_answered_with_nothing_and_folded(
    service: Service, store: Store, ada: User, conversation: int
) -> None:
    store.append_turn(ada.id, conversation, "tea")
    assert service.recover(0) == 1
    [turn] = store.held_turns(ada.id)
    assert turn.reply_text == ""
    assert teas(store.load_memory(ada.id)) == 1


def test_an_answered_turn_keeps_its_reply(service: Service, store: Store, ada: User, conversation: int) -> None:
    turn = store.append_turn(ada.id, conversation, "tea")
    store.answer_turn(ada.id, turn.id, "With milk?")
    service.recover(0)
    assert store.held_turns(ada.id)[0].reply_text == "With milk?"
    assert teas(store.load_memory(ada.id)) == 1


def test_recovering_twice_folds_once(service: Service, store: Store, ada: User, conversation: int) -> None:
    for _ in range(5):
        store.append_turn(ada.id, conversation, "tea")
    assert (service.recover(0), service.recover(0)) == (5, 0)
    assert teas(store.load_memory(ada.id)) == 5


def test_a_message_before_the_recovery_finds_everything_folded(
    service: Service, store: Store, ada: User, conversation: int
) -> None:
    store.append_turn(ada.id, conversation, "tea")
    assert say(service, ada, "What do I drink?")[0] == "I know tea."
    assert service.recover(0) == 0


def test_a_reply_that_another_process_is_writing_is_passed_over(store: Store, ada: User, settings: Settings) -> None:
    engine = FakeEngine(gate=Event())
    writing, second = (Service(store, loaded(one), settings) for one in (engine, FakeEngine()))
    reply = writing.send(ada.id, None, "tea")
    assert second.recover() == 0
    engine.gate.set()
    assert "".join(reply) == "I know nothing."
    reply.remembered.result(timeout=10)
    assert store.held_turns(ada.id)[0].reply_text == "I know nothing."
    writing.close()


def test_so_is_one_to_an_old_turn(
    store: Store, database: Database, ada: User, settings: Settings, conversation: int
) -> None:
    engine = FakeEngine()
    writing, second = (Service(store, loaded(one), settings) for one in (engine, FakeEngine()))
    say(writing, ada, "tea", conversation)
    with database.write() as session:
        session.execute(update(TurnRow).values(created_at=1.0))
    engine.gate = Event()
    reply = writing.retry(ada.id, conversation)
    assert second.recover() == 0
    engine.gate.set()
    reply.remembered.result(timeout=10)
    assert teas(store.load_memory(ada.id)) == 1
    writing.close()


def test_what_was_passed_over_is_folded_with_the_next_message(
    service: Service, store: Store, ada: User, conversation: int
) -> None:
    store.append_turn(ada.id, conversation, "tea")
    assert (service.recover(), service.recover()) == (0, 0)
    say(service, ada, "More tea", conversation)
    assert [turn.reply_text for turn in store.held_turns(ada.id)] == ["", "I know tea."]
    assert teas(store.load_memory(ada.id)) == 2


def test_two_processes_that_recover_at_once_fold_each_turn_once(
    store: Store, ada: User, conversation: int, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):
        store.append_turn(ada.id, conversation, "tea")
    first, second = (Service(store, loaded(FakeEngine()), settings) for _ in range(2))
    outstanding, seen = store.unfolded_turns, Event()

    def meanwhile(user_id: int | None = None) -> object:
        turns = outstanding(user_id)
        if user_id and not seen.is_set():
            seen.set()
            second.recover(0)
        return turns

    monkeypatch.setattr(store, "unfolded_turns", meanwhile)
    first.recover(0)
    assert teas(store.load_memory(ada.id)) == 3


def test_a_memory_that_changes_during_a_fold_is_read_again(
    service: Service, store: Store, engine: FakeEngine, ada: User, conversation: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    later = [store.append_turn(ada.id, conversation, "tea") for _ in range(2)][-1]
    commit, meddled = store.commit_fold, Event()

    def meddling(turn_id: int, user_id: int, version: int, *rest: object) -> Memory:
        if not meddled.is_set():
            meddled.set()
            commit(later.id, user_id, version, *rest)
        return commit(turn_id, user_id, version, *rest)

    monkeypatch.setattr(store, "commit_fold", meddling)
    service.recover(0)
    assert teas(store.load_memory(ada.id)) == 2


def test_one_persons_foreign_memory_does_not_keep_others_from_recovering(
    service: Service, store: Store, ada: User, bob: User, settings: Settings
) -> None:
    say(Service(store, loaded(FakeEngine(fingerprint="0ther" * 12)), settings), ada, "tea")
    for user in (ada, bob):
        store.append_turn(user.id, store.start_conversation(user.id).id, "tea")
    service.recover(0)
    assert teas(store.load_memory(bob.id)) == 1
    assert len(store.unfolded_turns(ada.id)) == 1
