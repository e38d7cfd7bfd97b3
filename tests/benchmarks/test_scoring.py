"""Scoring: held against perplexities worked out token by token, and against cases that can be worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from benchmarks.scoring import Score, Scorer, perplexity, resampled, spread
from core.adapter import Adapter
from core.chat import Message
from core.engine import Engine
from tests.tiny import tiny_engine

TALK = [
    Message("user", "I live in Vienna."),
    Message("assistant", "I like sushi, 12 times!"),
    Message("user", "What is my name?"),
]
CONTROLS = {"<|pad|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>"}


@pytest.fixture(scope="module")
def engine() -> Engine:
    return tiny_engine()


@pytest.fixture(scope="module")
def adapter(engine: Engine) -> Adapter:
    return engine.materialise(engine.fold(engine.empty_state(), [Message("user", "My name is Marta.")]))


def token_by_token(engine: Engine, text: str, before: str = "", adapter: Adapter | None = None) -> list[float]:
    """-ln p of every token of `text` but control tokens and the very first, each from a forward pass of its own."""
    told, ids = (engine.tokenizer(part, add_special_tokens=False)["input_ids"] for part in (before, text))
    losses = []
    for at in range(1, len(ids)):
        if engine.tokenizer.convert_ids_to_tokens(ids[at]) in CONTROLS:
            continue
        with torch.inference_mode(), engine.base.adapted(adapter):
            logits = engine.base.model(input_ids=torch.tensor([told + ids[:at]])).logits[0, -1].double()
        losses.append(float(logits.exp().sum().log() - logits[ids[at]]))
    return losses


def in_template(messages: list[Message]) -> str:
    return "".join(f"<|{message.role}|> {message.text}<|end|>" for message in messages)


@pytest.mark.parametrize("remembers", [False, True])
@pytest.mark.parametrize("before", [[], [Message("user", "Hello, my name is Marta.")]])
def test_a_score_is_what_one_token_at_a_time_gives(
    engine: Engine, adapter: Adapter, remembers: bool, before: list[Message]
) -> None:
    used, scorer = (adapter if remembers else None), Scorer(engine, 128)
    expected = token_by_token(engine, in_template(TALK), in_template(before), used)
    score = scorer.score(TALK, used, scorer.ids(before) if before else ())
    assert score.tokens == len(expected)
    assert perplexity([score]) == pytest.approx(math.exp(sum(expected) / len(expected)), rel=1e-4)


def test_an_adapter_changes_the_score_and_an_empty_memory_does_not(engine: Engine, adapter: Adapter) -> None:
    scorer = Scorer(engine, 128)
    bare = scorer.score(TALK, None)
    assert scorer.score(TALK, engine.materialise(engine.empty_state())) == bare
    assert abs(scorer.score(TALK, adapter).nats - bare.nats) > 0.01


def test_each_stretch_is_read_alone_and_holds_whole_messages(engine: Engine) -> None:
    longest = max(len(Scorer(engine, 128).ids([message])) for message in TALK)
    score = Scorer(engine, longest).score(TALK, None)
    expected = [loss for message in TALK for loss in token_by_token(engine, in_template([message]))]
    assert score.tokens == len(expected)
    assert score.nats == pytest.approx(sum(expected), rel=1e-4)


def test_a_message_longer_than_the_window_is_cut_off(engine: Engine) -> None:
    (stretch,) = Scorer(engine, 16).stretches([Message("user", "word " * 40)])
    assert (len(stretch.ids), sum(stretch.scored)) == (16, 15)


def test_only_what_the_speaker_said_is_scored(engine: Engine) -> None:
    both, user, assistant = (
        Scorer(engine, 128, speakers).score(TALK, None)
        for speakers in (("user", "assistant"), ("user",), ("assistant",))
    )
    assert user.tokens + assistant.tokens == both.tokens
    assert user.nats + assistant.nats == pytest.approx(both.nats, rel=1e-5)
    assert min(user.tokens, assistant.tokens) > 0


def test_of_a_history_too_long_the_last_tokens_are_read(engine: Engine) -> None:
    scorer = Scorer(engine, 128)
    told = scorer.ids([Message("user", f"Number {i}, I like sushi.") for i in range(40)])
    room = engine.base.context_length - len(scorer.ids(TALK))
    assert len(told) > room
    assert scorer.score(TALK, None, told) == scorer.score(TALK, None, told[-room:])
    assert scorer.score(TALK, None, told) != scorer.score(TALK, None, told[:room])


@pytest.mark.parametrize("window", [1, 129])
def test_a_window_that_leaves_no_room_is_refused(engine: Engine, window: int) -> None:
    with pytest.raises(ValueError, match=f"The window is {window} tokens; for tiny it has to be from 2 to 128"):
        Scorer(engine, window)


def test_perplexity_weighs_tokens_not_dialogues() -> None:
    scores = [Score(3 * math.log(2), 3), Score(math.log(32), 1)]
    assert perplexity(scores) == pytest.approx(2 ** ((3 + 5) / 4))


def test_no_words_have_no_perplexity() -> None:
    with pytest.raises(ValueError, match="no words to score"):
        perplexity([Score(0.0, 0)])


def test_the_same_dialogues_are_drawn_for_every_way() -> None:
    one = [Score(nats, 2) for nats in (1.0, 2.0, 5.0, 9.0)]
    other = [Score(score.nats + 2 * math.log(3), 2) for score in one]  # three times the perplexity in any sample
    drawn = resampled({"one": one, "other": other, "again": one}, 0)
    assert spread(drawn["other"] / drawn["one"]) == (3.0, 3.0)
    low, high = spread(drawn["one"])
    assert low < perplexity(one) < high


def test_a_dialogue_without_words_is_never_drawn_alone() -> None:
    drawn = resampled({"one": [Score(0.0, 0), Score(2.0, 1)]}, 0)["one"]
    assert spread(drawn) == (round(math.exp(2), 4),) * 2
