"""How much of a memory is read: all, a part, none; and a chat that leaves nothing in it."""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from threading import Event

import gradio as gr
import pytest

from app.cli import show_temporarily
from app.errors import BadMessage, BadStrength
from app.guards import SAME, guarded, in_turn
from app.handlers import Handlers
from app.reply import TemporaryChat
from app.service import Service
from app.settings import Settings
from app.tab import Tab
from core.chat import Message
from core.errors import ServerError
from storage.errors import NotFound
from storage.records import Manner, User
from storage.store import Store
from tests.app.conftest import loaded, say
from tests.fakes import FakeEngine


def rows(settings: Settings) -> dict[str, int]:
    """How many rows each table has."""
    with sqlite3.connect(settings.database_url.removeprefix("sqlite:///")) as connection:
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {name: connection.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in tables}


def asked(service: Service, user: User, strength: float | None, conversation_id: int | None = None) -> str:
    reply = service.send(user.id, conversation_id, "Who am I?", None if strength is None else Manner(strength))
    text = "".join(reply)
    reply.remembered.result(timeout=10)
    return text


@pytest.mark.parametrize(("strength", "known"), [(1.0, "ada"), (0.7, "ada"), (0.2, "nothing"), (0.0, "nothing")])
def test_a_reply_reads_so_much_of_the_memory_as_is_asked_for(
    service: Service, ada: User, strength: float, known: str
) -> None:
    say(service, ada, "I am Ada")
    assert asked(service, ada, strength) == f"I know {known}."


def test_a_memory_of_no_strength_is_folded_all_the_same(service: Service, ada: User) -> None:
    service.send(ada.id, None, "I am Ada", Manner(0.0)).remembered.result(timeout=10)
    assert asked(service, ada, 1.0) == "I know ada."


def test_a_conversation_keeps_its_strength_until_it_is_changed(service: Service, ada: User, bob: User) -> None:
    say(service, ada, "I am Ada")
    here = service.send(ada.id, None, "Hello", Manner(0.0)).turn.conversation_id
    assert asked(service, ada, None, here) == "I know nothing."
    assert asked(service, ada, 1.0, here) == "I know ada."
    assert service.manner(ada.id, here).strength == 1.0
    assert service.manner(ada.id, None).strength == 1.0
    with pytest.raises(NotFound):
        service.manner(bob.id, here)


@pytest.mark.parametrize("strength", [-0.1, 1.01, float("nan"), float("inf"), "1", None])
def test_a_strength_that_is_none_is_one_sentence_and_changes_nothing(
    service: Service, settings: Settings, ada: User, strength: float
) -> None:
    before = rows(settings)
    with pytest.raises(BadStrength, match="from 0"):
        service.send_temporarily(ada.id, TemporaryChat(), "Hello", Manner(strength))
    if strength is not None:
        with pytest.raises(BadStrength, match="from 0"):
            service.send(ada.id, None, "Hello", Manner(strength))
    assert rows(settings) == before


def test_a_reply_of_no_strength_is_explained_by_no_turn(service: Service, ada: User) -> None:
    say(service, ada, "I am Ada")
    turn = service.send(ada.id, None, "Who am I?", Manner(0.0))
    turn.remembered.result(timeout=10)
    assert [cause.influence for cause in service.why(ada.id, turn.turn.id)] == [0.0]


def test_without_memory_the_same_message_is_answered_by_the_base_alone(
    service: Service, engine: FakeEngine, ada: User, bob: User
) -> None:
    first = service.send(ada.id, None, "I am Ada")
    first.remembered.result(timeout=10)
    second = service.send(ada.id, first.turn.conversation_id, "Who am I?")
    second.remembered.result(timeout=10)
    read = engine.prompts[-1]
    assert service.reply_without(ada.id, second.turn.id) == "I know nothing."
    assert engine.prompts[-1] == read
    with pytest.raises(NotFound):
        service.reply_without(bob.id, second.turn.id)


def test_a_temporary_chat_reads_the_memory_and_leaves_nothing(
    service: Service, store: Store, settings: Settings, ada: User
) -> None:
    say(service, ada, "I am Ada")
    before, memory = rows(settings), store.load_memory(ada.id)
    chat = TemporaryChat()
    assert "".join(service.send_temporarily(ada.id, chat, "I drink tea")) == "I know ada."
    service.close()
    assert chat.said == [("I drink tea", "I know ada.")]
    assert (rows(settings), store.load_memory(ada.id)) == (before, memory)
    folder = Path(settings.database_url.removeprefix("sqlite:///")).parent
    assert [path.name for path in folder.iterdir() if b"drink tea" in path.read_bytes()] == []


def test_a_temporary_chat_reads_its_own_turns_and_no_other_one_does(
    service: Service, engine: FakeEngine, ada: User
) -> None:
    chat = TemporaryChat()
    for text in ("I drink tea", "And now?"):
        "".join(service.send_temporarily(ada.id, chat, text))
    assert [message.text for message in engine.prompts[-1]] == ["I drink tea", "I know nothing.", "And now?"]
    say(service, ada, "Hello")
    assert engine.prompts[-1] == [Message("user", "Hello")]


def test_a_temporary_chat_need_not_read_the_memory(service: Service, ada: User) -> None:
    say(service, ada, "I am Ada")
    assert "".join(service.send_temporarily(ada.id, TemporaryChat(), "Who am I?", Manner(0.0))) == "I know nothing."


def test_a_stopped_temporary_reply_keeps_what_was_shown(store: Store, settings: Settings, ada: User) -> None:
    engine = FakeEngine(gate=Event())
    service, chat = Service(store, loaded(engine), settings), TemporaryChat()
    stream = service.send_temporarily(ada.id, chat, "Hello")
    assert next(iter(stream)) == "I"
    stream.stop()
    engine.gate.set()
    service.close()
    assert chat.said == [("Hello", "I")]


def breaking(*_: object) -> itertools.chain[str]:
    """A reply of which a piece comes."""

    def rest() -> Iterator[str]:
        raise ServerError("The server of the base does not answer; start it again.")
        yield

    return itertools.chain(["I"], rest())


def test_a_temporary_reply_that_fails_says_so_and_is_no_part_of_the_chat(
    service: Service, engine: FakeEngine, ada: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "reply", breaking)
    here = TemporaryChat([("Hello", "Hi.")])
    for verb in (Handlers(service).retry, partial(Handlers(service).send, content="I drink tea")):
        *_, shown, _ = in_turn(verb, [SAME] * 4)(Tab(), 1, ada, here)
        assert "does not answer" in shown[-1]
        assert here.settled() == [("Hello", "Hi.")]


def test_the_terminal_says_that_a_temporary_reply_failed(
    service: Service, engine: FakeEngine, ada: User, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(engine, "reply", breaking)
    with pytest.raises(ServerError):
        show_temporarily(service.send_temporarily(ada.id, TemporaryChat(), "I drink tea"))
    assert "not remembered" not in capsys.readouterr().out


def test_shutting_down_and_forgetting_end_a_temporary_reply(store: Store, settings: Settings, ada: User) -> None:
    for end in (lambda service: service.forget_everything(ada.id), lambda service: service.close()):
        engine = FakeEngine(pace=0.1)
        service = Service(store, loaded(engine), settings)
        stream = service.send_temporarily(ada.id, TemporaryChat(), "Hello")
        pieces = iter(stream)
        next(pieces)
        end(service)
        assert stream.stopped.is_set()
        assert list(pieces) == []
        service.close()


@pytest.mark.parametrize("text", ["", " ", "x" * 5000, "\x00"])
def test_a_bad_message_is_refused_in_a_temporary_chat_too(service: Service, ada: User, text: str) -> None:
    chat = TemporaryChat()
    with pytest.raises(BadMessage):
        service.send_temporarily(ada.id, chat, text)
    assert chat.said == []


def test_the_page_shows_a_temporary_chat_and_says_that_it_is_not_remembered(
    service: Service, settings: Settings, ada: User
) -> None:
    handlers, before = Handlers(service), rows(settings)
    here, _, empty, *_ = handlers.start_temporarily(ada)
    assert isinstance(here, TemporaryChat)
    assert "Nothing of this is kept" in empty["placeholder"]
    for number, text in enumerate(("<b>tea</b>", "And now?"), 1):
        *_, last = shown = list(handlers.send(Tab(), number, ada, here, text))
    chats = [chat for _, _, chat, _, _ in shown if isinstance(chat, list)]
    assert [message["content"] for message in chats[-1]] == [
        *("&lt;b&gt;tea&lt;/b&gt;", "<p>I know nothing.</p>"),
        *("And now?", "<p>I know nothing.</p>"),
    ]
    assert "Not remembered" in last[-1]
    assert "temporary chat" in handlers.explain(Tab(), 0, ada, here)
    assert "Ready" in handlers.await_model(Tab(), 0, ada, here)[-1]
    assert rows(settings) == before


def test_without_a_name_there_is_no_temporary_chat(service: Service) -> None:
    [shown] = guarded(Handlers(service).start_temporarily, [SAME] * 4)(None)
    assert "Nobody is named yet" in shown[-1]


def test_the_dial_shows_the_strength_of_the_conversation_that_is_opened(service: Service, ada: User) -> None:
    handlers = Handlers(service)
    here = service.send(ada.id, None, "Hello", Manner(0.35))
    here.remembered.result(timeout=10)
    assert handlers.manner_of(ada, here.turn.conversation_id)[0] == 0.35
    assert handlers.manner_of(ada, None)[0] == handlers.manner_of(None, None)[0] == 1.0


def test_a_reply_is_shown_next_to_the_one_without_memory(service: Service, ada: User) -> None:
    say(service, ada, "I am Ada")
    reply = service.send(ada.id, None, "Who am I?")
    reply.remembered.result(timeout=10)
    shown = Handlers(service).explain(Tab(), 0, ada, reply.turn.conversation_id)
    assert "Without memory the reply would be: <q>I know nothing.</q>" in shown


def test_the_page_has_a_dial_that_starts_at_all(page: gr.Blocks) -> None:
    [dial] = [block for block in page.blocks.values() if getattr(block, "elem_id", None) == "strength"]
    assert (dial.minimum, dial.maximum, dial.value) == (0, 1, 1)


def test_what_is_taken_back_while_it_is_written_is_the_turn_that_was_written(
    store: Store, settings: Settings, ada: User
) -> None:
    engine = FakeEngine()
    service, chat = Service(store, loaded(engine), settings), TemporaryChat()
    handlers = Handlers(service)
    "".join(service.send_temporarily(ada.id, chat, "Hello"))
    engine.pace = 0.2
    stream = service.send_temporarily(ada.id, chat, "I drink tea")
    next(iter(stream))
    stream.stop()  # as leaving the page does, before the worker has noted the turn
    assert handlers.take_back(ada, chat)[3]["value"] == "I drink tea"
    assert [said for said, _ in chat.said] == ["Hello"]
    service.close()
