"""A reply's opening, weighed: a few are written side by side, and that goes on which the memory speaks for most.

Whether a reply answers or denies is decided in its first words. There is one way to deny and there are many to answer
("You live in", "Your home is in"), so where a denial begins likeliest an answer may still be likelier as a whole.
What weighs is guidance for a prompt (Sanchez et al. 2023, "Stay on topic") and for what is read (Shi et al. 2023,
"Trusting your evidence"), of whole openings; that answers share their chance among their wordings is what Holtzman et
al. (2021) call surface form competition. Knows tokens, not messages.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from core.base import Base
from core.decoding import Decoding, Row, chosen

OPENINGS = 4
"""So many are written side by side: for a step of a small base hardly more work than one."""
BRANCHING = 3
"""Tokens after which none parts any more: beams that go on parting end as spellings of one answer."""
OPENING = 12
"""Tokens of an opening, which hold a short answer. Nothing of a reply is known before they are weighed."""


class Weighing:
    """The openings of replies that have memories. Each step adds a token to all; a reply does not depend on others."""

    def __init__(self, base: Base, rows: Sequence[Row], ends: Collection[int]) -> None:
        self._rows, self._ends = list(rows), torch.tensor(sorted(ends), device=base.device, dtype=torch.long)
        self._told = Decoding(base, rows)
        self._bare = Decoding(base, [replace(row, adapter=None) for row in rows])
        self._ids = self._ends.new_zeros(len(rows), 1, 0)  # (replies, openings, tokens)
        self._sums = torch.zeros(len(rows), 1, device=base.device)  # log-chance of each, read with the memory

    @property
    def is_done(self) -> bool:
        """Whether there is nothing more to write before they are weighed."""
        length = self._ids.shape[-1]
        return length == OPENING or bool(length and self._ended[..., -1].all())

    def step(self) -> None:
        """Go on with the likeliest openings (a beam search), once they have parted with each by itself."""
        with torch.inference_mode():
            replies, openings, length = self._ids.shape
            chances = self._told.logits()[:, -1].float().log_softmax(-1).view(replies, openings, -1)
            if length:
                chances = self._staying(chances)
            sums = self._sums[..., None] + chances
            if length < BRANCHING:
                self._sums, places = sums.flatten(1).topk(OPENINGS)
                parents, tokens = places // sums.shape[-1], places % sums.shape[-1]
                self._told.keep(_flat(parents, openings))
                self._ids = self._ids.take_along_dim(parents[..., None], 1)
            else:
                self._sums, tokens = sums.max(-1)
            self._ids = torch.cat([self._ids, tokens[..., None]], -1)
            self._told.advance(tokens.reshape(-1, 1))

    def weighed(self) -> tuple[Decoding, Tensor]:
        """The rows that go on after the opening of each, and these openings, (replies, tokens); what ended has ends."""
        with torch.inference_mode():
            sums = self._sums + (self._guidance - 1) * (self._sums - self._bare_sums())
            best = torch.tensor(
                chosen(sums, [row.sampling for row in self._rows], self._told.dice[:: self._ids.shape[1]]),
                device=sums.device,
            )[:, None]
            self._told.keep(_flat(best, self._ids.shape[1]))
            return self._told, self._ids.take_along_dim(best[..., None], 1)[:, 0]

    @property
    def _guidance(self) -> Tensor:
        return torch.tensor([[row.guidance] for row in self._rows], device=self._sums.device)

    @property
    def _ended(self) -> Tensor:
        """Which tokens are ends: (replies, openings, tokens)."""
        return torch.isin(self._ids, self._ends)

    def _staying(self, chances: Tensor) -> Tensor:
        """Of (replies, openings, vocabulary), those of openings that have ended: nothing more, at no cost."""
        ended = self._ended[..., -1:]
        stays = torch.full_like(chances[0, 0], -torch.inf)
        stays[self._ends[:1]] = 0
        return stays.where(ended, chances)

    def _bare_sums(self) -> Tensor:
        """The log-chance of each opening without the memory, up to its end: (replies, openings)."""
        replies, openings, length = self._ids.shape
        first = self._bare.logits()[:, None].expand(-1, openings, -1, -1)
        self._bare.keep(_flat(torch.zeros(replies, openings, dtype=torch.long), 1))
        self._bare.advance(self._ids[..., :-1].flatten(0, 1))
        rest = self._bare.logits(length - 1).view(replies, openings, length - 1, -1) if length > 1 else first[:, :, :0]
        chances = torch.cat([first, rest], 2).float().log_softmax(-1).take_along_dim(self._ids[..., None], 3)[..., 0]
        ended = self._ended.int()
        return chances.where(ended.cumsum(-1) == ended, 0).sum(-1)


def weighed(base: Base, rows: Sequence[Row], ends: Collection[int]) -> tuple[Decoding, Tensor]:
    """Write and weigh the openings of rows that are guided; see `Weighing.weighed`."""
    weighing = Weighing(base, rows, ends)
    while not weighing.is_done:
        weighing.step()
    return weighing.weighed()


def _flat(places: Tensor, of: int) -> list[int]:
    """Places within each reply's `of` openings, (replies, n), as places among all rows."""
    first = torch.arange(len(places), device=places.device)[:, None] * of
    flat: list[int] = (places + first).flatten().tolist()
    return flat
