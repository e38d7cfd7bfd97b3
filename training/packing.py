"""Windows packed into tensors: rows of several, with nothing padded but the end of a row.

Windows in a row do not see each other: positions begin anew with each.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, islice

import torch
from torch import Tensor

from core.generator import PADDING
from training.codec import Window

IGNORED = -100


@dataclass(frozen=True)
class Rows:
    """Packed windows: all (R, L) but `owner` (R,), which memory a row belongs to (PADDING: none)."""

    ids: Tensor
    positions: Tensor
    windows: Tensor
    ages: Tensor
    labels: Tensor
    weights: Tensor
    owner: Tensor

    def to(self, device: torch.device) -> Rows:
        """Move every tensor."""
        return Rows(*(value.to(device, non_blocking=True) for value in vars(self).values()))


Row = tuple[int, list[Window]]  # owner, windows


def pack(owned: Sequence[tuple[int, Sequence[Window]]], lengths: Sequence[int]) -> Rows:
    """Lay windows in rows of that one of `lengths` which gives the fewest places and cuts no more than the last."""
    longest = max((len(window.ids) for _, windows in owned for window in windows), default=0)
    fitting = [length for length in lengths if length >= longest] or lengths[-1:]
    plans = [(_laid(owned, length), length) for length in fitting]
    return _tensors(*min(plans, key=lambda plan: len(plan[0]) * plan[1]))


def _laid(owned: Sequence[tuple[int, Sequence[Window]]], length: int) -> list[Row]:
    """Windows longest first, each into the first row of the same owner with room."""
    rows: list[Row] = []
    for owner, windows in owned:
        mine: list[Row] = []
        for window in sorted(windows, key=lambda w: -len(w.ids)):
            size = min(len(window.ids), length)
            row = next((r for r in mine if sum(len(w.ids) for w in r[1]) + size <= length), None)
            if row is None:
                row = (owner, [])
                mine.append(row)
            row[1].append(
                window if size == len(window.ids) else Window(window.ids[:length], window.weights[:length], window.age)
            )
        rows += mine
    return rows


def _tensors(rows: Sequence[Row], length: int) -> Rows:
    shape = (len(rows), length)
    ids, positions, windows = (
        torch.zeros(shape, dtype=torch.long),
        torch.zeros(shape, dtype=torch.long),
        torch.full(shape, PADDING),
    )
    ages, labels, weights = torch.zeros(shape), torch.full(shape, IGNORED), torch.zeros(shape)
    for r, (_, row) in enumerate(rows):
        start = 0
        for number, window in enumerate(row):
            here = slice(start, start := start + len(window.ids))
            ids[r, here] = torch.tensor(window.ids)
            positions[r, here] = torch.arange(len(window.ids))
            windows[r, here] = number
            ages[r, here] = window.age
            targets = zip(window.ids[1:], window.weights[1:], strict=True)
            labels[r, here] = torch.tensor([*(token if weight else IGNORED for token, weight in targets), IGNORED])
            weights[r, here] = torch.tensor([*window.weights[1:], 0.0])
        positions[r, start:] = torch.arange(length - start)  # a window of padding that nobody looks at
    return Rows(ids, positions, windows, ages, labels, weights, torch.tensor([owner for owner, _ in rows]))


def laid_in_rows(parts: Iterable[Sequence[int]], rows: int, length: int) -> Tensor:
    """Tokens of one part after the other, cut: up to `rows` rows of `length`, of fewer tokens if there are fewer."""
    ids = list(islice(chain.from_iterable(parts), rows * length))
    length = min(length, len(ids))
    return torch.tensor(ids[: len(ids) // length * length]).view(-1, length)
