"""Growing a trained model: more layers, the same function."""

from __future__ import annotations

import pytest
import torch

from core.device import Placement
from training.growth import deepened

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
