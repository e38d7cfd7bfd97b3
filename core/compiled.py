"""Decoding by a step that is compiled once: rows and columns never change, so that a GPU replays one graph of kernels.

A step of a large base on a GPU is mostly the launching of small kernels, which this saves. It costs a compilation at
the start, and attention over all columns, used or not. Rows come and go as in Decoding; a place that nobody has
computes something that nobody looks at.
"""

from __future__ import annotations

import gc
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn
from torch._dynamo.exc import TorchDynamoException
from torch._inductor.exc import InductorError
from transformers import StaticCache
from transformers.cache_utils import StaticLayer

from core.adapter import Adapter
from core.base import Base
from core.decoding import NOBODY, Decoding, Row, cache_argument, rows_come_and_go
from core.errors import DeviceError, first_line

ROWS, COLUMNS = 8, 2048


class CompiledDecoding(Decoding):
    """A fixed number of places for rows. `blank` is the adapter of an empty memory: all others have its shapes.

    Raise DeviceError where steps of this base, or on this machine, cannot be compiled.
    """

    def __init__(
        self, base: Base, blank: Adapter, rows: int = ROWS, columns: int = COLUMNS, backend: str = "inductor"
    ) -> None:
        self._base, self._rows = base, [NOBODY] * rows
        self.dice = [torch.Generator() for _ in range(rows)]
        self._taken = set[int]()
        self._column, self._columns = 0, min(columns, base.context_length)  # the next token's, and all
        self._mask = torch.zeros(rows, self._columns, dtype=torch.bool, device=base.device)
        self._ids = torch.zeros(rows, 1, dtype=torch.long, device=base.device)
        self._adding = False
        # On a GPU this is what records the kernels of a step as one graph.
        mode = "reduce-overhead" if base.device.type == "cuda" else None
        try:
            self._cache, self._adapter = _cache_of(base, rows, self._columns), _places(blank, rows)
            self._read = torch.compile(self._reading(), dynamic=False, mode=mode, backend=backend)
            with ExitStack() as hooks:
                for layer, projection in enumerate(base.projections):
                    hooks.callback(projection.register_forward_hook(self._hook(layer)).remove)
                self.step()
                self._hooks = hooks.pop_all()
        except (TorchDynamoException, InductorError, RuntimeError) as error:
            raise DeviceError(
                f"Steps cannot be compiled here ({first_line(error)}); leave IMPRINT_COMPILE at 0."
            ) from error

    def close(self) -> None:
        """Leave the base as it was, and let go of the key-value cache; no step can be made any more.

        All that torch has compiled in this process is forgotten, because the graphs hold on to the cache: other
        compiled steps are compiled anew when they are next needed.
        """
        self._hooks.close()
        del self._read, self._cache, self._adapter
        torch.compiler.reset()
        gc.collect()  # what was compiled is a cycle of references, and the cache can be gigabytes

    @property
    def rows(self) -> int:
        """How many places there are."""
        return len(self._rows)

    def fits(self, row: Row) -> bool:
        """Whether there is room for its prompt and reply whenever it comes, and its adapter has the shapes of all."""
        if 2 * (len(row.prompt) + row.sampling.max_tokens) > self._columns:
            return False
        if row.adapter is None:
            return True
        ours, theirs = self._adapter, row.adapter
        factors = zip(ours.lora_A, theirs.lora_A, ours.lora_B, theirs.lora_B, strict=True)
        return all(
            (a is b if a.ndim == 2 else a.shape[1:] == b.shape[1:]) and c.shape[1:] == d.shape[1:]
            for a, b, c, d in factors
        )

    def takes(self, other: Decoding) -> bool:
        """Never what does not fit: columns are as many as they are."""
        return False

    def join(self, other: Decoding, free: Sequence[int]) -> list[int]:
        """See Decoding; as many places have to be free as rows come, and all of them have to fit."""
        places, read = list(free)[: len(other._rows)], other._length - 1
        with torch.inference_mode():
            if self._column < read:
                self._shift(read - self._column)
            written = slice(self._column - read, self._column)
            self._blank(places)
            for mine, theirs in zip(self._cache.layers, other._cache.layers, strict=True):
                mine.keys[places, :, written] = theirs.keys
                mine.values[places, :, written] = theirs.values
            self._mask[places, written] = other._mask[:, :-1].bool()
            self._ids[places] = other._ids
            for place, row in zip(places, other._rows, strict=True):
                self._put(place, row.adapter)
        for place, row, dice in zip(places, other._rows, other.dice, strict=True):
            self._rows[place], self.dice[place] = row, dice
        self._taken |= set(places)
        return places

    def keep(self, places: Sequence[int]) -> list[int]:
        """See Decoding; all places stay."""
        return list(range(len(self._rows)))

    def skip(self, places: Sequence[int]) -> None:
        """Forget the rows that are not at these places: their adapters, and all that was computed for them."""
        over = sorted(self._taken - set(places))
        with torch.inference_mode():
            self._blank(over)
            for place in over:
                self._rows[place] = NOBODY
                self._put(place, None)
        self._taken &= set(places)

    def _blank(self, places: Sequence[int]) -> None:
        """Leave nothing of who was there: what is masked counts nothing, unless it is no number."""
        self._mask[places] = False
        for layer in self._cache.layers:
            layer.keys[places] = layer.values[places] = 0

    def logits(self, last: int = 1) -> Tensor:
        """See Decoding; of the newest token alone."""
        if self._column == self._columns:
            used = self._mask[sorted(self._taken)].any(0) if self._taken else self._mask[0]
            self._shift(-int(used.int().argmax()) if self._taken else -self._column)
        self._mask[:, self._column] = True  # for nobody's places too: one that sees nothing would be no number
        positions = (self._mask.sum(1, keepdim=True) - 1).clamp_max(self._base.context_length - 1)
        for layer in self._cache.layers:
            layer.cumulative_length.fill_(self._column)
        with self._base.adapted(None):
            self._adding = True
            try:
                return self._read(self._ids, self._mask[:, None, None], positions)
            finally:
                self._adding = False

    def advance(self, ids: Tensor) -> None:
        self._ids.copy_(ids)
        self._column += 1

    def _shift(self, columns: int) -> None:
        """Move all that is written so many columns to the right; what comes round is masked."""
        for layer in self._cache.layers:
            for states in (layer.keys, layer.values):
                states.copy_(states.roll(columns, 2))
        self._mask.copy_(self._mask.roll(columns, 1))
        self._column += columns

    def _put(self, place: int, adapter: Adapter | None) -> None:
        for layer, b in enumerate(self._adapter.lora_B):
            b[place] = adapter.lora_B[layer][0] if adapter else 0.0
            a = self._adapter.lora_A[layer]
            if a.ndim == 3:
                a[place] = adapter.lora_A[layer][0] if adapter else 0.0

    def _hook(self, layer: int) -> Any:
        """Stays on the projection until `close`, as what is compiled has it within; does nothing but in its steps."""

        def hook(_: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
            return output + self._adapter.delta(layer, args[0]) if self._adding else output

        return hook

    def _reading(self) -> Any:
        model, named = self._base.model, {cache_argument(self._base): self._cache}

        def read(ids: Tensor, mask: Tensor, positions: Tensor) -> Tensor:
            given = {"input_ids": ids, "attention_mask": mask, "position_ids": positions}
            return model(**given, **named, use_cache=True, logits_to_keep=1).logits

        return read


def _cache_of(base: Base, rows: int, columns: int) -> StaticCache:
    """A cache of that size; raise DeviceError for a base whose attention looks at all columns through no mask."""
    attention = str(base.config._attn_implementation)
    cache = StaticCache(config=base.model.config, max_cache_len=columns)
    if any(type(layer) is not StaticLayer for layer in cache.layers) or not rows_come_and_go(base):
        raise DeviceError(
            "Steps cannot be compiled for a base that looks at a window, or whose positions depend on the longest row; "
            "leave IMPRINT_COMPILE at 0."
        )
    if attention != "sdpa":  # which alone takes a mask of yes and no
        raise DeviceError(f"Steps cannot be compiled with {attention}; set IMPRINT_ATTENTION=sdpa.")
    cache.early_initialization(rows, *base.cached_heads, base.dtype, base.device)
    return cache


def _places(blank: Adapter, rows: int) -> Adapter:
    """Zeros for each row; what all adapters have in common is shared."""
    lora_A = (a if a.ndim == 2 else a.new_zeros(rows, *a.shape[1:]) for a in blank.lora_A)
    places = Adapter(tuple(lora_A), tuple(b.new_zeros(rows, *b.shape[1:]) for b in blank.lora_B))
    for factor in (*places.lora_A, *places.lora_B):
        torch._dynamo.mark_static_address(factor)  # else a graph of kernels copies them before every step
    return places
