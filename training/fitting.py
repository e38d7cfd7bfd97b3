"""What a generator for a frozen base minimises: the loss of rows that are read with the states after a text's windows.

A module, so that whatever spreads training over GPUs sees every use of the generator. Knows no files and no optimiser.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.checkpoint import checkpoint

from core.adapter import Adapter
from core.base import Base
from core.generator import Generator
from training.packing import IGNORED
from training.windows import Example


class Fitting(nn.Module):
    """The mean loss of an example, in nats a token, as its weights have it.

    So many rows of it are read at once, and read again for the gradient: activations are held for those alone.
    """

    def __init__(self, base: Base, generator: Generator, rows_at_once: int = 1) -> None:
        super().__init__()
        self.generator, self.rows_at_once = generator, rows_at_once
        self._base = (base,)  # in a tuple it is no submodule: frozen, and the same everywhere

    def forward(self, example: Example) -> Tensor:
        """See the class."""
        adapter = self.generator.materialise(self.states(example["ids"], example["windows"]))
        loss, parts = (
            example["ids"].new_zeros((), dtype=torch.float32),
            range(0, len(example["asked"]), self.rows_at_once),
        )
        for start in parts:
            rows = slice(start, start + self.rows_at_once)
            chosen = adapter.row(example["after"][rows])
            asked = (example[name][rows] for name in ("asked", "labels", "weights"))
            loss = loss + checkpoint(self._loss, *asked, chosen, use_reentrant=False)
        return loss

    def states(self, ids: Tensor, windows: Tensor) -> Tensor:
        """The state after each window, (k, layers, r_k, r_v); windows are read as the generator reads them.

        The gradient goes through what a window adds, not through how it was read: the base's part has none to give.
        """
        sums, found = self.generator.empty_sums().to(ids.device), []
        apart = None if self.generator.reads_sequentially else self._contribution(ids, windows)
        for i in range(len(ids)):
            here = slice(i, i + 1)
            added = self._contribution(ids[here], windows[here], sums) if apart is None else apart[here]
            sums = self.generator.fold(sums, added[0])
            found.append(sums)
        return torch.stack(found)

    def _contribution(self, ids: Tensor, windows: Tensor, sums: Tensor | None = None) -> Tensor:
        """What windows add, read with the adapter of `sums` if any."""
        (base,) = self._base
        with torch.no_grad():
            known = sums is not None and bool(sums.any())
            adapter = self.generator.materialise(sums.detach()[None]) if known and sums is not None else None
            hidden = base.read(ids, adapter.to(base.device, base.dtype) if adapter else None)
        return self.generator.contribution(hidden, windows)

    def _loss(self, ids: Tensor, labels: Tensor, weights: Tensor, adapter: Adapter) -> Tensor:
        """The weighted loss of some rows; where it is computed once more, the adapter is on the base once more."""
        (base,) = self._base
        with base.adapted(adapter.to(base.device, base.dtype)):
            logits = base.model(input_ids=ids, use_cache=False).logits[:, :-1]
        targets = labels[:, 1:]
        flat = logits.flatten(0, 1).float(), targets.flatten()
        return cross_entropy(*flat, reduction="none", ignore_index=IGNORED).view_as(targets).sum(-1) @ weights
