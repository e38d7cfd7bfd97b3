"""Decoding: rows of sequences that grow together, each with its own adapter, key-value cache and dice.

One step is one forward pass over all rows; the adapter is on the base for that pass only. Knows tokens, not messages.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import DynamicCache

from core.adapter import Adapter, stack
from core.base import Base
from core.errors import PromptError

# Below it the most likely token is all there is, and dividing by it would leave the range of numbers.
COLDEST = 1e-5


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
    """One sequence to be continued: prompt ids, the memory to read them with (None: bare), how to choose."""

    prompt: Sequence[int]
    adapter: Adapter | None
    sampling: Sampling


class Decoding:
    """A batch of rows under way. `step` gives each row's next token; a row's text does not depend on the others."""

    def __init__(self, base: Base, rows: Sequence[Row]) -> None:
        self._base, self._rows = base, rows
        self._adapter = _stacked(base, rows)
        self._dice = [torch.Generator().manual_seed(row.sampling.seed) for row in rows]
        self._cache = {_cache_argument(base): DynamicCache(config=base.model.config)}
        self._ids, self._mask = _left_padded([row.prompt for row in rows], base.device)

    def step(self) -> list[int]:
        """Run the base on what is new and choose each row's next token."""
        with torch.inference_mode():
            positions = (self._mask.cumsum(-1) - 1).clamp_min(0)[:, -self._ids.shape[1] :]
            with self._base.adapted(self._adapter):
                output = self._base.model(
                    input_ids=self._ids,
                    attention_mask=self._mask,
                    position_ids=positions,
                    **self._cache,
                    use_cache=True,
                    logits_to_keep=1,
                )
            logits = output.logits[:, -1].float().cpu()
            choices = zip(logits, self._rows, self._dice, strict=True)
            tokens = [choose(row_logits, row.sampling, dice) for row_logits, row, dice in choices]
            self._ids = torch.tensor(tokens, device=self._base.device)[:, None]
            self._mask = torch.cat([self._mask, torch.ones_like(self._ids)], 1)
        return tokens


def _cache_argument(base: Base) -> str:
    """What the base calls its key-value cache: the name changed in transformers 5.24."""
    return "cache" if "cache" in inspect.signature(base.model.forward).parameters else "past_key_values"


def choose(logits: Tensor, sampling: Sampling, dice: torch.Generator) -> int:
    """The next token of one row, from its logits (vocabulary,): greedy, or by temperature and nucleus (top-p)."""
    if sampling.temperature < COLDEST:
        return int(logits.argmax())
    chances, order = (logits / sampling.temperature).softmax(-1).sort(descending=True)
    chances[chances.cumsum(-1) - chances >= sampling.top_p] = 0  # the token that crosses top_p stays
    return int(order[torch.multinomial(chances, 1, generator=dice)])


def _stacked(base: Base, rows: Sequence[Row]) -> Adapter | None:
    """One adapter for all rows; a bare row among adapted ones gets zeros, which add nothing."""
    present = [row.adapter for row in rows if row.adapter is not None]
    if not present:
        return None
    bare = Adapter(present[0].lora_A, tuple(torch.zeros_like(b[:1]) for b in present[0].lora_B))
    return stack([row.adapter or bare for row in rows]).to(base.device, base.dtype)


def _left_padded(prompts: Sequence[Sequence[int]], device: torch.device) -> tuple[Tensor, Tensor]:
    longest = max(len(prompt) for prompt in prompts)
    ids = [[0] * (longest - len(prompt)) + list(prompt) for prompt in prompts]
    mask = [[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts]
    return torch.tensor(ids, device=device), torch.tensor(mask, device=device)
