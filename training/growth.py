"""More layers for weights that were trained with fewer, such that nothing changes at first. Knows only names."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

LAYER = re.compile(r"(?<=\blayers\.)\d+(?=\.)")
WRITES = ("o_proj.weight", "down_proj.weight", ".B")  # what a layer, or its adapter, adds to the residual stream


def deepened(weights: Mapping[str, Tensor], layers: int, wanted: int) -> dict[str, Tensor]:
    """The weights with copies of some layers laid in after them, evenly; a copy adds nothing until it has learnt to.

    Function-preserving growth (Chen et al., 2016, Net2Net) of a pre-norm residual network. ValueError where `wanted`
    is not from `layers` to twice as many.
    """
    if not layers <= wanted <= 2 * layers:
        raise ValueError(f"{layers} layers can become {layers} to {2 * layers}, not {wanted}.")
    new = wanted - layers
    copied = {(i + 1) * layers // (new + 1) for i in range(new)} if new < layers else set(range(layers))
    grown = {name: tensor for name, tensor in weights.items() if not LAYER.search(name)}
    place = 0
    for layer in range(layers):
        for silent in (False, True)[: 1 + (layer in copied)]:
            grown |= _laid(weights, layer, place, silent)
            place += 1
    return grown


def _laid(weights: Mapping[str, Tensor], layer: int, place: int, silent: bool) -> dict[str, Tensor]:
    own = {name: tensor for name, tensor in weights.items() if (found := LAYER.search(name)) and found[0] == str(layer)}
    return {
        LAYER.sub(str(place), name): torch.zeros_like(tensor) if silent and name.endswith(WRITES) else tensor.clone()
        for name, tensor in own.items()
    }
