"""More layers, wider states, a broader base, for weights that were trained with less, so that little changes at first.

Knows only names.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

LAYER = re.compile(r"(?<=\blayers\.)\d+(?=\.)")
KEYS_AND_VALUES, READS = (".A2", ".A3"), (".A1", ".B")  # what is written to a state, and how it is read
FAINT = 0.1  # of their usual size: what is new and must not drown the old before anything has learnt to read it
WRITES = ("o_proj.weight", "down_proj.weight", ".B")  # what a layer, or its adapter, adds to the residual stream
WORDS = ("embed_tokens.weight", "lm_head.weight")  # a row for each token, a column for each number of the stream


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


def widened(weights: Mapping[str, Tensor], size: int, wanted: int) -> dict[str, Tensor]:
    """A generator's weights for states of `wanted` x `wanted` in place of `size` x `size`.

    New keys and values are faint random directions, and nothing reads them until A1 and B have learnt to; the adapter
    changes by the square of their strength. ValueError where `wanted` is less than `size`.
    """
    if wanted < size:
        raise ValueError(f"A state of {size} can become wider, not {wanted}.")
    random = torch.Generator().manual_seed(wanted)
    return {name: _padded(name, tensor, wanted - size, random) for name, tensor in weights.items()}


def _padded(name: str, tensor: Tensor, more: int, random: torch.Generator) -> Tensor:
    if name.endswith(KEYS_AND_VALUES):
        faint = torch.randn(more, tensor.shape[1], generator=random) * tensor.std().cpu() * FAINT
        return torch.cat([tensor, faint.to(tensor)])
    if name.endswith(READS):
        rows = name.endswith(".A1")
        return torch.cat(
            [tensor, tensor.new_zeros((more, tensor.shape[1]) if rows else (tensor.shape[0], more))], 1 - rows
        )
    return tensor.clone()


def broadened(weights: Mapping[str, Tensor], fresh: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights laid into `fresh` ones of a broader residual stream, with more heads of their size and more neurons.

    What is new reads the old, is faintly written to the stream's new numbers, and nothing old reads it; norms are over
    more numbers, so their weights make up for that. ValueError where `fresh` is narrower.
    """
    return {name: _laid_into(name, tensor, fresh[name]) for name, tensor in weights.items()}


def _laid_into(name: str, old: Tensor, fresh: Tensor) -> Tensor:
    if any(had > has for had, has in zip(old.shape, fresh.shape, strict=True)):
        raise ValueError(f"{name} can become broader, not {tuple(fresh.shape)} from {tuple(old.shape)}.")
    if old.shape == fresh.shape:
        return old.clone()
    if old.ndim == 1:
        made_up = (len(old) / len(fresh)) ** 0.5 if "norm" in name else 1.0
        return torch.cat([old, fresh[len(old) :].to(old)]) * made_up
    rows, columns = old.shape
    new = fresh.to(old, copy=True)
    if name.endswith(WRITES):
        new[rows:] *= FAINT
    new[:, columns:] *= FAINT if name.endswith(WORDS) else 1.0
    if not name.endswith(WORDS):
        new[:rows, columns:] = 0.0
    new[:rows, :columns] = old
    return new
