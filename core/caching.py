"""The key-value cache of rows that come and go, with room ahead, so that a token costs no copy of those before it.

Rows are padded at the left: what is in those columns is masked, and only has to be finite.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

ROOM = 64
"""Tokens: so many steps pass between two copies."""


class RoomyLayer(DynamicLayer):
    """A layer whose `keys` and `values`, (rows, heads, T, head size), are a part of larger tensors."""

    keys: Tensor
    values: Tensor

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._rooms: tuple[Tensor, ...] = ()
        self._begin = 0  # the first column of the rooms that is in use

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """All keys and values, these the last of them."""
        new = key_states.shape[-2]
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            self.hold(key_states, value_states)
        elif self._end + new > self._rooms[0].shape[-2]:
            self.hold(torch.cat([self.keys, key_states], -2), torch.cat([self.values, value_states], -2))
        else:
            for room, states in zip(self._rooms, (key_states, value_states), strict=True):
                room[..., self._end : self._end + new, :] = states
            self._use(self._begin, self._end + new)
        return self.keys, self.values

    def hold(self, keys: Tensor, values: Tensor) -> None:
        """Have these in place of what was held."""
        self._rooms = tuple(pad(states, (0, 0, 0, ROOM)) for states in (keys, values))
        self._use(0, keys.shape[-2])

    def skip(self, columns: int) -> None:
        """Go on without so many columns at the left."""
        self._use(self._begin + columns, self._end)

    @property
    def _end(self) -> int:
        return self._begin + self.keys.shape[-2]

    def _use(self, begin: int, end: int) -> None:
        self._begin = begin
        self.keys, self.values = (room[..., begin:end, :] for room in self._rooms)


def roomy_cache(config: Any) -> DynamicCache:
    """An empty cache for the model of this config; a layer that keeps no keys and values (linear attention) stays.

    Layers that attend to a window of tokens alone keep all: the mask still ends at the window, and rows can move.
    """
    cache = DynamicCache(config=config)
    cache.layers = [RoomyLayer() if isinstance(layer, DynamicLayer) else layer for layer in cache.layers]
    return cache


def is_roomy(cache: DynamicCache) -> bool:
    """Whether rows of it can come and go."""
    return all(isinstance(layer, RoomyLayer) for layer in cache.layers)


def lengthen(cache: DynamicCache, columns: int) -> None:
    """Put so many columns at the left."""
    for layer in cache.layers:
        layer.hold(*(pad(states, (0, 0, columns, 0)) for states in (layer.keys, layer.values)))


def skip(cache: DynamicCache, columns: int) -> None:
    """Go on without so many columns at the left."""
    for layer in cache.layers:
        layer.skip(columns)


def keep(cache: DynamicCache, rows: Sequence[int]) -> None:
    """Go on with these rows alone."""
    for layer in cache.layers:
        layer.hold(layer.keys[rows], layer.values[rows])


def replace(cache: DynamicCache, places: Sequence[int], other: DynamicCache) -> None:
    """Put the first rows of a cache that is no longer than this one in the places of others, of whom nothing stays."""
    for layer, joining in zip(cache.layers, other.layers, strict=True):
        for mine, theirs in ((layer.keys, joining.keys), (layer.values, joining.values)):
            mine[places] = 0  # masked, but nothing times what is no number is no number
            mine[places, :, -theirs.shape[-2] :] = theirs[: len(places)]


def append(cache: DynamicCache, other: DynamicCache, first: int) -> None:
    """Put the rows from `first` on of a cache that is no longer than this one after one's own."""
    for layer, joining in zip(cache.layers, other.layers, strict=True):
        columns = layer.keys.shape[-2] - joining.keys.shape[-2]
        pairs = ((layer.keys, joining.keys), (layer.values, joining.values))
        layer.hold(*(torch.cat([mine, pad(theirs[first:], (0, 0, columns, 0))]) for mine, theirs in pairs))
