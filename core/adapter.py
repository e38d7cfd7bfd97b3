"""The adapter: ready low-rank weights, each row of a batch with its own.

Never the source of truth: it is made from a state whenever needed, and knows nothing of where that came from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad


@dataclass(frozen=True)
class Adapter:
    """Per target layer, `y = W x + lora_B lora_A x`.

    `lora_B` is (rows, d_out, rank); `lora_A` is (rows, rank, d_in), or (rank, d_in) where every row has the same.
    """

    lora_A: tuple[Tensor, ...]
    lora_B: tuple[Tensor, ...]

    @property
    def rows(self) -> int:
        """How many rows of a batch this adapter is for."""
        return self.lora_B[0].shape[0]

    @property
    def nbytes(self) -> int:
        """Bytes of all the factors."""
        return sum(factor.nbytes for factor in (*self.lora_A, *self.lora_B))

    def delta(self, layer: int, x: Tensor) -> Tensor:
        """What target layer `layer` adds for its input `x` (rows, T, d_in): (rows, T, d_out)."""
        return x @ self.lora_A[layer].mT @ self.lora_B[layer].mT

    def row(self, index: Tensor) -> Adapter:
        """The rows `index` names, in that order, repeats allowed."""
        return Adapter(tuple(a if a.ndim == 2 else a[index] for a in self.lora_A), tuple(b[index] for b in self.lora_B))

    def scaled(self, strength: float) -> Adapter:
        """The adapter whose delta is `strength` times this one's."""
        return Adapter(self.lora_A, tuple(b * strength for b in self.lora_B))

    def to(self, device: torch.device, dtype: torch.dtype) -> Adapter:
        """Move and cast to where the base computes."""
        return Adapter(tuple(a.to(device, dtype) for a in self.lora_A), tuple(b.to(device, dtype) for b in self.lora_B))


def stack(adapters: Sequence[Adapter]) -> Adapter:
    """Put the rows of several adapters into one batch; smaller ranks are filled with zeros."""
    if len(adapters) == 1:
        return adapters[0]
    layers = range(len(adapters[0].lora_B))
    lora_A, lora_B = [], []
    for i in layers:
        rank = max(adapter.lora_B[i].shape[-1] for adapter in adapters)
        lora_B.append(torch.cat([pad(a.lora_B[i], (0, rank - a.lora_B[i].shape[-1])) for a in adapters]))
        if all(a.lora_A[i] is adapters[0].lora_A[i] and a.lora_A[i].ndim == 2 for a in adapters):
            lora_A.append(adapters[0].lora_A[i])
            continue
        own = [a.lora_A[i] if a.lora_A[i].ndim == 3 else a.lora_A[i].expand(a.rows, -1, -1) for a in adapters]
        lora_A.append(torch.cat([pad(a, (0, 0, 0, rank - a.shape[-2])) for a in own]))
    return Adapter(tuple(lora_A), tuple(lora_B))
