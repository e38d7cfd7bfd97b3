"""Peft computes the same thing as our rows do, on weights that it shares; else its time would say nothing."""

from __future__ import annotations

import pytest
import torch

from benchmarks.costs import memories
from benchmarks.geometry import TINY, random_engines
from benchmarks.loras import base_with_loras
from benchmarks.timing import SENTENCE
from core.adapter import Adapter
from core.base import Base
from core.decoding import Decoding, Row, Sampling
from core.device import Choice, resolve
from core.engine import Engine

pytest.importorskip("peft")
pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")  # peft calls it
KINDS = ("published", "gated")
PROMPT = range(300, 320)


@pytest.fixture(scope="module")
def engines() -> dict[str, Engine]:
    return random_engines(TINY, resolve(Choice("cpu")), SENTENCE)


def amplified(adapters: list[Adapter]) -> list[Adapter]:
    """So strong that no row's text is that of another, or of the bare base."""
    return [Adapter(a.lora_A, tuple(30 * b for b in a.lora_B)) for a in adapters]


def texts(base: Base, adapters: list[Adapter] | list[None], steps: int = 8) -> list[tuple[int, ...]]:
    decoding = Decoding(base, [Row(PROMPT, adapter, Sampling()) for adapter in adapters])
    return list(zip(*(decoding.step() for _ in range(steps)), strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_peft_writes_what_our_rows_write(engines: dict[str, Engine], kind: str) -> None:
    base, adapters = engines[kind].base, amplified(memories(engines[kind], 3))
    ours = texts(base, adapters)
    assert texts(base_with_loras(base, adapters), [None] * 3) == ours
    assert len({*ours, *texts(base, [None])}) == 4


def test_the_twin_shares_every_weight_and_leaves_the_base_as_it_was(engines: dict[str, Engine]) -> None:
    engine = engines["published"]
    base, before = engine.base, texts(engine.base, [None])
    twin = base_with_loras(base, amplified(memories(engine, 2)))
    theirs = {weight.data_ptr() for layer in twin.layers for weight in layer.parameters()}
    assert {weight.data_ptr() for layer in base.layers for weight in layer.parameters()} < theirs
    assert texts(base, [None]) == before


def test_peft_computes_in_the_bases_number_type() -> None:
    placement = resolve(Choice("cpu"))
    engine = random_engines(TINY, type(placement)(placement.device, torch.bfloat16, "sdpa", "as on a GPU"), SENTENCE)
    twin = base_with_loras(engine["gated"].base, memories(engine["gated"], 1))
    assert {weight.dtype for layer in twin.layers for weight in layer.parameters()} == {torch.bfloat16}
