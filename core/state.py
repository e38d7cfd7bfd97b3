"""The state: what a memory is made of, one additive matrix per target layer, and another for what does not fade.

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
    """Running sums of the method: both (layers, r_k, r_v), float32 (in bfloat16 short turns vanish).

    `sums` fades with every turn, `pinned` does not; None where nothing is pinned.
    """

    sums: Tensor
    pinned: Tensor | None = None

    @classmethod
    def from_bytes(cls, blob: bytes) -> State:
        """Read what `to_bytes` wrote; raise StateError for anything else."""
        try:
            tensors = load(blob)
        except (SafetensorError, ValueError, KeyError, OverflowError) as error:
            raise StateError(
                f"The stored state ({len(blob)} bytes) cannot be read; restore it from a backup."
            ) from error
        sound = all(sums.dtype == torch.float32 and sums.ndim == 3 for sums in tensors.values())
        alike = len({sums.shape for sums in tensors.values()}) == 1
        if not {"sums"} <= set(tensors) <= {"sums", "pinned"} or not (sound and alike):
            raise StateError(f"The stored bytes hold {sorted(tensors)} instead of one state; restore it from a backup.")
        return cls(**tensors)

    def to_bytes(self) -> bytes:
        """Serialise as safetensors."""
        tensors = {"sums": self.sums} | ({} if self.pinned is None else {"pinned": self.pinned})
        contiguous = {name: sums.cpu().contiguous() for name, sums in tensors.items()}
        return save(contiguous, metadata={"format_version": str(FORMAT_VERSION)})

    def __add__(self, other: State) -> State:
        return State(self.sums + other.sums, total(self.pinned, other.pinned))

    @property
    def whole(self) -> Tensor:
        """What is read: both sums together."""
        return self.sums if self.pinned is None else self.sums + self.pinned

    @property
    def is_empty(self) -> bool:
        """Whether nothing was ever folded."""
        return not bool(self.whole.any())

    @property
    def nbytes(self) -> int:
        """Bytes of the sums."""
        return self.sums.nbytes + (0 if self.pinned is None else self.pinned.nbytes)

    def norms(self) -> list[float]:
        """Frobenius norm of each layer's matrix."""
        return torch.linalg.matrix_norm(self.whole).tolist()

    def spectrum(self) -> list[list[float]]:
        """Singular values of each layer's matrix, largest first."""
        return torch.linalg.svdvals(self.whole).tolist()


def total(one: Tensor | None, other: Tensor | None) -> Tensor | None:
    """The sum of what may not be there."""
    if one is None or other is None:
        return other if one is None else one
    return one + other
