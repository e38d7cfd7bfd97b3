"""The engine: folding and replying, with everything about a user passed in."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import torch

from app.ledger import COARSE, distance
from core.base import Base
from core.chat import Message, encode
from core.checkpoint import Checkpoint
from core.decoding import Decoding, Row, Sampling
from core.device import Choice
from core.engine import Engine, load_engine
from core.errors import PromptError, StateError
from core.origin import Origin
from core.state import State
from core.weighing import weighed
from tests.bundled import BUNDLED
from tests.tiny import tiny_engine, tiny_folder, tiny_generator, tiny_model, tiny_tokenizer

TURN = [Message("user", "My name is Marta."), Message("assistant", "Hello, Marta!")]
ASK = [Message("user", "What is my name?")]


@pytest.fixture(scope="module")
def engine() -> Engine:
    return tiny_engine()


def reply(engine: Engine, state: State | None, sampling: Sampling, stop: threading.Event | None = None) -> list[str]:
    adapter = engine.materialise(state) if state else None
    return list(engine.reply(adapter, ASK, sampling, stop))


def test_folding_is_pure_and_deterministic(engine: Engine) -> None:
    empty = engine.empty_state()
    first, second = engine.fold(empty, TURN), engine.fold(empty, TURN)
    assert torch.equal(first.sums, second.sums)
    assert empty.is_empty
    assert not first.is_empty


def test_a_turns_contribution_does_not_depend_on_what_was_before(engine: Engine) -> None:
    before = engine.fold(engine.empty_state(), ASK)
    alone = engine.fold(engine.empty_state(), TURN)
    after = engine.fold(before, TURN)
    torch.testing.assert_close(after.sums - engine.generator.decay() * before.sums, alone.sums)


def test_the_bundled_model_folds_in_bfloat16_what_is_near_to_what_it_folds_in_float32() -> None:
    exact, coarse = (load_engine(Origin(str(BUNDLED)), Choice("cpu", dtype)) for dtype in ("float32", "bfloat16"))
    one, other = (engine.fold(engine.empty_state(), TURN) for engine in (exact, coarse))
    assert exact.fingerprint == coarse.fingerprint
    assert 0 < distance(one, other) < COARSE / 3


def test_a_turn_longer_than_the_window_is_folded_in_several(engine: Engine) -> None:
    folded = engine.fold(engine.empty_state(), [Message("user", "I like sushi. " * 60)])
    assert folded.sums.isfinite().all()


def test_memory_changes_the_reply_and_an_empty_one_does_not(engine: Engine) -> None:
    sampling = Sampling(max_tokens=20)
    bare = reply(engine, None, sampling)
    assert reply(engine, engine.empty_state(), sampling) == bare
    assert reply(engine, engine.fold(engine.empty_state(), TURN), sampling) != bare


def test_memory_changes_what_is_expected_after_each_token_and_an_empty_one_does_not(engine: Engine) -> None:
    bare = engine.logits(None, ASK)
    assert bare.shape == (len(encode(engine.tokenizer, ASK, reply=False)), len(engine.tokenizer))
    assert torch.equal(engine.logits(engine.materialise(engine.empty_state()), ASK), bare)
    assert not torch.allclose(engine.logits(engine.materialise(engine.fold(engine.empty_state(), TURN)), ASK), bare)


def test_several_replies_at_once_are_those_of_each_alone(engine: Engine) -> None:
    adapter = engine.materialise(engine.fold(engine.empty_state(), TURN))
    asked = [(adapter, ASK), (None, ASK), (adapter, [*TURN, *ASK]), (None, [Message("user", "Hello.")])]
    sampling = Sampling(max_tokens=20, stop=("zz",))
    alone = ["".join(engine.reply(one, messages, sampling)) for one, messages in asked]
    assert engine.reply_all(asked, sampling) == alone
    assert len(set(alone)) > 1


def test_the_opening_of_a_reply_is_weighed_where_its_memory_guides_it() -> None:
    plain = tiny_engine()
    checkpoint = Checkpoint("tiny", "f" * 64, plain.base, plain.generator, plain.tokenizer, guidance=2.0)
    engine, sampling = Engine(checkpoint), Sampling(max_tokens=16)
    adapter = plain.materialise(plain.fold(plain.empty_state(), [Message("user", "I live in Oslo.")]))
    row = Row(encode(plain.tokenizer, ASK, reply=True), adapter, sampling, 2.0)
    decoding, opening = weighed(plain.base, [row], engine._ends)
    expected = [*opening[0].tolist(), *(decoding.step()[0] for _ in range(16 - opening.shape[1]))]
    written = plain.tokenizer.decode(expected, skip_special_tokens=True).lstrip()
    assert "".join(engine.reply(adapter, ASK, sampling)) == written
    bare = "".join(plain.reply(None, ASK, sampling))
    assert engine.reply_all([(None, ASK), (adapter, ASK), (None, ASK)], sampling) == [bare, written, bare]
    assert engine.reply_all([(adapter, ASK)], Sampling(max_tokens=3)) == [
        "".join(engine.reply(adapter, ASK, Sampling(max_tokens=3)))
    ]
    assert written not in (bare, "".join(plain.reply(adapter, ASK, sampling)))
    nothing = (engine.materialise(engine.empty_state()), adapter.scaled(0.0))  # has nothing to weigh with
    assert ["".join(engine.reply(one, ASK, sampling)) for one in nothing] == [bare, bare]


def test_a_reply_ends_at_every_token_that_the_bases_generation_config_names() -> None:
    tokenizer, model = tiny_tokenizer(), tiny_model()
    prompt = encode(tokenizer, ASK, reply=True)
    written = model.generate(torch.tensor([prompt]), max_new_tokens=20, do_sample=False)[0, len(prompt) :].tolist()
    model.generation_config.eos_token_id = [1, written[4]]
    engine = Engine(Checkpoint("tiny", "f" * 64, Base(model), tiny_generator(), tokenizer))
    expected = tokenizer.decode(written[: written.index(written[4])], skip_special_tokens=True).lstrip()
    assert "".join(reply(engine, None, Sampling(max_tokens=20))) == expected
    assert engine.reply_all([(None, ASK)], Sampling(max_tokens=20)) == [expected]


def test_a_reply_among_several_ends_at_its_own_stop_string(engine: Engine) -> None:
    whole = "".join(engine.reply(None, ASK, Sampling(max_tokens=20)))
    sampling = Sampling(max_tokens=20, stop=(whole[3:6],))
    other = [Message("user", "Hello.")]
    alone = ["".join(engine.reply(None, messages, sampling)) for messages in (ASK, other)]
    assert engine.reply_all([(None, ASK), (None, other)], sampling) == alone
    assert alone[0] == whole[: whole.index(whole[3:6])]


def test_the_same_seed_gives_the_same_text_and_another_seed_another(engine: Engine) -> None:
    one, two = (Sampling(max_tokens=20, temperature=1.0, seed=seed) for seed in (1, 2))
    assert reply(engine, None, one) == reply(engine, None, one)
    assert reply(engine, None, one) != reply(engine, None, two)


def test_a_narrow_nucleus_is_greedy(engine: Engine) -> None:
    narrow = Sampling(max_tokens=20, temperature=1.0, top_p=1e-6)
    assert reply(engine, None, narrow) == reply(engine, None, Sampling(max_tokens=20))


def test_a_temperature_that_nothing_can_be_divided_by_is_greedy(engine: Engine) -> None:
    cold = Sampling(max_tokens=20, temperature=1e-320)
    assert reply(engine, None, cold) == reply(engine, None, Sampling(max_tokens=20))


def test_stop_ends_the_reply_within_a_token(engine: Engine) -> None:
    stop = threading.Event()
    pieces = engine.reply(None, ASK, Sampling(max_tokens=100), stop)
    next(pieces)
    stop.set()
    assert len(list(pieces)) <= 2


def test_a_stop_string_is_cut_off_and_ends_the_reply(engine: Engine) -> None:
    whole = "".join(reply(engine, None, Sampling(max_tokens=40)))
    stop = whole[8:11]
    cut = "".join(reply(engine, None, Sampling(max_tokens=40, stop=(stop,))))
    assert cut == whole[: whole.index(stop)]


def test_max_tokens_bounds_the_reply(engine: Engine) -> None:
    assert len(reply(engine, None, Sampling(max_tokens=3))) <= 4
    assert len(reply(engine, None, Sampling(max_tokens=30))) > 4


def test_rows_decode_together_as_they_do_alone(engine: Engine) -> None:
    """Prompts of different lengths, one adapted, one bare, one with other dice."""
    prompts = [
        encode(engine.tokenizer, [Message("user", text)], reply=True) for text in ("Hi", "I live in Vienna", "So?")
    ]
    adapters = [engine.materialise(engine.fold(engine.empty_state(), TURN)), None, None]
    samplings = [Sampling(), Sampling(), Sampling(temperature=1.0, seed=7)]
    rows = [Row(*row) for row in zip(prompts, adapters, samplings, strict=True)]
    together = Decoding(engine.base, rows)
    alone = [Decoding(engine.base, [row]) for row in rows]
    for _ in range(8):
        assert together.step() == [decoding.step()[0] for decoding in alone]


def test_two_threads_with_two_memories_never_mix(engine: Engine) -> None:
    states = [engine.fold(engine.empty_state(), [Message("user", text)]) for text in ("I am Ada", "I like sushi a lot")]
    expected = [reply(engine, state, Sampling(max_tokens=12)) for state in states]
    results: dict[int, list[str]] = {}

    def talk(i: int) -> None:
        results[i] = reply(engine, states[i % 2], Sampling(max_tokens=12))

    threads = [threading.Thread(target=talk, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(results[i] == expected[i % 2] for i in range(8))


def test_streaming_leaves_gradients_as_they_were(engine: Engine) -> None:
    pieces = engine.reply(None, ASK, Sampling(max_tokens=5))
    next(pieces)
    assert torch.is_grad_enabled()
    assert not torch.is_inference_mode_enabled()


def test_a_prompt_too_long_is_refused_before_anything_is_computed(engine: Engine) -> None:
    with pytest.raises(PromptError, match="at most 192"):
        engine.reply(None, [Message("user", "word " * 500)])


@pytest.mark.parametrize("sums", [torch.zeros(2, 4, 4), torch.full((2, 16, 16), float("nan"))])
def test_a_state_of_another_shape_or_not_finite_is_refused(engine: Engine, sums: torch.Tensor) -> None:
    with pytest.raises(StateError, match="rebuild"):
        engine.check_state(State(sums))


@pytest.mark.parametrize(
    ("field", "value"), [("max_tokens", 0), ("temperature", -1.0), ("top_p", 0.0), ("seed", 2**64), ("seed", -(2**64))]
)
def test_impossible_sampling_is_refused(field: str, value: float) -> None:
    with pytest.raises(PromptError, match=field):
        Sampling(**{field: value})  # type: ignore[arg-type]


def test_a_pinned_turn_stays_as_it_is_and_the_others_fade_past_it(engine: Engine) -> None:
    empty, more = engine.empty_state(), [Message("user", "I like sushi.")]
    alone = engine.fold(empty, TURN)
    pinned = engine.fold(engine.fold(empty, TURN, pinned=True), more)
    assert pinned.pinned is not None
    assert torch.equal(pinned.pinned, alone.sums)
    assert torch.equal(pinned.sums, engine.fold(empty, more).sums)
    assert not torch.equal(pinned.whole, engine.fold(alone, more).whole)


def test_what_is_left_of_a_turn_falls_with_those_after_it_unless_it_is_pinned(engine: Engine) -> None:
    oldest, middle, newest = engine.left([False, False, False])
    assert 0 < oldest < middle < newest == 1.0
    assert engine.left([True, False, False]) == pytest.approx([1.0, middle, 1.0])
    assert engine.left([]) == []


def test_a_factor_that_all_memories_have_is_kept_once_also_in_another_number_type(tmp_path: Path) -> None:
    engine = load_engine(Origin(str(tiny_folder(tmp_path))), Choice("cpu", "bfloat16"))
    states = [engine.empty_state(), engine.fold(engine.empty_state(), TURN)]
    first, second = (engine.materialise(state) for state in states)
    assert {factor.dtype for factor in (*first.lora_A, *first.lora_B)} == {torch.bfloat16}
    assert all(a is b for a, b in zip(first.lora_A, second.lora_A, strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(first.lora_B, second.lora_B, strict=True))
