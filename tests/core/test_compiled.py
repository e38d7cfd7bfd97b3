"""Compiled steps: fixed places give each row what it would be given alone, and keep nothing of it afterwards."""

from __future__ import annotations

import shutil
import weakref
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import torch

from core.base import Base
from core.batching import Batching
from core.chat import Message
from core.checkpoint import Checkpoint
from core.compiled import CompiledDecoding
from core.decoding import NOBODY, Decoding, Row, Sampling
from core.engine import Engine
from core.errors import DeviceError
from tests.core.families import generator_for, model_of
from tests.core.test_batching import alone, rows_for, together
from tests.tiny import tiny_engine, tiny_tokenizer

TRACED = "aot_eager"  # all but the last part of a compilation, which wants a compiler of C++
COLUMNS = 140  # two of the longest rows: what is written has to be moved several times


def engine_of(family: str) -> Engine:
    base = Base(model_of(family))
    return Engine(Checkpoint(family, "f" * 64, base, generator_for(base), tiny_tokenizer()))


def compiled(engine: Engine, rows: int = 4, columns: int = COLUMNS, backend: str = TRACED) -> CompiledDecoding:
    return CompiledDecoding(engine.base, engine.materialise(engine.empty_state()), rows, columns, backend)


@pytest.mark.parametrize("family", ["Llama", "Phi", "GPT-NeoX", "GPT-2"])
def test_every_row_is_given_what_it_would_be_given_alone(family: str) -> None:
    engine = engine_of(family)
    rows, steps = rows_for(engine, 24), compiled(engine)
    assert all(map(steps.fits, rows))
    assert together(Batching(engine.base, (), lambda: steps), rows, 9) == [alone(engine.base, row) for row in rows]
    assert not steps._taken
    assert not any(factor.any() for factor in steps._adapter.lora_B)  # nothing is left of anybody's memory
    assert all(row is NOBODY for row in steps._rows)
    assert torch.equal(
        engine.logits(None, [Message("user", "Hi")]), engine_of(family).logits(None, [Message("user", "Hi")])
    )


def test_a_row_that_does_not_fit_is_decoded_beside_them() -> None:
    engine = tiny_engine()
    steps, rows = compiled(engine), rows_for(engine, 6)
    long = Row(rows[0].prompt, rows[0].adapter, Sampling(max_tokens=COLUMNS))
    other = replace(rows[1], adapter=engine_of("Llama").materialise(engine.empty_state()))  # of another generator
    assert not steps.fits(long) and not steps.fits(other)
    asked = [long, *rows[2:], replace(long, adapter=None)]
    assert together(Batching(engine.base, (), lambda: steps), asked, 6) == [alone(engine.base, row) for row in asked]


def test_a_prompt_that_does_not_fit_and_comes_later_leaves_them_as_they_were() -> None:
    engine = tiny_engine()
    steps, (row, _) = compiled(engine), rows_for(engine, 2)
    short = replace(row, prompt=row.prompt[:8], sampling=Sampling(max_tokens=60))
    long = replace(row, prompt=(list(row.prompt) * COLUMNS)[: COLUMNS + 10], sampling=Sampling(max_tokens=3))
    batching = Batching(engine.base, (), lambda: steps)
    first = batching.tokens(short, 60)
    begun = next(first)  # the compiled steps are under way
    assert steps.fits(short) and list(batching.tokens(long, 3)) == alone(engine.base, long)
    assert [begun, *first] == alone(engine.base, short)


def test_nothing_is_left_of_the_one_before_when_another_takes_the_place() -> None:
    engine = tiny_engine()
    steps, (one, other) = compiled(engine, rows=1), rows_for(engine, 2)
    for row in (one, other):
        alone_with_it = Decoding(engine.base, [row])
        alone_with_it.step()
        steps.join(alone_with_it, [0])  # the second at once, as in the step in which the first has ended
    seen = steps._mask[0]
    assert all(not layer.keys[0][:, ~seen].any() for layer in steps._cache.layers)


def test_more_rows_than_places_wait() -> None:
    engine = tiny_engine()
    batching = Batching(engine.base, (), lambda: compiled(engine, rows=2))
    rows = [replace(row, sampling=replace(row.sampling, max_tokens=5)) for row in rows_for(engine, 5)]
    with ThreadPoolExecutor(5) as people:
        written = list(people.map(lambda row: list(batching.tokens(row, 5)), rows))
    assert written == [alone(engine.base, row) for row in rows]


@pytest.mark.parametrize("family", ["Gemma3", "Gemma2"])
def test_a_base_that_looks_at_a_window_is_refused(family: str) -> None:
    with pytest.raises(DeviceError, match="looks at a window, or whose positions"):
        compiled(engine_of(family))


def test_an_attention_that_takes_no_mask_of_yes_and_no_is_refused() -> None:
    engine = tiny_engine()
    engine.base.model.set_attn_implementation("eager")
    with pytest.raises(DeviceError, match="cannot be compiled with eager; set IMPRINT_ATTENTION=sdpa"):
        compiled(engine)


def test_what_cannot_be_compiled_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("no compiler here\nand a long story")

    monkeypatch.setattr(CompiledDecoding, "logits", broken)
    engine = tiny_engine()
    with pytest.raises(DeviceError, match=r"cannot be compiled here \(no compiler here\); leave") as refused:
        compiled(engine)
    assert "\n" not in str(refused.value)
    assert not hooks(engine)


def hooks(engine: Engine) -> int:
    return sum(len(projection._forward_hooks) for projection in engine.base.projections)


def test_closed_steps_leave_the_base_as_it_was_and_keep_no_cache() -> None:
    engine = tiny_engine()
    asked = [Message("user", "Who am I?")]
    before, steps = engine.logits(None, asked), compiled(engine)
    assert hooks(engine) == len(engine.base.projections)
    kept = [weakref.ref(t) for t in (steps._cache.layers[0].keys, steps._adapter.lora_B[0])]
    steps.close()
    assert not hooks(engine)
    assert [one() for one in kept] == [None, None]
    assert torch.equal(engine.logits(None, asked), before)


def test_closing_leaves_other_steps_of_the_base_as_they_were() -> None:
    engine = tiny_engine()
    row = next(row for row in rows_for(engine, 9) if row.adapter)
    closed, steps, read = compiled(engine), compiled(engine), Decoding(engine.base, [row])
    written = read.step()
    steps.join(read, [1])
    written.append(steps.step()[1])
    closed.close()
    assert hooks(engine) == len(engine.base.projections)
    written += [steps.step()[1] for _ in range(3)]
    assert written == alone(engine.base, replace(row, sampling=replace(row.sampling, max_tokens=5)))


@pytest.mark.skipif(not shutil.which("g++"), reason="the compiler of torch wants one of C++")
def test_an_engine_with_compiled_steps_replies_as_one_without() -> None:
    plain = tiny_engine()
    engine = Engine(Checkpoint("tiny", "f" * 64, plain.base, plain.generator, plain.tokenizer), compiled=True)
    adapter = engine.materialise(engine.fold(engine.empty_state(), [Message("user", "My name is Marta.")]))
    asked, sampling = [Message("user", "Who am I?")], Sampling(max_tokens=20)
    assert list(engine.reply(adapter, asked, sampling)) == list(plain.reply(adapter, asked, sampling))
    assert list(engine.reply(None, asked, sampling)) == list(plain.reply(None, asked, sampling))


def test_joining_moves_what_is_written_where_a_prompt_is_longer() -> None:
    engine = tiny_engine()
    short, long = Row([5, 6], None, Sampling()), Row(list(range(10, 50)), None, Sampling())
    steps, first, second = compiled(engine), Decoding(engine.base, [short]), Decoding(engine.base, [long])
    written = {"short": first.step(), "long": second.step()}
    steps.join(first, [2])
    written["short"] += [steps.step()[2] for _ in range(3)]
    steps.join(second, [0])
    for _ in range(3):
        tokens = steps.step()
        written["short"].append(tokens[2])
        written["long"].append(tokens[0])
    assert written["short"] == alone(engine.base, replace(short, sampling=Sampling(max_tokens=7)))
    assert written["long"] == alone(engine.base, replace(long, sampling=Sampling(max_tokens=4)))
