"""The three ways to read a long context in windows (METHOD 1): together, in parallel, in sequence.

Functions from token windows to sums. A window is (T,) token ids. Nothing here knows messages or users.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from core.adapter import Adapter
from core.base import Base
from core.generator import Generator


def contribution(base: Base, generator: Generator, window: Tensor, adapter: Adapter | None = None) -> Tensor:
    """The sums of one window read in one forward pass, (layers, r_k, r_v)."""
    ids = window[None].to(base.device)
    with torch.inference_mode():
        hidden = base.read(ids, adapter)
        return generator.contribution(hidden, torch.zeros_like(ids))[0]


def read_parallel(base: Base, generator: Generator, windows: Sequence[Tensor]) -> Tensor:
    """Each window read by the bare base, sums added: order-free, so a turn can be taken out again."""
    return torch.stack([contribution(base, generator, window) for window in windows]).sum(0)


def read_sequential(
    base: Base, generator: Generator, windows: Sequence[Tensor], sums: Tensor, adapter: Adapter | None = None
) -> Tensor:
    """Each window read with the adapter of what came before it, starting from `sums`; returns the sums after all.

    `adapter` is that of `sums`, which is made here where nobody has it at hand.
    """
    for window in windows:
        with torch.inference_mode():
            if adapter is None and sums.any():
                adapter = generator.materialise(sums[None]).to(base.device, base.dtype)
            sums, adapter = generator.fold(sums, contribution(base, generator, window, adapter)), None
    return sums
