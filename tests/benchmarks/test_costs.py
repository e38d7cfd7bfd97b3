"""What the cost of a memory is counted in: bytes that a step reads, adapters that differ, tokens of a turn."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from benchmarks.costs import Contender, copy_bandwidth, decode, memories, weight_bytes_a_step
from benchmarks.geometry import TINY, random_engines
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


def test_a_way_that_cannot_be_gone_here_leaves_the_others(
    engines: dict[str, Engine], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(*_: object) -> Contender:
        def begin() -> Decoding:
            raise DeviceError("Steps cannot be compiled with eager.")

        return Contender(begin)

    monkeypatch.setattr("benchmarks.costs.peft_is_installed", lambda: True)
    monkeypatch.setattr("benchmarks.costs.through_peft", refused)
    rows = decode({"gated": engines["gated"]}, users=2, repeats=1, bandwidth=1e9)
    assert [row["side"] for row in rows] == ["no memory", "gated memories"]
    assert "through peft: not measured (Steps cannot be compiled with eager" in capsys.readouterr().err


def test_a_factor_that_adapters_share_is_read_once() -> None:
    shared = torch.zeros(2, 8)
    own = [Adapter((shared,), (torch.zeros(1, 8, 2),)) for _ in range(3)]
    assert distinct_bytes(own) == 4 * (2 * 8 + 3 * 8 * 2)


def test_a_step_reads_all_weights_but_the_embeddings_it_looks_up(engines: dict[str, Engine]) -> None:
    base = engines["gated"].base
    everything = sum(weight.nbytes for weight in base.model.parameters())
    assert weight_bytes_a_step(base) == everything - 4 * TINY.vocabulary * TINY.hidden_size


def test_embeddings_that_are_the_head_too_are_read() -> None:
    model = tiny_model()
    model.set_output_embeddings(model.get_input_embeddings())
    assert weight_bytes_a_step(Base(model)) == sum(weight.nbytes for weight in model.parameters())


@pytest.mark.parametrize("tokens", [64, 1024])
def test_a_measured_turn_has_exactly_the_stated_tokens(engines: dict[str, Engine], tokens: int) -> None:
    engine = engines["gated"]
    assert len(encode(engine.tokenizer, turn_of(engine, tokens), reply=False)) == tokens
    assert tokens <= engine.generator.config.window


def test_the_bandwidth_is_a_positive_number(engines: dict[str, Engine]) -> None:
    assert copy_bandwidth(engines["gated"], repeats=1) > 0
