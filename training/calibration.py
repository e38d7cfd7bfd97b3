"""A generator that recalls a little before it is trained: fitted in closed form to what a pretrained base reads.

The hidden states of such a base are mostly alike, so random keys cannot tell them apart, and
random queries have nothing in common with them. Here keys and values are whitened projections; a query is the key that
the projection's input lets one guess; a read raises the logit of the token that its value was made from; and only
rare tokens are written. So at first the memory says what came after a word like this one. Knows hidden states only.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import rms_norm

from core.base import Base
from core.generator import EPS, GatedGenerator, GatedLayer

RIDGE = 1e-2  # of the mean variance, added to every direction
STRENGTH = 0.1  # of what the base's own projection adds, that a recalled value adds
COMMON = 0.002  # of all tokens, from which share on a token is not written
GATE = 3.0  # the logit of the write gate for rare tokens; its negative for common ones


@dataclass(frozen=True)
class Reading:
    """Of tokens `ids` (N,): `hidden` (N, d) enters a target layer and `given` (N, d_in) its projection."""

    ids: Tensor
    hidden: Tensor
    given: Tensor


@torch.no_grad()
def calibrate(base: Base, generator: GatedGenerator, rows: Iterable[Tensor]) -> None:
    """Fit A1, A2, A3, B and the gate of every target layer to rows (R, T) of tokens that the bare base reads.

    The base reads the rows once for each of them: what enters the MLPs of all layers of a large one has no room.
    """
    layers, rows, words = cast(Sequence[GatedLayer], generator.layers), list(rows), base.head.weight
    for number, layer in enumerate(layers):
        reading = _reading(base, number, rows)
        _fit_writing(layer, reading, torch.Generator().manual_seed(number))
        _fit_reading(layer, reading, base.projections[number], words)


def _fit_writing(layer: GatedLayer, reading: Reading, dice: torch.Generator) -> None:
    """What is written of a token, as a key and as a value, and which tokens are."""
    normalised = _normalised(reading)
    layer.A2.copy_(_whitening(normalised, len(layer.A2), dice))
    layer.A3.copy_(_whitening(normalised, len(layer.A3), dice))
    shares = torch.bincount(reading.ids)[reading.ids] / len(reading.ids)
    logits = torch.where(shares < COMMON, GATE, -GATE)[:, None]
    *gate, bias = _fitted(torch.cat([normalised, torch.ones_like(logits)], 1), logits)[0]
    layer.gate.copy_(torch.stack(gate))
    layer.gate_bias.copy_(bias)


def _fit_reading(layer: GatedLayer, reading: Reading, projection: nn.Module, words: Tensor) -> None:
    """What is asked for at a token, and what the answer adds to the residual stream."""
    normalised = _normalised(reading)
    layer.A1.copy_(_fitted(reading.given, normalised @ layer.A2.T))
    values = normalised @ layer.A3.T
    layer.B.copy_(_fitted(values, words[reading.ids].float()))
    usual = _size(projection(reading.given.to(words.dtype)).float())
    # The readout keeps a query's length, and spreads it over the numbers of a value.
    recalled = _size(reading.given @ layer.A1.T) * (len(layer.A1) / len(layer.A3)) ** 0.5
    layer.B.mul_(STRENGTH * usual / (_size(values @ layer.B.T) / _size(values) * recalled))


def _reading(base: Base, number: int, rows: Sequence[Tensor]) -> Reading:
    """Of target layer `number`. A row's first token is left out: what a base keeps there is no word of it."""
    given, hidden = list[Tensor](), list[Tensor]()
    hook = base.projections[number].register_forward_pre_hook(_keeping(given))
    for row in rows:
        entering = list[Tensor]()
        with base.captured(entering):
            base.decoder(input_ids=row, use_cache=False)
        hidden.append(entering[number])
    hook.remove()
    return Reading(torch.cat([row[:, 1:].flatten() for row in rows]), _joined(hidden), _joined(given))


def _keeping(place: list[Tensor]) -> Any:
    return lambda _, args: place.append(args[0])


def _joined(parts: Iterable[Tensor]) -> Tensor:
    return torch.cat([part[:, 1:].flatten(0, 1).float() for part in parts])


def _normalised(reading: Reading) -> Tensor:
    return rms_norm(reading.hidden, reading.hidden.shape[-1:], None, EPS)


def _whitening(vectors: Tensor, size: int, dice: torch.Generator) -> Tensor:
    """A random projection (size, d) that gives each direction of (N, d) the same part in what it makes of them."""
    strengths, directions = torch.linalg.eigh(vectors.T @ vectors / len(vectors))
    scales = (strengths.clamp_min(0) + RIDGE * strengths.mean()).rsqrt()
    chosen = torch.randn(size, vectors.shape[-1], generator=dice).to(vectors.device)
    return chosen @ (directions * scales) @ directions.T * vectors.shape[-1] ** -0.5


def _fitted(given: Tensor, wanted: Tensor) -> Tensor:
    """The matrix (b, a) that makes (N, b) of (N, a) with the least squares, by ridge regression."""
    square = given.T @ given
    square.diagonal().add_(RIDGE * square.diagonal().mean())
    return torch.linalg.solve(square, given.T @ wanted).T


def _size(vectors: Tensor) -> Tensor:
    return vectors.square().mean().sqrt()
