"""Decoding: rows of sequences that grow together, each with its own adapter, key-value cache and dice.

One step is one forward pass over all rows; the adapter is on the base for that pass only. Rows can come and go between
steps where `rows_come_and_go`. Knows tokens, not messages.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import torch
from torch import Tensor
from torch.nn.functional import pad

from core import caching
from core.adapter import Adapter, Stack
from core.base import Base
from core.errors import PromptError

# Below it the most likely token is all there is, and dividing by it would leave the range of numbers.
COLDEST = 1e-5
# Tokens that most often hold all of a nucleus; to sort a whole vocabulary takes far longer than to find these.
NUCLEUS = 1024


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen: `temperature` 0 is greedy; the same `seed` gives the same text."""

    max_tokens: int = 128
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    stop: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.max_tokens < 1:
            raise PromptError(f"max_tokens is {self.max_tokens}; it has to be at least 1.")
        if not 0 <= self.temperature <= 2:
            raise PromptError(f"temperature is {self.temperature}; it has to be between 0 and 2.")
        if not 0 < self.top_p <= 1:
            raise PromptError(f"top_p is {self.top_p}; it has to be above 0 and at most 1.")
        if not -(2**63) <= self.seed < 2**64:
            raise PromptError("seed has more than 64 bits; give a smaller number.")


@dataclass(frozen=True)
class Row:
    """One sequence to be continued: prompt ids, the memory to read them with (None: bare), how to choose.

    Its opening is weighed where `guidance` is not 1: how far what the memory changes counts more than what it does not.
    """

    prompt: Sequence[int]
    adapter: Adapter | None
    sampling: Sampling
    guidance: float = 1.0

    @property
    def is_guided(self) -> bool:
        """Whether a memory guides it, so that its opening is to be weighed (core/weighing.py)."""
        return self.adapter is not None and self.guidance != 1


NOBODY = Row((), None, Sampling())
"""What is at a place that no row has."""


class Decoding:
    """A batch of rows under way. `step` gives each row's next token; a row's text does not depend on the others."""

    def __init__(self, base: Base, rows: Sequence[Row]) -> None:
        self._base, self._rows = base, list(rows)
        self._adapters = Stack([row.adapter for row in rows], base.device, base.dtype)
        self.dice = [torch.Generator().manual_seed(row.sampling.seed) for row in rows]
        self._cache = caching.roomy_cache(base.model.config)
        self._named = {cache_argument(base): self._cache}
        self._ids, self._mask = left_padded([row.prompt for row in rows], base.device)

    def step(self) -> list[int]:
        """Run the base on what is new and choose each row's next token."""
        with torch.inference_mode():
            tokens = chosen(self.logits()[:, -1].float(), [row.sampling for row in self._rows], self.dice)
            self.advance(torch.tensor(tokens, device=self._base.device)[:, None])
        return tokens

    def logits(self, last: int = 1) -> Tensor:
        """What comes next after the `last` tokens of each row, which are read with this: (rows, last, vocabulary)."""
        positions = (self._mask.cumsum(-1) - 1).clamp_min(0)[:, -self._ids.shape[1] :]
        with self._base.adapted(self._adapters.whole):
            output = self._base.model(
                input_ids=self._ids,
                attention_mask=self._mask,
                position_ids=positions,
                **self._named,
                use_cache=True,
                logits_to_keep=last,
            )
        logits: Tensor = output.logits
        return logits

    def advance(self, ids: Tensor) -> None:
        """Have these tokens, (rows, n), be what is new."""
        self._ids = ids
        self._mask = torch.cat([self._mask, torch.ones_like(ids)], 1)

    def join(self, other: Decoding, free: Sequence[int]) -> list[int]:
        """Go on with the rows of `other`, in the places of those that are `free`, and after the rest; where each is.

        Both have made a step.
        """
        length, own, coming = max(self._length, other._length), len(self._rows), len(other._rows)
        replaced = list(free)[:coming]
        places = [*replaced, *range(own, own + coming - len(replaced))]
        with torch.inference_mode():
            if length > self._length:
                caching.lengthen(self._cache, length - self._length)
            caching.replace(self._cache, replaced, other._cache)
            if len(places) > len(replaced):
                caching.append(self._cache, other._cache, len(replaced))
            self._mask = _placed(_widened(self._mask, length), _widened(other._mask, length), places)
            self._ids = _placed(self._ids, other._ids, places)
        self._adapters.put(places, [row.adapter for row in other._rows])
        for place, row, dice in zip(places, other._rows, other.dice, strict=True):
            self._rows[place : place + 1], self.dice[place : place + 1] = [row], [dice]
        return places

    def fits(self, row: Row) -> bool:
        """Whether such a row can join."""
        return True

    def takes(self, other: Decoding) -> bool:
        """Whether both joined, all rows as long as the longest, are at most twice as large as both apart."""
        mine, theirs = len(self._rows), len(other._rows)
        apart = mine * self._length + theirs * other._length
        return (mine + theirs) * max(self._length, other._length) <= 2 * apart

    def keep(self, places: Sequence[int]) -> list[int]:
        """Go on with these rows alone, if there are any; the places from before that there still are.

        A place that is named more than once goes on as so many rows.
        """
        if not places:
            return list(range(len(self._rows)))
        rows = [self._rows[i] for i in places]
        with torch.inference_mode():
            self._mask, self._ids = self._mask[places], self._ids[places]
            caching.keep(self._cache, places)
        if list(map(id, rows)) != list(map(id, self._rows)):
            self._adapters = Stack([row.adapter for row in _once(rows)], self._base.device, self._base.dtype)
        self._rows, self.dice = rows, [self.dice[i] for i in places]
        return list(places)

    def skip(self, places: Sequence[int]) -> None:
        """Let go of what none of these rows needs: columns at the left in which they have no token."""
        with torch.inference_mode():
            unused = int(self._mask[places].any(0).int().argmax())
            if unused:
                self._mask = self._mask[:, unused:]
                caching.skip(self._cache, unused)

    @property
    def _length(self) -> int:
        """Of the longest row, the token that the next step reads with it."""
        return self._mask.shape[1]


def rows_come_and_go(base: Base) -> bool:
    """Whether rows can join others without being changed by them.

    That is so where all layers cache keys and values, and where the frequencies of positions are fixed, not chosen for
    the longest row of a batch.
    """
    return caching.is_roomy(caching.roomy_cache(base.model.config)) and not base.positions_depend_on_length


def cache_argument(base: Base) -> str:
    """What the base calls its key-value cache: the name changed in transformers 5.24."""
    return "cache" if "cache" in inspect.signature(base.model.forward).parameters else "past_key_values"


def chosen(logits: Tensor, samplings: Sequence[Sampling], dice: Sequence[torch.Generator]) -> list[int]:
    """The next token of each row, from (rows, vocabulary): greedy, or by temperature and nucleus (top-p)."""
    tokens = logits.argmax(-1)
    warm = [i for i, sampling in enumerate(samplings) if sampling.temperature >= COLDEST]
    whole = [i for i in warm if samplings[i].top_p == 1]
    for rows in (whole, [i for i in warm if samplings[i].top_p < 1]):
        if rows:
            settings = [
                [samplings[i].temperature, samplings[i].top_p, float(torch.rand((), generator=dice[i]))] for i in rows
            ]
            temperature, top_p, throw = torch.tensor(settings, device=logits.device).T[:, :, None]
            # What is no number, after an overflow, is this row's misfortune, and nothing to stop the others for.
            chances = (logits[rows] / temperature).nan_to_num().softmax(-1)
            tokens[rows] = fallen_on(chances, throw) if rows is whole else in_nucleus(chances, top_p, throw)
    result: list[int] = tokens.tolist()
    return result


def fallen_on(chances: Tensor, throw: Tensor) -> Tensor:
    """The place in each row of `chances`, (rows, n), that a throw falls on: (rows, 1), from 0 up to but not 1."""
    sums = chances.cumsum(-1, dtype=torch.float64)  # in which a throw times the sum stays below the sum
    return torch.searchsorted(sums, throw * sums[:, -1:], right=True)[:, 0]


def in_nucleus(chances: Tensor, top_p: Tensor, throw: Tensor) -> Tensor:
    """The same among the likeliest alone, up to the one whose chance crosses `top_p`, (rows, 1)."""
    likeliest, order = chances.topk(min(NUCLEUS, chances.shape[-1]))
    if bool((likeliest.sum(-1, keepdim=True) < top_p).any()):
        likeliest, order = chances.sort(descending=True)
    likeliest[likeliest.cumsum(-1) - likeliest >= top_p] = 0
    return order.gather(-1, fallen_on(likeliest, throw)[:, None])[:, 0]


def _once(rows: Sequence[Row]) -> Sequence[Row]:
    """Each row once, where all follow themselves equally often: their adapter need not be copied then."""
    runs = [list(run) for _, run in groupby(rows, key=id)]
    return [run[0] for run in runs] if len({len(run) for run in runs}) == 1 else rows


def _widened(mask: Tensor, columns: int) -> Tensor:
    """The mask with so many columns in all, the new ones at the left, of tokens that are none."""
    return pad(mask, (columns - mask.shape[1], 0))


def _placed(mine: Tensor, theirs: Tensor, places: Sequence[int]) -> Tensor:
    """The rows of `mine` with those of `theirs` in these places, the last of which may come after all of `mine`."""
    result = torch.cat([mine, mine.new_zeros(max(0, max(places) + 1 - len(mine)), *mine.shape[1:])])
    result[places] = theirs
    return result


def left_padded(prompts: Sequence[Sequence[int]], device: torch.device) -> tuple[Tensor, Tensor]:
    """Ids and mask, (rows, T), of prompts that end together."""
    longest = max(len(prompt) for prompt in prompts)
    ids = [[0] * (longest - len(prompt)) + list(prompt) for prompt in prompts]
    mask = [[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts]
    return torch.tensor(ids, device=device), torch.tensor(mask, device=device)
