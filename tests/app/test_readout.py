"""What do you know about me: every question is asked of the weights, and what they are not sure of is said to be so."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest

from app.answers import (
    NOT_SURE,
    SURE_OF_NOTHING,
    UNSURE,
    choices_between,
    numbers_in,
    readout_in_words,
    readout_shown,
)
from app.errors import BadMessage
from app.handlers import Handlers
from app.readout import QUESTIONS, SURE, Answer, read_out, superseded
from app.service import Service
from app.tab import Tab
from core.chat import Message
from core.decoding import Sampling
from core.engine import Engine
from core.provenance import Parts
from storage.records import User
from storage.store import Store
from tests.app.conftest import say
from tests.fakes import FakeAdapter, FakeEngine
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
    (_, waiting), (disputes, shown) = Handlers(service).read_out(Tab(), 0, ada)
    assert "Asking" in waiting and not disputes["visible"]
    assert "I know cat." in shown and "turn 1: My &lt;i&gt;cat&lt;/i&gt; is old" in shown
    assert shown.index(NOT_SURE) < shown.index("Do I drink tea?")


class Decided(FakeEngine):
    """Sure of what it says, and of nothing else."""

    def margins(self, adapter: FakeAdapter, exchanges: Sequence[Sequence[Message]]) -> list[float]:
        return [10.0 * (bool(adapter.words) and one[-1].text == f"I know {adapter.words[0]}.") for one in exchanges]

    def reply(self, adapter: FakeAdapter | None, *asked: object) -> Iterator[str]:
        yield f"I know {adapter.words[0]}." if adapter and adapter.words else "I know nothing."


@pytest.mark.usefixtures("questions")
@pytest.mark.parametrize("engine", [Decided()])
def test_the_turn_that_would_be_believed_but_for_another_is_named_and_either_can_be_kept(
    service: Service, store: Store, ada: User
) -> None:
    say(service, ada, "I live in oslo")
    say(service, ada, "I live in vienna")
    oslo, vienna = store.held_turns(ada.id)
    answer = service.read_out(ada.id)[0]
    assert (answer.text, answer.turn) == ("I know vienna.", vienna)
    assert answer.rival and (answer.rival.text, answer.rival.turn) == ("I know oslo.", oslo)
    assert "without it: I know oslo. (from turn 1: I live in oslo)" in readout_shown([answer])
    choices = choices_between([answer, answer])
    assert [numbers_in(choice) for _, choice in choices] == [[oslo.id], [vienna.id]]
    assert superseded([answer, replace(answer, rival=None)]) == {oslo.id: vienna.id}
    assert superseded([replace(answer.rival, rival=answer)]) == {}


@pytest.mark.usefixtures("questions")
@pytest.mark.parametrize("engine", [Decided()])
def test_turns_that_repeat_an_answer_are_left_out_with_the_one_that_told_it(
    service: Service, store: Store, ada: User
) -> None:
    for text in ("I live in oslo", "I live in vienna", "I said vienna"):
        say(service, ada, text)
    oslo, *viennas = store.held_turns(ada.id)
    answer = service.read_out(ada.id)[0]
    assert answer.rival and (answer.rival.text, answer.rival.turn) == ("I know oslo.", oslo)
    assert sorted([answer.turn, *answer.echoes], key=lambda turn: turn.id if turn else 0) == viennas
    (_, keeping), (said, otherwise) = choices_between([answer])
    assert numbers_in(keeping) == [oslo.id] and sorted(numbers_in(otherwise)) == [turn.id for turn in viennas]
    assert "(and 1 turn that repeat it)" in said
    Handlers(service).settle(ada, otherwise)
    assert store.held_turns(ada.id) == [oslo]


@pytest.mark.usefixtures("questions")
@pytest.mark.parametrize("engine", [Decided()])
def test_where_every_turn_says_the_same_none_disagrees(service: Service, ada: User) -> None:
    say(service, ada, "I live in vienna")
    say(service, ada, "My cat is in vienna")
    assert [answer.rival for answer in service.read_out(ada.id)] == [None] * len(ASKED)


def test_questions_of_ones_own_are_all_answered_and_the_unsure_is_said_to_be_so(service: Service, ada: User) -> None:
    say(service, ada, "My cat is old")
    answers = service.read_out(ada.id, ["Do I drink tea?", "Where is my cat?", "Where is my cat?"])
    assert [(one.question, one.is_sure) for one in answers] == [("Where is my cat?", True), ("Do I drink tea?", False)]
    cat, tea = readout_in_words(answers, own=True)
    assert "from turn 1: My cat is old" in cat and UNSURE in tea
    *_, (_, shown) = Handlers(service).probe(Tab(), 0, ada, "Do I drink <b>tea</b>?")
    assert UNSURE in shown and "<b>" not in shown
    with pytest.raises(BadMessage):
        service.read_out(ada.id, ["  "])


@pytest.mark.usefixtures("questions")
def test_the_turns_are_read_once_however_much_is_traced(
    service: Service, engine: FakeEngine, ada: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    for text in ("My cat is red", "I drink tea", "My cat is old", "I like tea"):
        say(service, ada, text)
    read, made = engine.parts, list[int]()

    def counting(turns: Sequence[Sequence[Message]], pinned: Sequence[bool] = ()) -> Parts:
        made.append(len(turns))
        return read(turns, pinned)

    monkeypatch.setattr(engine, "parts", counting)
    assert any(answer.is_sure for answer in service.read_out(ada.id))
    assert made == [4]


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
