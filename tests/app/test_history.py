"""A past that is changed: the memory is, bit for bit, the one that was told so from the start, and cheaply so."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from app.ledger import messages_of
from app.reply import TemporaryChat
from app.service import Service
from app.settings import Settings
from core.engine import Engine
from core.state import State
from storage.errors import NotFound
from storage.records import Turn, User
from storage.store import Store
from tests.app.conftest import say
from tests.app.test_ledger import change
from tests.fakes import FakeEngine

TEXTS = ["I am Ada", "I live in Vienna", "My cat is red", "I drink tea", "My dog is big", "I like Oslo", "It rains"]


@pytest.fixture(autouse=True)
def _snapshots_are_close_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("storage.records.SNAPSHOT_EVERY", 2)


@pytest.fixture
def talked(service: Service, store: Store, ada: User) -> list[Turn]:
    for text in TEXTS:
        say(service, ada, text)
    return store.held_turns(ada.id)


def stored(store: Store, user: User) -> bytes:
    memory = store.load_memory(user.id)
    assert memory
    return memory.blob


@pytest.mark.parametrize("gone", range(len(TEXTS)))
def test_a_turn_forgotten_anywhere_was_never_there(
    remembering: Service, store: Store, ada: User, bob: User, real: Engine, gone: int
) -> None:
    for text in TEXTS:
        say(remembering, ada, text)
    turns = store.held_turns(ada.id)
    remembering.forget_turns(ada.id, [turns[gone].id])
    state = real.empty_state()
    for turn in store.held_turns(ada.id):
        state = real.fold(state, messages_of(turn))
    assert stored(store, ada) == state.to_bytes()
    assert remembering.verify(ada.id).is_clean


def test_forgetting_a_late_turn_folds_only_what_came_after_the_last_kept_state(
    service: Service, engine: FakeEngine, ada: User, talked: list[Turn]
) -> None:
    engine.folds.clear()
    service.forget_turns(ada.id, [talked[5].id])
    assert [messages[0].text for messages in engine.folds] == [TEXTS[4], TEXTS[6]]


def test_states_on_the_way_are_kept_anew_after_a_change(
    service: Service, engine: FakeEngine, ada: User, talked: list[Turn]
) -> None:
    service.forget_turns(ada.id, [talked[0].id])
    engine.folds.clear()
    service.forget_turns(ada.id, [talked[6].id])
    assert [messages[0].text for messages in engine.folds] == [TEXTS[5]]
    assert service.verify(ada.id).is_clean


def test_no_state_on_the_way_outlives_what_was_forgotten(
    service: Service, store: Store, engine: FakeEngine, ada: User, talked: list[Turn]
) -> None:
    assert store.load_snapshot(ada.id, 99, engine.fingerprint)
    service.forget_everything(ada.id)
    assert store.load_snapshot(ada.id, 99, engine.fingerprint) is None


def test_a_state_on_the_way_that_was_damaged_is_not_used(
    service: Service, store: Store, engine: FakeEngine, ada: User, talked: list[Turn], settings: Settings
) -> None:
    change(settings, "UPDATE snapshots SET blob = zeroblob(8)")
    service.forget_turns(ada.id, [talked[5].id])
    assert service.verify(ada.id).is_clean


def test_a_pinned_turn_does_not_fade(remembering: Service, store: Store, ada: User, real: Engine) -> None:
    for text in TEXTS:
        say(remembering, ada, text)
    turns = store.held_turns(ada.id)
    faded = stored(store, ada)
    remembering.pin(ada.id, turns[1].id, True)
    state = State.from_bytes(stored(store, ada))
    alone = real.fold(real.empty_state(), messages_of(turns[1]))
    assert state.pinned is not None
    assert state.pinned.equal(alone.sums)
    assert remembering.verify(ada.id).is_clean
    assert [turn.pinned for turn in store.held_turns(ada.id)] == [turn.id == turns[1].id for turn in turns]
    say(remembering, ada, "more")
    later = State.from_bytes(stored(store, ada))
    assert later.pinned is not None
    assert later.pinned.equal(alone.sums)
    remembering.forget_turns(ada.id, [store.held_turns(ada.id)[-1].id])
    remembering.pin(ada.id, turns[1].id, False)
    assert stored(store, ada) == faded


def test_a_corrected_turn_was_told_so_from_the_start(
    service: Service, store: Store, ada: User, bob: User, talked: list[Turn]
) -> None:
    receipt = service.correct(ada.id, talked[1].id, "I live in Oslo")
    for text in TEXTS:
        say(service, bob, "I live in Oslo" if text == TEXTS[1] else text)
    assert stored(store, ada) == stored(store, bob)
    turn = store.held_turns(ada.id)[1]
    assert (turn.user_text, turn.reply_text) == ("I live in Oslo", "I know ada.")
    assert turn.tokens == store.held_turns(bob.id)[1].tokens
    assert (receipt.turns, receipt.conversations) == (1, 0)
    assert service.verify(ada.id).is_clean


def test_nothing_of_a_corrected_turn_is_left_in_any_file(
    service: Service, store: Store, ada: User, settings: Settings
) -> None:
    say(service, ada, "I live in Quxville")
    service.correct(ada.id, store.held_turns(ada.id)[0].id, "I live in Vienna")
    folder = Path(settings.database_url.removeprefix("sqlite:///")).parent
    assert not [file for file in folder.iterdir() if file.is_file() and b"Quxville" in file.read_bytes()]


OTHERS: dict[str, Callable[[Service, int, int], object]] = {
    "pin": lambda service, user, turn: service.pin(user, turn, True),
    "correct": lambda service, user, turn: service.correct(user, turn, "mine now"),
    "as it was": lambda service, user, turn: service.changes_since(user, turn),
}


@pytest.mark.parametrize("verb", OTHERS)
def test_nobody_changes_anothers_past(
    service: Service, store: Store, ada: User, bob: User, talked: list[Turn], verb: str
) -> None:
    before = stored(store, ada)
    with pytest.raises(NotFound):
        OTHERS[verb](service, bob.id, talked[0].id)
    assert stored(store, ada) == before
    assert store.held_turns(ada.id) == talked


def test_what_changed_since_a_turn_is_what_is_answered_otherwise(
    service: Service, ada: User, talked: list[Turn]
) -> None:
    changes = service.changes_since(ada.id, talked[0].id)
    assert [change.before.question for change in changes] == ["What is my dog's name?", "What is my cat's name?"]
    assert [(change.before.is_sure, change.after.is_sure) for change in changes] == [(False, True)] * 2
    assert service.changes_since(ada.id, talked[-1].id) == []


def test_a_temporary_chat_can_read_the_memory_as_it_was(service: Service, ada: User, talked: list[Turn]) -> None:
    stream = service.send_temporarily(ada.id, TemporaryChat(as_of=talked[1].id), "What do you know?")
    assert "".join(stream) == "I know ada vienna."
