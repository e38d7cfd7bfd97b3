"""The state: what a memory is made of, one additive matrix per target layer.

A value: nothing here changes in place, knows whose memory it is, or how a layer reads it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from core.errors import StateError

FORMAT_VERSION = 1


@dataclass(frozen=True)
class State:
    """Running sums of the method: `sums` is (layers, r_k, r_v), float32 (in bfloat16 short turns vanish)."""

    sums: Tensor

    @classmethod
    def from_bytes(cls, blob: bytes) -> State:
        """Read what `to_bytes` wrote; raise StateError for anything else."""
        try:
            tensors = load(blob)
        except (SafetensorError, ValueError, KeyError, OverflowError) as error:
            raise StateError(
                f"The stored state ({len(blob)} bytes) cannot be read; restore it from a backup."
            ) from error
        if set(tensors) != {"sums"} or tensors["sums"].dtype != torch.float32 or tensors["sums"].ndim != 3:
            raise StateError(f"The stored bytes hold {sorted(tensors)} instead of one state; restore it from a backup.")
        return cls(tensors["sums"])

    def to_bytes(self) -> bytes:
        """Serialise as safetensors."""
        return save({"sums": self.sums.cpu().contiguous()}, metadata={"format_version": str(FORMAT_VERSION)})

    def __add__(self, other: State) -> State:
        return State(self.sums + other.sums)

    def __sub__(self, other: State) -> State:
        return State(self.sums - other.sums)

    @property
    def is_empty(self) -> bool:
        """Whether nothing was ever folded."""
        return not bool(self.sums.any())

    @property
    def nbytes(self) -> int:
        """Bytes of the sums."""
        return self.sums.nbytes

    def norms(self) -> list[float]:
        """Frobenius norm of each layer's matrix."""
        return torch.linalg.matrix_norm(self.sums).tolist()

    def spectrum(self) -> list[list[float]]:
        """Singular values of each layer's matrix, largest first."""
        return torch.linalg.svdvals(self.sums).tolist()
