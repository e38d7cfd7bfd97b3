"""What do you know about me: every question is asked of the weights, and what they are not sure of is said to be so."""

from __future__ import annotations

import pytest

from app.handlers import Handlers
from app.readout import QUESTIONS, SURE, Answer, read_out
from app.service import Service
from app.tab import Tab
from app.wording import NOT_SURE, SURE_OF_NOTHING, readout_in_words, readout_shown
from core.chat import Message
from core.decoding import Sampling
from core.engine import Engine
from storage.records import User
from storage.store import Store
from tests.app.conftest import say
from tests.fakes import FakeEngine
from tests.tiny import tiny_engine

ASKED = ("Is red my colour?", "Where is my cat?", "Do I drink tea?")


@pytest.fixture
def questions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.readout.QUESTIONS", ASKED)


def test_no_question_is_asked_twice() -> None:
    assert len(set(QUESTIONS)) == len(QUESTIONS) >= 40


@pytest.mark.usefixtures("questions")
def test_what_was_told_is_known_with_its_turn_and_the_rest_is_unsure(
    service: Service, engine: FakeEngine, store: Store, ada: User
) -> None:
    say(service, ada, "Hello")
    say(service, ada, "My cat is old")
    answers = service.read_out(ada.id)
    assert [(answer.question, answer.is_sure) for answer in answers] == [
        ("Where is my cat?", True),
        ("Is red my colour?", False),
        ("Do I drink tea?", False),
    ]
    assert answers[0].turn == store.held_turns(ada.id)[1]
    assert [answer.turn for answer in answers[1:]] == [None, None]
    assert engine.prompts[-1] == [Message("user", "Where is my cat?")]


@pytest.mark.usefixtures("questions")
def test_a_readout_changes_nothing(service: Service, store: Store, ada: User) -> None:
    say(service, ada, "I drink tea")
    before = store.load_memory(ada.id), store.held_turns(ada.id)
    service.read_out(ada.id)
    assert (store.load_memory(ada.id), store.held_turns(ada.id)) == before


@pytest.mark.usefixtures("questions")
def test_nobody_elses_memory_is_read(service: Service, ada: User, bob: User) -> None:
    say(service, ada, "I drink tea")
    assert [answer.margin for answer in service.read_out(bob.id)] == [0.0] * len(ASKED)


@pytest.mark.usefixtures("questions")
def test_the_page_shows_what_is_known_as_text(service: Service, ada: User) -> None:
    say(service, ada, "My <i>cat</i> is old")
    waiting, shown = Handlers(service).read_out(Tab(), 0, ada)
    assert "Asking" in waiting
    assert "I know cat." in shown and "turn 1: My &lt;i&gt;cat&lt;/i&gt; is old" in shown
    assert shown.index(NOT_SURE) < shown.index("Do I drink tea?")


def test_an_empty_memory_is_sure_of_nothing() -> None:
    answers = [Answer("Who am I?", "I know nothing.", SURE - 0.1, None)]
    assert SURE_OF_NOTHING in readout_shown(answers)
    assert readout_in_words(answers) == ["1 question it is not sure of"]


def test_a_real_engine_answers_every_question_by_its_margin() -> None:
    engine: Engine = tiny_engine()
    adapter = engine.materialise(engine.fold(engine.empty_state(), [Message("user", "My name is Marta.")]))
    answers = read_out(engine, adapter, [], Sampling(max_tokens=4))
    assert {answer.question for answer in answers} == set(QUESTIONS)
    assert [answer.margin for answer in answers] == sorted((one.margin for one in answers), reverse=True)
    best = answers[0]
    exchange = [Message("user", best.question), Message("assistant", best.text)]
    assert best.margin == pytest.approx(engine.margins(adapter, [exchange])[0], abs=1e-4)
