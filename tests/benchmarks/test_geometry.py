"""The full-size base and generators have the published shapes; nothing here has room for their numbers."""

from __future__ import annotations

import pytest
import torch

from benchmarks.geometry import MISTRAL, TINY, random_base, random_engines, random_generators
from core.chat import Message, encode
from core.device import Choice, Placement, resolve

NOWHERE = Placement(torch.device("meta"), torch.bfloat16, "sdpa", "shapes only")
MISTRAL_7B_PARAMETERS = 7_241_732_096  # of the published checkpoint
PUBLISHED_PARAMETERS = 32 * (4 * 1024 * 4096 + 4096)  # A1, A2, A3, B and the norm (METHOD 5)


def test_the_full_size_base_is_mistral_7b_in_bfloat16() -> None:
    base = random_base(MISTRAL, NOWHERE)
    weights = list(base.model.parameters())
    assert sum(weight.numel() for weight in weights) == MISTRAL_7B_PARAMETERS
    assert {weight.dtype for weight in weights} == {torch.bfloat16}
    assert (len(base.layers), base.context_length, base.model.config.sliding_window) == (32, 32768, None)


def test_no_weight_is_made_on_another_device_first() -> None:
    made = [*random_base(MISTRAL, NOWHERE).model.parameters()]
    for generator in random_generators(MISTRAL, NOWHERE.device).values():
        made += generator.parameters()
    assert {weight.device.type for weight in made} == {"meta"}


def test_the_full_size_generator_is_the_published_one() -> None:
    generator = random_generators(MISTRAL, NOWHERE.device)["published"]
    assert sum(weight.numel() for weight in generator.parameters()) == PUBLISHED_PARAMETERS
    assert generator.state_shape == (32, 1024, 1024)
    config = MISTRAL.published_config()
    assert (config.rank, config.scaling) == (128, 0.0625)


@pytest.mark.parametrize("kind", ["published", "gated"])
def test_a_random_memory_is_not_nothing(kind: str) -> None:
    engine = random_engines(TINY, resolve(Choice("cpu")), "tea and cake")[kind]
    state = engine.fold(engine.empty_state(), [Message("user", "tea and cake")])
    adapter = engine.materialise(state)
    x = torch.randn(1, 3, TINY.heads * TINY.head_size)
    assert all(adapter.delta(layer, x).abs().max() > 0 for layer in range(TINY.layers))


def test_each_given_word_is_one_token() -> None:
    engine = random_engines(TINY, resolve(Choice("cpu")), "tea and cake")["gated"]
    one, two = (encode(engine.tokenizer, [Message("user", "cake " * n + "tea")], reply=False) for n in (1, 2))
    assert len(two) == len(one) + 1
