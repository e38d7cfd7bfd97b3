"""Turns as tokens: which of them are targets, and which count more."""

from __future__ import annotations

from collections.abc import Iterable
from random import Random

import pytest

from tests.tiny import tiny_tokenizer
from tests.training.small import CITY, small_author
from training.codec import BOTH, REPLY, VALUE_WEIGHT, Codec, Window
from training.corpora import Turn
from training.facts import Fact, Question


@pytest.fixture(scope="module")
def codec() -> Codec:
    return Codec(tiny_tokenizer())


def decoded(window: Window, places: Iterable[int]) -> str:
    return str(tiny_tokenizer().decode([window.ids[i] for i in places]))


def test_only_the_words_of_the_learnt_role_are_targets(codec: Codec) -> None:
    learnt = codec.window([Turn("Who is it?", "Marta")], REPLY)
    at = learnt.ids.index(codec.assistant)
    assert set(learnt.weights[: at + 1]) == {0.0}
    assert set(learnt.weights[at + 1 :]) == {1.0}


def test_a_role_is_never_a_target(codec: Codec) -> None:
    learnt = codec.window([Turn("a", "b"), Turn("c", "d")], BOTH)
    roles = [i for i, token in enumerate(learnt.ids) if token in (codec.user, codec.assistant)]
    assert [learnt.weights[i] for i in roles] == [0.0] * 4


@pytest.mark.parametrize(
    ("answer", "value"),
    [
        ("You live in Vienna.", "Vienna"),
        ("Vienna is where you live!", "Vienna"),
        ("Your street is Rue de la Paix, 12.", "Rue de la Paix"),
        ("Not Rome, you live in Rome", "Rome"),
        ("You are called Zoë 😀.", "Zoë"),
        ("Vegan food is what you eat.", "vegan"),
        ("Your size is 40.5.", "40.5"),
    ],
)
def test_exactly_the_last_mention_of_the_value_counts_more(codec: Codec, answer: str, value: str) -> None:
    asked = codec.asked([], [Question(Turn("And?", answer), (value,))])
    marked = [i for i, weight in enumerate(asked.weights) if weight == VALUE_WEIGHT]
    assert marked == list(range(marked[0], marked[-1] + 1))
    assert decoded(asked, marked).strip().lower() == value.lower()
    assert decoded(asked, marked[:1]).strip()
    assert value.lower() not in decoded(asked, range(marked[-1] + 1, len(asked.ids))).lower()


def test_the_rest_of_an_answer_counts_once(codec: Codec) -> None:
    asked = codec.asked([], [Question(Turn("And?", "You live in Oslo."), ("Oslo",))])
    assert set(asked.weights) == {0.0, 1.0, VALUE_WEIGHT}
    assert asked.weights[-1] == 1.0


def test_nothing_before_a_question_is_a_target(codec: Codec) -> None:
    before = [Turn("I live in Oslo.", "Oslo is nice.")]
    question = Question(Turn("Where?", "You live in Oslo."), ("Oslo",))
    after, alone = codec.asked(before, [question]), codec.asked([], [question])
    size = len(after.ids) - len(alone.ids)
    assert after.weights[:size] == [0.0] * size
    assert (after.ids[size:], after.weights[size:]) == (alone.ids, alone.weights)


def test_an_admission_has_no_value_to_weigh(codec: Codec) -> None:
    asked = codec.asked([], [small_author().unknown(Random(0), [Fact(CITY, "Oslo")])])
    assert set(asked.weights) == {0.0, 1.0}


def test_long_text_is_cut_into_windows_that_lose_nothing(codec: Codec) -> None:
    cut = codec.text("A king had three sons. " * 20, 32)
    assert max(len(window.ids) for window in cut) == 32
    assert (
        tiny_tokenizer().decode([token for window in cut for token in window.ids])
        == " " + "A king had three sons. " * 20
    )


def marked(window: Window) -> str:
    return decoded(window, [i for i, weight in enumerate(window.weights) if weight == VALUE_WEIGHT]).strip()


def test_the_values_of_a_reply_count_more_where_they_are_words_of_their_own(codec: Codec) -> None:
    replied = codec.replied([Turn("I am sad.", "You like red. I am bored.")], {"red", "Oslo"}, age=2.5)
    assert marked(replied) == "red"
    assert replied.age == 2.5


def test_a_reply_without_a_value_is_learnt_all_the_same(codec: Codec) -> None:
    replied = codec.replied([Turn("Hello.", "I am bored.")], {"red"})
    assert (marked(replied), set(replied.weights)) == ("", {0.0, 1.0})


def test_every_reply_of_several_turns_is_learnt(codec: Codec) -> None:
    turns = [Turn("I live in Oslo.", "You live in Oslo."), Turn("I like red.", "You like red.")]
    both = codec.replied(turns, {"red", "Oslo"})
    assert both.ids == [token for turn in turns for token in codec.window([turn], REPLY).ids]
    assert "".join(marked(both).split()) == "Oslored"
