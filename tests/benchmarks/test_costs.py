"""What the cost of a memory is counted in: bytes that a step reads, adapters that differ, tokens of a turn."""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack
from itertools import pairwise
from statistics import median

import pytest
import torch

from benchmarks.costs import (
    COLUMNS_AT_ONCE,
    SAMPLINGS,
    Contender,
    copy_bandwidth,
    decode,
    decode_compiled,
    decode_sampled,
    decomposition,
    matmul_rates,
    plain,
    prompt_of,
)
from benchmarks.decomposition import ways
from benchmarks.geometry import TINY, Work, fold_work, forward_work, memories, random_engines, step_work
from benchmarks.timing import SENTENCE, turn_of
from core.adapter import Adapter, distinct_bytes
from core.base import Base
from core.chat import encode
from core.decoding import Decoding
from core.device import Choice, resolve
from core.engine import Engine
from core.errors import DeviceError
from tests.tiny import tiny_model


@pytest.fixture(scope="module")
def engines() -> dict[str, Engine]:
    return random_engines(TINY, resolve(Choice("cpu")), SENTENCE)


@pytest.mark.parametrize("kind", ["published", "gated"])
def test_every_user_has_an_adapter_of_the_same_shape_and_other_numbers(engines: dict[str, Engine], kind: str) -> None:
    made = memories(engines[kind], 3)
    assert len({tuple(f.shape for f in (*a.lora_A, *a.lora_B)) for a in made}) == 1
    x = torch.randn(1, 2, TINY.heads * TINY.head_size)
    deltas = [a.delta(0, x) for a in made]
    assert not any(torch.allclose(*two) for two in pairwise(deltas))


@pytest.mark.parametrize("error", [DeviceError("No such kernel.\nSee below"), TypeError("No such kernel")])
def test_a_way_that_cannot_be_gone_here_leaves_the_others(
    engines: dict[str, Engine], error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(*_: object) -> Contender:
        def begin() -> Decoding:
            raise error

        return Contender(begin, 64)

    monkeypatch.setattr("benchmarks.costs.peft_is_installed", lambda: True)
    monkeypatch.setattr("benchmarks.costs.through_peft", refused)
    rows = decode({"gated": engines["gated"]}, users=2, repeats=1, bandwidth=1e9)
    assert [row["side"] for row in rows] == ["no memory", "gated memories"]
    assert capsys.readouterr().err == "gated memories through peft: not measured (No such kernel).\n"


def test_without_what_the_others_are_held_against_nothing_is_measured(
    engines: dict[str, Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> list[int]:
        raise TypeError("No such argument")

    monkeypatch.setattr(Decoding, "step", broken)
    with pytest.raises(TypeError, match="No such argument"):
        decode(engines, users=1, repeats=1, bandwidth=1e9)


@pytest.mark.parametrize("kind", ["published", "gated"])
def test_a_users_adapter_is_as_large_as_the_engine_makes_it(engines: dict[str, Engine], kind: str) -> None:
    engine = engines[kind]
    made, real = memories(engine, 1)[0], engine.materialise(engine.empty_state())
    assert [(f.shape, f.dtype) for f in (*made.lora_A, *made.lora_B)] == [
        (f.shape, f.dtype) for f in (*real.lora_A, *real.lora_B)
    ]


def test_the_columns_of_a_step_are_those_of_the_middle_one(engines: dict[str, Engine]) -> None:
    base, prompt, steps = engines["gated"].base, prompt_of(engines["gated"]), 5
    contender = plain(base, prompt, [None] * 2, steps)
    decoding, held = contender.begin(ExitStack()), []
    for _ in range(1 + steps):  # one is the clock's warm-up
        decoding.step()
        held.append(decoding._cache.layers[0].keys.shape[-2])
    assert contender.columns == median(held[1:])
    (row,) = decode_rows(engines, "no memory")
    assert row["cache_bytes"] == 2 * plain(base, prompt, [None], 4).columns * engines["gated"].cache_a_token


def decode_rows(engines: dict[str, Engine], side: str) -> list[dict[str, object]]:
    return [row for row in decode(engines, users=2, repeats=1, bandwidth=1e9) if row["side"] == side]


def test_ours_reads_once_what_adapters_share_and_peft_reads_it_for_every_user(engines: dict[str, Engine]) -> None:
    pytest.importorskip("peft")
    (ours,), (theirs,) = (decode_rows(engines, f"gated memories{way}") for way in ("", " through peft"))
    shared = 4 * TINY.layers * TINY.gated_size * TINY.heads * TINY.head_size
    assert theirs["adapter_bytes"] - ours["adapter_bytes"] == shared


def test_compiled_steps_read_all_columns_and_leave_nothing_on_the_base(
    engines: dict[str, Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "compile", lambda read, **_: read)  # which wants a compiler of C++ on a CPU
    rows = decode_compiled(engines, users=2, repeats=1, bandwidth=1e9, rates={})
    sides = [(f"{kind} memories, compiled", COLUMNS_AT_ONCE) for kind in engines]
    engine = engines["gated"]
    read = [(row["side"], row["cache_bytes"] / 2 / engine.cache_a_token) for row in rows if row["side"] != "no memory"]
    assert read == sides
    assert [row["side"] for row in rows].count("no memory") == 2
    assert not any(projection._forward_hooks for projection in engine.base.projections)


def test_sampled_steps_are_held_against_greedy_ones(engines: dict[str, Engine]) -> None:
    rows = decode_sampled(engines, users=2, repeats=1, bandwidth=1e9, rates={})
    assert [row["side"] for row in rows] == [*SAMPLINGS]
    assert [(how.temperature, how.top_p) for how in SAMPLINGS.values()] == [(0, 1), (0.7, 1), (0.7, 0.9)]


def test_a_factor_that_adapters_share_is_read_once() -> None:
    shared = torch.zeros(2, 8)
    own = [Adapter((shared,), (torch.zeros(1, 8, 2),)) for _ in range(3)]
    assert distinct_bytes(own) == 4 * (2 * 8 + 3 * 8 * 2)


def test_a_step_reads_all_weights_but_the_embeddings_it_looks_up(engines: dict[str, Engine]) -> None:
    base = engines["gated"].base
    everything = sum(weight.nbytes for weight in base.model.parameters())
    assert step_work(base, 3).read == everything - 4 * TINY.vocabulary * TINY.hidden_size


def test_embeddings_that_are_the_head_too_are_read() -> None:
    model = tiny_model()
    model.set_output_embeddings(model.get_input_embeddings())
    assert step_work(Base(model), 3).read == sum(weight.nbytes for weight in model.parameters())


def test_a_fold_reads_all_layers_but_the_last_and_multiplies_keys_values_and_sums(engines: dict[str, Engine]) -> None:
    d, heads, size = TINY.hidden_size, TINY.heads * TINY.head_size, TINY.published_size
    matrices = 2 * d * (heads + TINY.key_value_heads * TINY.head_size) + 3 * d * TINY.mlp_size
    keys, norms = 2 * size * d, 2 * d
    engine = engines["published"]
    assert forward_work(engine.base, 7) == Work(
        4 * 2 * (matrices + norms), Counter({torch.float32: 2 * 7 * 2 * matrices})
    )
    assert fold_work(engine.base, engine.generator, 7) == Work(
        4 * (matrices + norms + 2 * (keys + d)),
        Counter({torch.float32: 2 * 7 * (matrices + 2 * (keys + size * size))}),
    )


def test_the_limit_is_the_slower_of_reading_and_multiplying() -> None:
    work = Work(3000, Counter({torch.float32: 100, torch.bfloat16: 800}))
    rates = {torch.float32: 800.0, torch.bfloat16: 3200.0}
    assert work.limit_ms(1e6, {}) == work.limit_ms(1e6, rates | {torch.float32: 1e9, torch.bfloat16: 1e9}) == 3
    assert work.limit_ms(1e6, rates) == 375


def test_what_a_layer_decomposes_is_timed_in_every_way(engines: dict[str, Engine]) -> None:
    assert [row["side"] for row in decomposition(engines, repeats=1)] == [*ways(rank=8)]


@pytest.mark.parametrize("tokens", [64, 1024])
def test_a_measured_turn_has_exactly_the_stated_tokens(engines: dict[str, Engine], tokens: int) -> None:
    engine = engines["gated"]
    assert len(encode(engine.tokenizer, turn_of(engine, tokens), reply=False)) == tokens
    assert tokens <= engine.generator.config.window


def test_the_bandwidth_is_a_positive_number(engines: dict[str, Engine]) -> None:
    assert copy_bandwidth(engines["gated"], repeats=1) > 0


def test_a_rate_is_measured_for_each_number_type(engines: dict[str, Engine]) -> None:
    engine = engines["gated"]
    assert set(matmul_rates(engine, repeats=1)) == {engine.base.dtype, torch.float32}
    assert min(matmul_rates(engine, repeats=1).values()) > 0
