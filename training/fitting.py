"""What a generator for a frozen base minimises: the loss of rows that are read with the states after a text's windows.

And the options of a run that does. `Fitting` is a module, so that whatever spreads training over GPUs sees every use
of the generator. Knows no files and no optimiser.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from itertools import accumulate
from math import inf
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.checkpoint import checkpoint

from core.adapter import Adapter, stack
from core.base import Base
from core.config import GeneratorConfig, PublishedConfig
from core.families import Target
from core.generator import Generator
from core.sizes import ends_of
from training.packing import IGNORED
from training.windows import Example

Kind = Literal["gated", "published"]
Dtype = Literal["bfloat16", "float32"]
CHOICES = {"kind": get_args(Kind), "dtype": get_args(Dtype), "target": get_args(Target)}
NUMBERS: dict[str, tuple[str, tuple[type, ...]]] = {"int": ("whole number", (int,)), "float": ("number", (int, float))}
MAY_BE_ZERO = {"before", "after", "lr", "warmup_steps", "weight_decay", "steps", "epochs", "seed"}


@dataclass(frozen=True)
class FitConfig:
    """A generator's shapes, its optimiser, and how long it trains. Sizes in tokens, lengths in optimiser steps.

    `epochs` times all of the data, or `steps` where that is 0. An example has up to `windows` windows; `batch` of them,
    on all devices together, make a step. `start` is a generator to go on from, of the same shapes. The first `before`
    and the last `after` layers get no adapter.
    """

    kind: Kind = "gated"
    target: Target = "attention"
    before: int = 0
    after: int = 0
    state_size: int = 128
    rank: int = 128
    alpha: float = 64.0
    window: int = 1024
    windows: int = 8
    lr: float = 1e-4
    warmup_steps: int = 100
    weight_decay: float = 0.01
    batch: int = 8
    steps: int = 15_259
    epochs: int = 0
    save_steps: int = 200
    rows_at_once: int = 1
    dtype: Dtype = "bfloat16"
    attention: str = "sdpa"
    seed: int = 0
    start: str = ""

    def __post_init__(self) -> None:
        for field in fields(self):
            _check_kind(field.name, str(field.type), getattr(self, field.name))
        for name, known in CHOICES.items():
            if getattr(self, name) not in known:
                raise ValueError(f"{name} is {getattr(self, name)!r}; it has to be one of {', '.join(known)}.")
        if self.kind == "published" and self.target != "attention":
            raise ValueError(f"target is {self.target!r}; the published kind changes what ends attention alone.")
        if self.kind == "published" and (self.before or self.after):
            raise ValueError(f"before is {self.before}, after {self.after}; the published kind changes every layer.")

    def shapes(self, base: Base) -> GeneratorConfig:
        """Of the generator to be trained; raise ValueError for more directions than a state or the base has."""
        sizes: dict[str, Any] = {"key_size": self.state_size, "value_size": self.state_size, "window": self.window}
        if self.kind == "gated":
            return GeneratorConfig(**ends_of(base), **sizes)
        if self.rank > (most := min(self.state_size, *base.sizes)):
            raise ValueError(f"rank is {self.rank}; states of {self.state_size} on this base have {most} at most.")
        return PublishedConfig(**ends_of(base), **sizes, rank=self.rank, scaling=self.alpha / self.state_size)


def _check_kind(name: str, kind: str, value: Any) -> None:
    """Raise ValueError where a file has a value of another kind, or a number is out of range or not finite."""
    if kind not in NUMBERS:
        if not isinstance(value, str):
            raise ValueError(f"{name} is {value!r}; it has to be text.")
        return
    called, types = NUMBERS[kind]
    if type(value) not in types or not 0 <= value < inf or (not value and name not in MAY_BE_ZERO):
        least = "of 0 or more" if name in MAY_BE_ZERO else "above 0"
        raise ValueError(f"{name} is {value!r}; it has to be a {called} {least}.")


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
        adapter = self.adapters(example["ids"], example["windows"])
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

    def adapters(self, ids: Tensor, windows: Tensor) -> Adapter:
        """The adapter after each window, k rows; windows are read as the generator reads them.

        One that the next window is read with is made once for that and for what is asked. The gradient goes through
        what a window adds, not through how it was read: the base's part has none to give.
        """
        generator, sums = self.generator, self.generator.empty_sums().to(ids.device)
        if not generator.reads_sequentially:
            sums_after = accumulate(self._contribution(ids, windows), generator.fold, initial=sums)
            return generator.materialise(torch.stack([*sums_after][1:]))
        found = list[Adapter]()
        for window in zip(ids.split(1), windows.split(1), strict=True):
            (added,) = self._contribution(*window, found[-1] if found else None)
            sums = generator.fold(sums, added)
            found.append(generator.materialise(sums[None]))
        return stack(found)

    def _contribution(self, ids: Tensor, windows: Tensor, adapter: Adapter | None = None) -> Tensor:
        """What windows add, read with an adapter if any."""
        (base,) = self._base
        with torch.no_grad():
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
