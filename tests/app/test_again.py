"""A turn that is answered anew, or taken back: memory rolls back with it, and nothing is lost or doubled."""

from __future__ import annotations

from collections.abc import Iterator
from threading import Event
from typing import Any

import pytest

from app.errors import BadMessage
from app.guards import SAME, in_turn
from app.handlers import Handlers
from app.reply import Reply, TemporaryChat
from app.service import Service
from app.settings import Settings
from app.tab import Tab
from core.decoding import Sampling
from core.errors import ServerError
from core.state import State
from storage.errors import NotFound
from storage.records import Manner, User
from storage.store import Store
from tests.app.conftest import bare, loaded, say
from tests.fakes import FakeEngine, counts


def told(store: Store, user: User) -> dict[str, int]:
    memory = store.load_memory(user.id)
    return {word: count for word, count in counts(State.from_bytes(memory.blob)).items() if count} if memory else {}


def sent(service: Service, user: User, *texts: str) -> Reply:
    """One conversation; its last turn."""
    here = None
    for text in texts:
        reply = service.send(user.id, here, text)
        reply.remembered.result(timeout=10)
        here = reply.turn.conversation_id
    return reply


def test_a_retry_answers_from_the_memory_that_never_saw_the_turn_and_folds_it_once(
    service: Service, store: Store, ada: User
) -> None:
    say(service, ada, "I live in Vienna")
    first = sent(service, ada, "I am Ada", "My cat is red")
    again = service.retry(ada.id, first.turn.conversation_id)
    assert "".join(again) == "I know ada vienna."
    again.remembered.result(timeout=10)
    assert told(store, ada) == {"ada": 1, "vienna": 1, "cat": 1, "red": 1}
    turns = store.held_turns(ada.id)
    assert [turn.user_text for turn in turns] == ["I live in Vienna", "I am Ada", "My cat is red"]
    assert turns[-1].id == first.turn.id
    assert service.verify(ada.id).is_clean


def test_a_retry_reads_what_was_read_before_and_draws_by_chance(
    service: Service, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch, ada: User
) -> None:
    drawn: list[Sampling] = []
    reply = engine.reply

    def noted(adapter: Any, messages: Any, sampling: Sampling, stop: Any) -> Iterator[str]:
        drawn.append(sampling)
        return reply(adapter, messages, sampling, stop)

    monkeypatch.setattr(engine, "reply", noted)
    first = sent(service, ada, "Hello", "Who am I?")
    read = engine.prompts[-1]
    service.retry(ada.id, first.turn.conversation_id).remembered.result(timeout=10)
    service.retry(ada.id, first.turn.conversation_id).remembered.result(timeout=10)
    assert engine.prompts[-1] == engine.prompts[-2] == read
    assert drawn[1].temperature == 0.0 < drawn[2].temperature
    assert drawn[2].seed != drawn[3].seed


def test_a_retry_may_read_another_share_of_the_memory(service: Service, ada: User) -> None:
    say(service, ada, "I am Ada")
    first = sent(service, ada, "Who am I?")
    again = service.retry(ada.id, first.turn.conversation_id, Manner(0.0))
    assert "".join(again) == "I know nothing."
    again.remembered.result(timeout=10)
    assert service.manner(ada.id, first.turn.conversation_id).strength == 0.0


def test_a_crash_during_a_retry_loses_nothing(store: Store, settings: Settings, ada: User) -> None:
    engine = FakeEngine()
    service = Service(store, loaded(engine), settings)
    first = sent(service, ada, "I am Ada")
    engine.gate = Event()
    service.retry(ada.id, first.turn.conversation_id)
    assert [turn.user_text for turn in store.unfolded_turns(ada.id)] == ["I am Ada"]
    assert told(store, ada) == {}
    after = Service(store, loaded(FakeEngine()), settings)  # as if the process had been started anew
    assert after.recover(0) == 1
    assert told(store, ada) == {"ada": 1}
    engine.gate.set()
    service.close()
    assert told(store, ada) == {"ada": 1}


def test_what_is_taken_back_was_never_said(service: Service, store: Store, ada: User) -> None:
    first = sent(service, ada, "I am Ada", "My cat is red")
    assert service.take_back(ada.id, first.turn.conversation_id).user_text == "My cat is red"
    assert told(store, ada) == {"ada": 1}
    assert [turn.user_text for turn in service.load_turns(ada.id, first.turn.conversation_id)] == ["I am Ada"]
    assert service.take_back(ada.id, first.turn.conversation_id).user_text == "I am Ada"
    assert told(store, ada) == {}
    assert service.list_conversations(ada.id) == []
    assert len(service.list_receipts(ada.id)) == 2


def test_only_the_owner_of_a_conversation_can_do_either(service: Service, store: Store, ada: User, bob: User) -> None:
    first = sent(service, ada, "I am Ada")
    for verb in (service.retry, service.take_back):
        with pytest.raises(NotFound):
            verb(bob.id, first.turn.conversation_id)
    assert told(store, ada) == {"ada": 1}


def test_the_page_puts_a_message_that_was_taken_back_into_the_box(service: Service, ada: User) -> None:
    handlers = Handlers(service)
    here = sent(service, ada, "I am Ada", "My cat is red").turn.conversation_id
    conversation, _, chat, box, status = handlers.take_back(ada, here)
    assert (conversation, [bare(message["content"]) for message in chat]) == (
        here,
        ["I am Ada", "<p>I know nothing.</p>"],
    )
    assert box["value"] == "My cat is red"
    assert "forgotten" in status and "1 turn in the weights" in status
    assert handlers.take_back(ada, here)[0] is None
    assert handlers.take_back(ada, None)[0] is None


def test_the_page_answers_anew_in_place(service: Service, ada: User) -> None:
    handlers = Handlers(service)
    say(service, ada, "I am Ada")
    here = sent(service, ada, "Hello", "Who am I?").turn.conversation_id
    shown = list(handlers.retry(Tab(), 1, ada, here))
    chats = [[bare(message["content"]) for message in chat] for _, _, chat, _, _ in shown if isinstance(chat, list)]
    assert chats[0] == ["Hello", "<p>I know ada.</p>", "Who am I?"]
    assert chats[-1] == [*chats[0], "<p>I know ada.</p>"]
    assert "Remembered" in shown[-1][-1]
    assert list(handlers.retry(Tab(), 1, ada, None)) == []


def test_a_temporary_chat_is_answered_anew_and_taken_back_too(service: Service, ada: User) -> None:
    handlers, here = Handlers(service), TemporaryChat()
    assert list(handlers.retry(Tab(), 1, ada, here)) == []
    for text in ("Hello", "Who am I?"):
        list(handlers.send(Tab(), 1, ada, here, text))
    list(handlers.retry(Tab(), 1, ada, here))
    assert here.said == [("Hello", "I know nothing."), ("Who am I?", "I know nothing.")]
    conversation, _, chat, box, _ = handlers.take_back(ada, here)
    assert (conversation, len(chat), box["value"]) == (here, 2, "Who am I?")
    handlers.take_back(ada, here)
    assert handlers.take_back(ada, here)[2] == [] == here.said
    with pytest.raises(NotFound):
        service.retry_temporarily(ada.id, here)


def test_a_retry_while_a_reply_is_written_changes_nothing(service: Service, ada: User) -> None:
    handlers, here, tab = Handlers(service), TemporaryChat([("Hello", "Hi.")]), Tab()
    tab.begin(1)
    assert list(handlers.retry(tab, 2, ada, here)) == []
    assert here.said == [("Hello", "Hi.")]


def failing(*_: Any, **__: Any) -> Any:
    raise ServerError("The server of the base does not answer; start it again.")


LONG = Manner(0.5, "word " * 200)


def test_a_retry_that_is_refused_leaves_the_reply_and_the_dials(service: Service, store: Store, ada: User) -> None:
    here = sent(service, ada, "I am Ada", "My cat is red").turn.conversation_id
    before = store.held_turns(ada.id), store.load_memory(ada.id), service.manner(ada.id, here)
    with pytest.raises(BadMessage, match="message and its instructions have"):
        service.retry(ada.id, here, LONG)
    assert (store.held_turns(ada.id), store.load_memory(ada.id), service.manner(ada.id, here)) == before


def test_a_retry_without_an_adapter_leaves_the_reply(
    service: Service, engine: FakeEngine, store: Store, ada: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = sent(service, ada, "I am Ada", "My cat is red").turn.conversation_id
    before = store.held_turns(ada.id), store.load_memory(ada.id), service.manner(ada.id, here)
    monkeypatch.setattr(engine, "materialise", failing)
    with pytest.raises(ServerError):
        service.retry(ada.id, here, Manner(0.5))
    assert (store.held_turns(ada.id), store.load_memory(ada.id), service.manner(ada.id, here)) == before


def test_a_retry_of_which_nothing_comes_leaves_the_reply_and_is_folded_with_the_next(
    service: Service, engine: FakeEngine, store: Store, ada: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = sent(service, ada, "I am Ada", "My cat is red").turn.conversation_id
    with monkeypatch.context() as patch:
        patch.setattr(engine, "reply", failing)
        assert isinstance(service.retry(ada.id, here).remembered.exception(timeout=10), ServerError)
    assert [turn.reply_text for turn in service.load_turns(ada.id, here)] == ["I know nothing.", "I know ada."]
    say(service, ada, "Hello")
    assert told(store, ada) == {"ada": 1, "cat": 1, "red": 1}
    assert service.verify(ada.id).is_clean


def test_the_page_shows_the_reply_that_a_failed_retry_left(
    service: Service, engine: FakeEngine, ada: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = sent(service, ada, "I am Ada").turn.conversation_id
    monkeypatch.setattr(engine, "reply", failing)
    shown = list(in_turn(Handlers(service).retry, [SAME] * 4)(Tab(), 1, ada, here))
    *_, chat = [chat for _, _, chat, _, _ in shown[:-1] if isinstance(chat, list)]
    assert bare(chat[-1]["content"]) == "<p>I know nothing.</p>"
    assert "does not answer" in shown[-2][-1]


def test_a_temporary_reply_stays_where_its_retry_is_refused(
    service: Service, engine: FakeEngine, ada: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = TemporaryChat([("Hello", "Hi.")])
    with pytest.raises(BadMessage):
        service.retry_temporarily(ada.id, here, LONG)
    assert here.said == [("Hello", "Hi.")]
    monkeypatch.setattr(engine, "reply", failing)
    assert "".join(service.retry_temporarily(ada.id, here)) == ""
    assert here.settled() == [("Hello", "Hi.")]
