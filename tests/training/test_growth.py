"""Growing a trained model: more layers, wider states, the same function."""

from __future__ import annotations

import pytest
import torch

from core.config import GeneratorConfig
from core.device import Placement
from core.generator import GatedGenerator
from training.growth import deepened, widened

CPU = Placement(torch.device("cpu"), torch.float32, "sdpa", "test")


@pytest.mark.parametrize(("layers", "wanted"), [(6, 6), (6, 7), (6, 8), (6, 9), (6, 11), (6, 12), (3, 5)])
def test_every_layer_is_kept_in_order_and_copies_come_after_their_own(layers: int, wanted: int) -> None:
    weights = {f"layers.{i}.o_proj.weight": torch.tensor([1.0 + i]) for i in range(layers)}
    grown = deepened(weights, layers, wanted)
    values = [float(grown[f"layers.{i}.o_proj.weight"]) for i in range(wanted)]
    assert len(grown) == wanted
    assert [value for value in values if value] == [1.0 + i for i in range(layers)]
    assert values.count(0.0) == wanted - layers


@pytest.mark.parametrize("wanted", [5, 13])
def test_another_depth_is_refused(wanted: int) -> None:
    with pytest.raises(ValueError, match="6 layers can become 6 to 12"):
        deepened({}, 6, wanted)


def test_a_wider_state_reads_at_first_as_the_narrow_one() -> None:
    torch.manual_seed(0)
    narrow, wide = (GatedGenerator(GeneratorConfig(2, 32, 32, 32, key_size=size, value_size=size)) for size in (8, 12))
    wide.load_state_dict(widened(narrow.state_dict(), 8, 12))
    hidden, windows = [torch.randn(1, 4, 32) for _ in range(2)], torch.zeros(1, 4, dtype=torch.long)
    old, new = (own.materialise(own.contribution(hidden, windows)) for own in (narrow, wide))
    for layer in range(2):
        was, now = old.lora_B[layer] @ old.lora_A[layer], new.lora_B[layer] @ new.lora_A[layer]
        assert torch.linalg.vector_norm(now - was) < 0.05 * torch.linalg.vector_norm(was)


def test_a_narrower_state_is_refused() -> None:
    with pytest.raises(ValueError, match="8 can become wider, not 6"):
        widened({}, 8, 6)
