"""Replies that share their steps: each says what it would alone, whoever comes, goes, fails or leaves off."""

from __future__ import annotations

import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from random import Random

import pytest
import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from core.adapter import Adapter, Stack
from core.base import Base
from core.batching import Batching, _Reply
from core.chat import Message
from core.checkpoint import Checkpoint
from core.compiled import CompiledDecoding
from core.decoding import Decoding, Row, Sampling, rows_come_and_go
from core.engine import Engine
from core.weighing import OPENING, OPENINGS, Weighing, weighed
from tests.core.families import generator_for, model_of
from tests.tiny import tiny_engine, tiny_tokenizer

NAMES = ("Marta", "Ada", "Diego", "Ines")


@pytest.fixture(scope="module")
def engine() -> Engine:
    return tiny_engine()


@pytest.fixture(scope="module")
def rows(engine: Engine) -> list[Row]:
    """Prompts and replies of many lengths; greedy and with dice, bare and with memories, some of which guide."""
    return rows_for(engine, 48)


def rows_for(engine: Engine, count: int) -> list[Row]:
    rng = Random(0)
    told = [[Message("user", f"My name is {name}.")] for name in NAMES]
    adapters = [None, *(engine.materialise(engine.fold(engine.empty_state(), turn)) for turn in told)]
    rows = [
        Row(
            [rng.randrange(2, 300) for _ in range(rng.randint(1, 40))],
            rng.choice(adapters),
            Sampling(max_tokens=rng.randint(1, 30), temperature=rng.choice((0.0, 1.0)), seed=number),
        )
        for number in range(count)
    ]
    return [replace(row, guidance=1.5) if number % 2 else row for number, row in enumerate(rows)]


def alone(base: Base, row: Row) -> list[int]:
    decoding, openings = weighed(base, [row], ()) if row.is_guided else (Decoding(base, [row]), torch.zeros(1, 0))
    opening: list[int] = openings[0].tolist()
    rest = [decoding.step()[0] for _ in range(row.sampling.max_tokens - len(opening))]
    return [*opening, *rest][: row.sampling.max_tokens]


def together(batching: Batching, rows: list[Row], people: int) -> list[list[int]]:
    with ThreadPoolExecutor(people) as pool:
        return list(pool.map(lambda row: list(batching.tokens(row, row.sampling.max_tokens)), rows))


@pytest.mark.parametrize("people", [1, 5, 48])
def test_every_row_is_given_what_it_would_be_given_alone(engine: Engine, rows: list[Row], people: int) -> None:
    batching = Batching(engine.base, ends=())
    assert together(batching, rows, people) == [alone(engine.base, row) for row in rows]
    assert not batching._batches  # nothing is kept of anybody


def test_a_family_that_looks_at_windows_is_given_what_it_would_be_given_alone() -> None:
    base = Base(model_of("Gemma3"))
    engine = Engine(Checkpoint("g", "f" * 64, base, generator_for(base), tiny_tokenizer()))
    few = rows_for(engine, 8)
    assert together(engine._batching, few, 8) == [alone(base, row) for row in few]


@pytest.fixture
def widths(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many rows each step from now on has."""
    noted, logits = list[int](), Decoding.logits

    def noting(decoding: Decoding, last: int = 1) -> Tensor:
        noted.append(len(decoding._rows))
        return logits(decoding, last)

    monkeypatch.setattr(Decoding, "logits", noting)
    return noted


def test_one_step_serves_all(engine: Engine, rows: list[Row], widths: list[int]) -> None:
    batching = Batching(engine.base, ends=())
    writing = [batching.tokens(replace(row, guidance=1.0), 20) for row in rows[:6]]
    for tokens in writing:
        next(tokens)  # is read as it comes, which gives those before it a token more
    widths.clear()
    assert len(list(writing[-1])) == 19 == len(widths)
    assert [len(list(tokens)) for tokens in writing[:-1]] == [19] * 5
    assert widths[0] == 6 and len(widths) == 19


OPENED = [1, *[OPENINGS] * (OPENING - 1), 1, OPENINGS]
"""Rows of the steps that an opening takes: its prompt and itself, and the same without the memory, read at once."""


def test_what_an_opening_was_weighed_against_is_computed_no_longer(
    engine: Engine, rows: list[Row], widths: list[int]
) -> None:
    row = next(row for row in rows if row.is_guided)
    list(Batching(engine.base, ends=()).tokens(row, OPENING + 5))
    assert widths == [*OPENED, *[1] * 5]


def test_whoever_comes_while_openings_are_written_begins_with_the_next(
    engine: Engine, rows: list[Row], widths: list[int]
) -> None:
    batching = Batching(engine.base, ends=())
    replies = [_Reply(row, OPENING + 9) for row in rows if row.is_guided][:3]
    batching._arrived.append(replies[0])
    batching._step()
    batching._arrived.extend(replies[1:])
    for _ in range(OPENING):
        batching._step()
    assert widths == [*OPENED, 1, 2]  # the first goes on by itself, and the prompts of the others are read at once
    while any(reply.left for reply in replies):
        batching._step()
    assert [list(reply.tokens) for reply in replies] == [
        alone(engine.base, replace(reply.row, sampling=replace(reply.row.sampling, max_tokens=OPENING + 9)))
        for reply in replies
    ]


def test_whoever_leaves_while_openings_are_written_leaves_a_place(engine: Engine, rows: list[Row]) -> None:
    compiling = partial(
        CompiledDecoding, engine.base, engine.materialise(engine.empty_state()), 2, 200, backend="aot_eager"
    )
    batching = Batching(engine.base, (), compiling)
    short = [replace(row, sampling=Sampling(max_tokens=20)) for row in rows]
    guided = [_Reply(row, 20) for row in short if row.is_guided][:2]
    plain = _Reply(next(row for row in short if not row.is_guided), 20)
    batching._arrived.extend([*guided, plain])
    batching._step()
    guided[0].wanted = False  # so that there is room for the third
    while plain.left or guided[1].left:
        batching._step()
    assert [list(reply.tokens) for reply in (guided[1], plain)] == [
        alone(engine.base, reply.row) for reply in (guided[1], plain)
    ]


def test_whoever_leaves_off_is_let_go_of(engine: Engine, rows: list[Row], widths: list[int]) -> None:
    batching = Batching(engine.base, ends=())
    staying, leaving = batching.tokens(rows[0], 20), [batching.tokens(row, 200) for row in rows[1:5]]
    first = next(staying)
    for tokens in leaving:
        next(tokens)
        tokens.close()
    widths.clear()
    written = [first, *staying]
    assert widths[1:] == [1] * (len(widths) - 1)
    assert written == alone(engine.base, Row(rows[0].prompt, rows[0].adapter, replace(rows[0].sampling, max_tokens=20)))


def test_a_step_that_fails_fails_for_its_rows_alone(
    engine: Engine, rows: list[Row], monkeypatch: pytest.MonkeyPatch
) -> None:
    batching = Batching(engine.base, ends=())
    writing = [batching.tokens(row, 20) for row in rows[:3]]
    for tokens in writing:
        next(tokens)
    with monkeypatch.context() as broken:
        broken.setattr(Base, "adapted", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            list(writing[0])
    for tokens in writing[1:]:
        with pytest.raises(ZeroDivisionError):
            list(tokens)
    assert list(batching.tokens(rows[3], 5)) == alone(engine.base, rows[3])[:5]


def test_openings_that_cannot_be_weighed_fail(engine: Engine, rows: list[Row], monkeypatch: pytest.MonkeyPatch) -> None:
    batching, row = Batching(engine.base, ends=()), next(row for row in rows if row.is_guided)
    with monkeypatch.context() as broken:
        broken.setattr(Weighing, "_bare_sums", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            list(batching.tokens(row, 5))
    assert list(batching.tokens(row, 3)) == alone(engine.base, row)[:3]


def test_a_prompt_that_cannot_be_read_fails_alone(
    engine: Engine, rows: list[Row], monkeypatch: pytest.MonkeyPatch
) -> None:
    batching = Batching(engine.base, ends=())
    writing = batching.tokens(rows[0], rows[0].sampling.max_tokens)
    first = next(writing)
    with monkeypatch.context() as broken:
        broken.setattr("core.decoding.left_padded", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            list(batching.tokens(rows[1], 5))
    assert [first, *writing] == alone(engine.base, rows[0])


@pytest.mark.parametrize("fixed", [False, True])
def test_who_comes_after_a_row_that_overflowed_is_not_touched_by_it(engine: Engine, fixed: bool) -> None:
    adapter = engine.materialise(engine.fold(engine.empty_state(), [Message("user", "My name is Ada.")]))
    broken = Adapter(adapter.lora_A, tuple(b * torch.inf for b in adapter.lora_B))
    staying = [Row([5, 6, 7], adapter, Sampling(max_tokens=60, temperature=warm)) for warm in (0.0, 1.0, 0.0)]
    steps = partial(CompiledDecoding, engine.base, adapter, rows=4, columns=200, backend="aot_eager")
    batching = Batching(engine.base, (), steps if fixed else None)
    writing = [batching.tokens(row, 60) for row in staying]
    written = [[next(tokens)] for tokens in writing]
    list(batching.tokens(Row(list(range(30, 36)), broken, Sampling(max_tokens=3, temperature=1.0)), 3))
    after = Row([8, 9], adapter, Sampling(max_tokens=10))
    assert list(batching.tokens(after, 10)) == alone(engine.base, after)
    for own, tokens, row in zip(written, writing, staying, strict=True):
        assert [*own, *tokens] == alone(engine.base, row)


def test_a_long_prompt_does_not_make_short_ones_long(engine: Engine) -> None:
    batching = Batching(engine.base, ends=())
    short = [batching.tokens(Row([5, 6], None, Sampling()), 200) for _ in range(4)]
    for tokens in short:
        next(tokens)
    long = batching.tokens(Row([7] * 150, None, Sampling()), 20)
    next(long)
    assert [len(batch.replies) for batch in batching._batches] == [4, 1]
    assert len([*long]) == 19


def test_a_base_whose_positions_depend_on_the_longest_row_is_decoded_row_by_row(engine: Engine) -> None:
    assert rows_come_and_go(engine.base)
    longrope = {"rope_type": "longrope", "long_factor": [2.0] * 4, "short_factor": [1.0] * 4, "rope_theta": 1e4}
    config = LlamaConfig(
        hidden_size=32, num_attention_heads=4, num_hidden_layers=1, intermediate_size=32, vocab_size=32
    )
    for parameters in (longrope, {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}):
        config.rope_parameters = parameters
        assert not rows_come_and_go(Base(LlamaForCausalLM(config)))


@pytest.mark.parametrize("family", ["Gemma2", "Gemma3", "Gemma3-that-sees"])
def test_layers_that_see_a_window_say_beyond_it_what_they_would_alone_and_without_a_cache(family: str) -> None:
    base, words = Base(model_of(family)), torch.arange(5, 35)[None]
    whole = base.model(input_ids=words).logits
    base.config.sliding_window = 8
    assert not torch.allclose(base.model(input_ids=words).logits, whole)
    assert rows_come_and_go(base)
    rows = [Row(list(range(5, 5 + length)), None, Sampling(max_tokens=20)) for length in (3, 30, 9, 17)]
    batching = Batching(base, ends=())
    with ThreadPoolExecutor(len(rows)) as pool:
        together = list(pool.map(lambda row: list(batching.tokens(row, 20)), rows))
    assert together == [uncached(base, row, 20) for row in rows]


def uncached(base: Base, row: Row, tokens: int) -> list[int]:
    said = list(row.prompt)
    with torch.inference_mode():
        for _ in range(tokens):
            said.append(int(base.model(input_ids=torch.tensor([said]), use_cache=False).logits[0, -1].argmax()))
    return said[len(row.prompt) :]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_process_has_batches_of_its_own(engine: Engine, rows: list[Row]) -> None:
    batching = Batching(engine.base, ends=())
    assert list(batching.tokens(rows[0], 3)) == alone(engine.base, rows[0])[:3]
    expected = alone(engine.base, rows[1])[:3]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # teams of threads are not forked either
    try:
        child = os.fork()
        if not child:
            os._exit(0 if list(batching.tokens(rows[1], 3)) == expected else 1)
    finally:
        torch.set_num_threads(threads)
    assert os.waitstatus_to_exitcode(waited(child)) == 0


def waited(child: int, seconds: float = 30.0) -> int:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return status
        time.sleep(0.05)
    os.kill(child, signal.SIGKILL)
    return os.waitpid(child, 0)[1]


def test_an_adapter_that_somebody_keeps_is_never_written_to(engine: Engine) -> None:
    made = [Adapter((a,), (torch.full((1, 4, 2), float(i)),)) for i, a in enumerate([torch.ones(2, 4)] * 4)]
    stack = Stack([made[0]], torch.device("cpu"), torch.float32)
    stack.put([0], [made[1]])
    stack.put([1], [made[2]])
    stack.put([0], [None])
    stack.put([1], [made[3]])
    assert stack.whole is not None and stack.whole.lora_B[0][:, 0, 0].tolist() == [0.0, 3.0]
    same = Stack([made[1]] * 3, torch.device("cpu"), torch.float32)
    same.put([1], [None])
    same.put([2], [made[2]])
    assert same.whole is not None and same.whole.lora_B[0][:, 0, 0].tolist() == [1.0, 0.0, 2.0]
    assert [float(adapter.lora_B[0].mean()) for adapter in made] == [0.0, 1.0, 2.0, 3.0]


def test_one_memory_in_many_rows_is_there_once() -> None:
    one = Adapter((torch.ones(1, 2, 4),), (torch.ones(1, 4, 2),))
    stacked = Stack([one] * 5, torch.device("cpu"), torch.float32).whole
    assert stacked and stacked.rows == 5
    for ours, theirs in ((stacked.lora_A[0], one.lora_A[0]), (stacked.lora_B[0], one.lora_B[0])):
        assert ours.untyped_storage().data_ptr() == theirs.untyped_storage().data_ptr()


def test_rows_that_share_a_memory_get_what_each_would_get() -> None:
    dice = torch.Generator().manual_seed(0)
    shared, own = torch.randn(2, 4, generator=dice), torch.randn(3, 2, 4, generator=dice)
    x, b = torch.randn(6, 5, 4, generator=dice), torch.randn(3, 4, 2, generator=dice)
    for a in (shared, own):
        adapter = Adapter((a,), (b,))
        alone = [adapter.row(torch.tensor([i // 2])).delta(0, x[i : i + 1]) for i in range(6)]
        torch.testing.assert_close(adapter.delta(0, x), torch.cat(alone))


def test_steps_are_compiled_by_the_thread_that_runs_them(engine: Engine) -> None:
    by = list[str]()

    def compiling() -> CompiledDecoding:
        by.append(threading.current_thread().name)
        return CompiledDecoding(engine.base, engine.materialise(engine.empty_state()), 2, 64, "aot_eager")

    batching = Batching(engine.base, (), compiling)
    assert by == [thread.name for thread in batching._thread._threads]
