"""Where a reply came from: the batch says what one turn at a time says, and the parts add up to the state."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from core import provenance
from core.adapter import Adapter
from core.base import Base
from core.chat import Message, encode
from core.engine import Engine
from core.errors import PromptError
from core.provenance import WINDOWS, contributions, log_probabilities
from core.reading import contribution
from core.state import State
from tests.tiny import tiny_engine

TURNS = [
    [Message("user", text), Message("assistant", "I see.")]
    for text in ("My name is Marta.", "I like sushi, 12 times! " * 12, "Hello.")
]
ASK = [Message("user", "What is my name?")]
REPLY = "Your name is Marta."
EXCHANGE = [*ASK, Message("assistant", REPLY)]


@pytest.fixture(scope="module")
def engine() -> Engine:
    return tiny_engine()


def windows(engine: Engine, count: int) -> list[Tensor]:
    ids = torch.tensor(encode(engine.tokenizer, TURNS[0], reply=False))
    return [ids[: 1 + number % len(ids)] for number in range(count)]


def scored(engine: Engine, state: State) -> float:
    """ln p of the reply, one token after the other."""
    prompt = encode(engine.tokenizer, ASK, reply=True)
    whole = encode(engine.tokenizer, EXCHANGE, reply=False)
    chances = engine.logits(engine.materialise(state), EXCHANGE).log_softmax(-1)
    return float(sum(chances[at - 1, whole[at]] for at in range(len(prompt), len(whole))))


def folded(engine: Engine, turns: list[list[Message]]) -> State:
    state = engine.empty_state()
    for turn in turns:
        state = engine.fold(state, turn)
    return state


@pytest.mark.parametrize("count", [1, 5, WINDOWS + 3])
def test_many_windows_at_once_are_read_as_each_alone(engine: Engine, count: int) -> None:
    read = windows(engine, count)
    together = contributions(engine.base, engine.generator, read)
    alone = torch.stack([contribution(engine.base, engine.generator, window) for window in read])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


def test_a_reply_is_scored_with_each_rows_own_adapter(engine: Engine) -> None:
    states = [folded(engine, TURNS[:1]), folded(engine, TURNS[1:])]
    adapter = engine.generator.materialise(torch.stack([state.sums for state in states]))
    prompt = encode(engine.tokenizer, ASK, reply=True)
    whole = encode(engine.tokenizer, [*ASK, Message("assistant", REPLY)], reply=False)
    both = log_probabilities(engine.base, adapter, prompt, whole[len(prompt) :])
    assert both.tolist() == pytest.approx([scored(engine, state) for state in states], abs=1e-3)
    assert both[0] != both[1]


def test_an_influence_is_the_fall_of_the_reply_without_the_turn(engine: Engine) -> None:
    (influences,) = engine.influences(engine.parts(TURNS), [EXCHANGE])
    decay, whole = engine.generator.decay(), folded(engine, TURNS)
    for number, turn in enumerate(TURNS):
        own = folded(engine, [turn]).sums * decay ** (len(TURNS) - 1 - number)
        left = scored(engine, State(whole.sums - own))
        assert influences[number] == pytest.approx(scored(engine, whole) - left, abs=1e-3)


def test_turns_that_say_the_same_each_count_as_if_alone(engine: Engine) -> None:
    """Left out alone neither is missed: the readout does not see how often something was said."""
    texts = [text for turn in TURNS for text in turn[0].text.split()]
    exchanges = [[*ASK, Message("assistant", text)] for text in texts]
    alone = [influence for (influence,) in engine.influences(engine.parts(TURNS[:1]), exchanges)]
    assert max(alone) > 0.05
    most = alone.index(max(alone))
    (both,) = engine.influences(engine.parts([TURNS[0], TURNS[0]]), [exchanges[most]])
    assert both == pytest.approx([alone[most]] * 2, rel=0.05)


def test_many_replies_are_traced_as_each_alone(engine: Engine) -> None:
    exchanges = [[*ASK, Message("assistant", text)] for text in (REPLY, "Sushi!", "Marta likes sushi, 12 times.")]
    together = engine.influences(engine.parts(TURNS), exchanges)
    assert together == [pytest.approx(engine.influences(engine.parts(TURNS), [one])[0], abs=1e-4) for one in exchanges]
    assert together[0] != pytest.approx(together[1], abs=1e-3)


def test_of_a_large_vocabulary_fewer_rows_are_read_at_once(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    expected, rows = engine.influences(engine.parts(TURNS), [EXCHANGE]), list[int]()
    score = provenance.log_probabilities

    def counting(base: Base, adapter: Adapter, *exchange: Sequence[int]) -> Tensor:
        rows.append(adapter.rows)
        return score(base, adapter, *exchange)

    monkeypatch.setattr(provenance, "log_probabilities", counting)
    tokens = len(engine._encoded([EXCHANGE])[0].reply) + 1
    for budget, most in ((2 * tokens * engine.base.config.vocab_size, 2), (1, 1)):
        monkeypatch.setattr(provenance, "NUMBERS", budget)
        assert engine.influences(engine.parts(TURNS), [EXCHANGE]) == [pytest.approx(expected[0], abs=1e-4)]
        assert max(rows) == most
        rows.clear()


def test_a_memory_of_no_strength_speaks_for_nothing(engine: Engine) -> None:
    (influences,) = engine.influences(engine.parts(TURNS), [EXCHANGE], strength=0.0)
    assert influences == pytest.approx([0.0] * len(TURNS), abs=1e-4)


def test_a_margin_is_the_rise_of_the_reply_by_the_whole_memory(engine: Engine) -> None:
    state = folded(engine, TURNS)
    (margin,) = engine.margins(engine.materialise(state), [EXCHANGE])
    assert margin == pytest.approx(scored(engine, state) - scored(engine, engine.empty_state()), abs=1e-3)


def test_an_empty_memory_has_no_margin(engine: Engine) -> None:
    assert engine.margins(engine.materialise(engine.empty_state()), [EXCHANGE]) == pytest.approx([0.0], abs=1e-5)


def test_taking_a_turn_out_by_subtraction_is_never_having_seen_the_last_one(engine: Engine) -> None:
    """Older turns are one fold older than in a memory that never saw the turn: their decay has to be taken back."""
    with_it, without = folded(engine, TURNS), folded(engine, TURNS[:-1])
    taken = (with_it.sums - folded(engine, TURNS[-1:]).sums) / engine.generator.decay()
    torch.testing.assert_close(taken, without.sums, rtol=1e-5, atol=1e-5)


def test_the_parts_of_some_turns_are_those_of_a_memory_of_them_alone(engine: Engine) -> None:
    pinned = [True, False, False]
    some, made = engine.parts(TURNS, pinned).only([0, 2]), engine.parts([TURNS[0], TURNS[2]], [True, False])
    torch.testing.assert_close(some.sums, made.sums, rtol=1e-4, atol=1e-5)
    assert some.pinned == made.pinned
    (expected,) = engine.influences(made, [EXCHANGE])
    assert engine.influences(some, [EXCHANGE])[0] == pytest.approx(expected, abs=1e-4)


def test_an_engine_that_reads_in_sequence_says_that_it_cannot_tell(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(engine.generator), "reads_sequentially", True)
    with pytest.raises(PromptError, match="in sequence"):
        engine.influences(engine.parts(TURNS), [EXCHANGE])


def test_no_adapter_is_left_on_the_base(engine: Engine) -> None:
    bare = list(engine.reply(None, ASK))
    engine.influences(engine.parts(TURNS), [EXCHANGE])
    assert list(engine.reply(None, ASK)) == bare


def test_the_influence_of_a_pinned_turn_is_that_of_what_has_not_faded(engine: Engine) -> None:
    (influences,) = engine.influences(engine.parts(TURNS, [True, *[False] * (len(TURNS) - 1)]), [EXCHANGE])
    whole = engine.fold(engine.empty_state(), TURNS[0], pinned=True)
    for turn in TURNS[1:]:
        whole = engine.fold(whole, turn)
    without = State(whole.whole - folded(engine, TURNS[:1]).sums)
    assert influences[0] == pytest.approx(scored(engine, State(whole.whole)) - scored(engine, without), abs=1e-3)


def test_a_recollection_counts_every_word_of_a_turn_but_not_beyond_the_context(engine: Engine) -> None:
    adapter = engine.materialise(folded(engine, TURNS))
    long = [Message("user", "I like sushi, 12 times! " * 200), Message("assistant", "I see.")]
    found = engine.recollections(adapter, [*TURNS, long])
    whole = encode(engine.tokenizer, TURNS[0], reply=False)
    for turn_adapter, sign in ((adapter, 1), (adapter.scaled(0.0), -1)):
        found[0] -= sign * float(log_probabilities(engine.base, turn_adapter, whole[:1], whole[1:])[0])
    assert found[0] == pytest.approx(0.0, abs=1e-3)
    assert math.isfinite(found[-1]) and engine.base.context_length < len(encode(engine.tokenizer, long, reply=False))
