"""The adapter: ready low-rank weights, each row of a batch with its own.

Never the source of truth: it is made from a state whenever needed, and knows nothing of where that came from.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
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

    @property
    def adds_nothing(self) -> bool:
        """Whether it leaves the base as it is: that of an empty memory does, and any at no strength."""
        return not any(bool(b.any()) for b in self.lora_B)

    def delta(self, layer: int, x: Tensor) -> Tensor:
        """What target layer `layer` adds for its input `x` (rows, T, d_in): (rows, T, d_out).

        One row of `x` may be for all rows here; and where it has n times as many, n in turn are for each.
        """
        several = len(x) > self.rows
        own = x.reshape(self.rows, -1, x.shape[-1]) if several else x
        added = own @ self.lora_A[layer].mT @ self.lora_B[layer].mT
        return added.view(*x.shape[:-1], -1) if several else added

    def row(self, index: Tensor) -> Adapter:
        """The rows `index` names, in that order, repeats allowed."""
        return Adapter(tuple(a if a.ndim == 2 else a[index] for a in self.lora_A), tuple(b[index] for b in self.lora_B))

    def repeated(self, rows: int) -> Adapter:
        """Its one row as so many, all the same memory."""
        factors = ((f if f.ndim == 2 else f.expand(rows, -1, -1) for f in side) for side in (self.lora_A, self.lora_B))
        return Adapter(*map(tuple, factors))

    def scaled(self, strength: float | Tensor) -> Adapter:
        """The adapter whose delta is `strength` times this one's; (rows, 1, 1) where each row has its own."""
        return Adapter(self.lora_A, tuple(b * strength for b in self.lora_B))

    def to(self, device: torch.device, dtype: torch.dtype) -> Adapter:
        """Move and cast to where the base computes."""
        return Adapter(tuple(a.to(device, dtype) for a in self.lora_A), tuple(b.to(device, dtype) for b in self.lora_B))


def stack(adapters: Sequence[Adapter]) -> Adapter:
    """Put the rows of several adapters into one batch; smaller ranks are filled with zeros."""
    if len(adapters) == 1:
        return adapters[0]
    if adapters[0].rows == 1 and all(adapter is adapters[0] for adapter in adapters):
        return adapters[0].repeated(len(adapters))
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


def distinct_bytes(adapters: Iterable[Adapter]) -> int:
    """Bytes of the adapters' factors; one that several have in common is there once."""
    factors = {id(f): f.nbytes for adapter in adapters for f in (*adapter.lora_A, *adapter.lora_B)}
    return sum(factors.values())


class Stack:
    """The adapters of the rows of a batch, of which any can change; a row without one gets zeros, which add nothing.

    `whole` adds them all; it is None where no row has one.
    """

    def __init__(self, adapters: Sequence[Adapter | None], device: torch.device, dtype: torch.dtype) -> None:
        self._adapters, self._where = list(adapters), (device, dtype)
        self.whole: Adapter | None = self._stacked()

    def put(self, places: Sequence[int], adapters: Sequence[Adapter | None]) -> None:
        """Have the rows at these places read with these; the last places may be new ones, in order."""
        own = len(self._adapters)
        for place, adapter in zip(places, adapters, strict=True):
            self._adapters[place : place + 1] = [adapter]
        if len(self._adapters) > own or not all(map(self._can_be_written, adapters)):
            self.whole = self._stacked()
            return
        with torch.inference_mode():
            for layer, factors in enumerate(self.whole.lora_B if self.whole else ()):
                for place, adapter in zip(places, adapters, strict=True):
                    factors[place] = adapter.lora_B[layer][0] if adapter else 0.0

    def _can_be_written(self, adapter: Adapter | None) -> bool:
        """Whether it fits into what is stacked, which is a copy where several rows differ; one row's is its own."""
        if self.whole and self.whole.lora_B[0].stride(0) == 0:
            return False  # all rows are one adapter's own factors
        if adapter is None:
            return self.whole is None or len(self._adapters) > 1
        if self.whole is None or len(self._adapters) == 1:
            return False
        factors = zip(adapter.lora_A, self.whole.lora_A, adapter.lora_B, self.whole.lora_B, strict=True)
        return all(a is b and c.shape[1:] == d.shape[1:] for a, b, c, d in factors)

    def _stacked(self) -> Adapter | None:
        present = [adapter for adapter in self._adapters if adapter is not None]
        if not present:
            return None
        bare = Adapter(present[0].lora_A, tuple(torch.zeros_like(b[:1]) for b in present[0].lora_B))
        return stack([adapter or bare for adapter in self._adapters]).to(*self._where)
