"""How a conversation is answered: instructions before everything else, and how freely words are chosen."""

from __future__ import annotations

import pytest

from app.errors import BadMessage
from app.handlers import Handlers
from app.reply import TemporaryChat
from app.service import Service
from app.settings import Settings
from app.tab import Tab
from core.chat import Message
from storage.errors import NotFound
from storage.records import Manner, User
from tests.app.conftest import say
from tests.app.test_strength import rows
from tests.fakes import FakeEngine

PIRATE = Message("system", "Talk like a pirate.")


def test_instructions_are_read_before_everything_else_and_stay_with_their_conversation(
    service: Service, engine: FakeEngine, ada: User, bob: User
) -> None:
    manner = Manner(instructions=f"  {PIRATE.text} ", temperature=0.5)
    first = service.send(ada.id, None, "I am Ada", manner)
    first.remembered.result(timeout=10)
    here = first.turn.conversation_id
    service.send(ada.id, here, "Who am I?").remembered.result(timeout=10)
    service.retry(ada.id, here).remembered.result(timeout=10)
    service.send(ada.id, None, "Elsewhere").remembered.result(timeout=10)
    texts = [[message.text for message in prompt] for prompt in engine.prompts]
    said = [PIRATE.text, "I am Ada", "I know nothing.", "Who am I?"]
    assert texts == [said[:2], said, said, ["Elsewhere"]]
    assert all(prompt[0] == PIRATE for prompt in engine.prompts[:3])
    assert service.manner(ada.id, here) == Manner(1.0, PIRATE.text, 0.5)
    with pytest.raises(NotFound):
        service.manner(bob.id, here)


def test_why_a_reply_came_is_asked_after_the_same_instructions(service: Service, engine: FakeEngine, ada: User) -> None:
    say(service, ada, "I live in vienna")
    reply = service.send(ada.id, None, "Where do I live?", Manner(instructions=PIRATE.text))
    reply.remembered.result(timeout=10)
    service.why(ada.id, reply.turn.id)
    service.reply_without(ada.id, reply.turn.id)
    assert [prompt[0] for prompt in engine.prompts[-2:]] == [PIRATE, PIRATE]


def test_instructions_are_not_folded(service: Service, engine: FakeEngine, ada: User) -> None:
    service.send(ada.id, None, "I am Ada", Manner(instructions=PIRATE.text)).remembered.result(timeout=10)
    assert [[message.role for message in fold] for fold in engine.folds] == [["user", "assistant"]]


def test_a_temporary_chat_reads_instructions_and_keeps_none(
    service: Service, engine: FakeEngine, settings: Settings, ada: User
) -> None:
    before, here = rows(settings), TemporaryChat()
    for _ in service.send_temporarily(ada.id, here, "Hello", Manner(instructions=PIRATE.text)):
        pass
    for _ in service.retry_temporarily(ada.id, here, Manner(instructions=PIRATE.text)):
        pass
    assert engine.prompts == [[PIRATE, Message("user", "Hello")]] * 2
    assert rows(settings) == before


@pytest.mark.parametrize(
    ("manner", "reason"),
    [
        (Manner(temperature=2.1), "temperature"),
        (Manner(temperature=float("nan")), "temperature"),
        (Manner(instructions="a\x00b"), "control code"),
        (Manner(instructions="a" * 4001), "4,001 characters"),
        (Manner(instructions="word " * 300), "message and its instructions have 301 tokens"),
    ],
)
def test_a_manner_that_is_none_is_one_sentence_and_changes_nothing(
    service: Service, settings: Settings, ada: User, manner: Manner, reason: str
) -> None:
    before = rows(settings)
    with pytest.raises(BadMessage, match=reason):
        service.send(ada.id, None, "Hello", manner)
    assert rows(settings) == before


def test_the_page_shows_the_manner_of_the_conversation_that_is_opened(service: Service, ada: User) -> None:
    handlers = Handlers(service)
    *_, last = handlers.send(Tab(), 1, ada, None, "Hello", "", 0.35, PIRATE.text, 0.7)
    assert "Remembered" in last[-1]
    (talk,) = service.list_conversations(ada.id)
    assert handlers.open_conversation(ada, talk.id)[:4] == (0.35, PIRATE.text, 0.7, talk.id)
    for nobody in ((ada, None), (None, None)):
        assert handlers.open_conversation(*nobody)[:4] == (*handlers.usual, None) == (1.0, "", 0.0, None)
