"""What memory did for a reply, and which turns did: leave them out, and see how much less likely the reply becomes.

The state is a sum, so a turn is taken out by a subtraction, and all the memories that lack one turn are read as rows of
one batch. Works for generators that read in parallel. Pure: tensors and token ids in, numbers out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from core.adapter import Adapter, stack
from core.base import Base
from core.generator import PADDING, Generator

ROWS = 64  # memories read at once, at most; each needs an adapter of its own
NUMBERS = 1 << 28  # logits at once, 1 GB in float32: of a large vocabulary fewer rows are read together
WINDOWS = 16  # turns read at once


@dataclass(frozen=True)
class Parts:
    """What each of some turns, oldest first, adds to an empty state: (turns, layers, r_k, r_v); and which do not fade.

    They cost a forward pass over all turns, and are passed along so that they are made once.
    """

    sums: Tensor
    pinned: tuple[bool, ...]

    def only(self, numbers: Sequence[int]) -> Parts:
        """Those of some of the turns, as if nothing else had been said."""
        return Parts(self.sums[list(numbers)], tuple(self.pinned[number] for number in numbers))

    def to(self, device: torch.device) -> Parts:
        """The same on another device."""
        return Parts(self.sums.to(device), self.pinned)


def contributions(base: Base, generator: Generator, windows: Sequence[Tensor]) -> Tensor:
    """The sums of each window (T,) alone, (windows, layers, r_k, r_v), many windows to a forward pass.

    Equal to `reading.contribution` up to float32 rounding: padding comes after the words and is masked out. Windows of
    about one length are read together, so that there is little of it.
    """
    parts = []
    lengths = torch.tensor([len(window) for window in windows])
    order = lengths.argsort()
    with torch.inference_mode():
        for some in order.split(WINDOWS):
            ids = torch.nn.utils.rnn.pad_sequence([windows[i] for i in some], batch_first=True).to(base.device)
            kept = torch.arange(ids.shape[1]) < lengths[some, None]
            parts.append(generator.contribution(base.read(ids), torch.where(kept, 0, PADDING).to(base.device)))
        return torch.cat(parts)[order.argsort().to(base.device)]


def log_probabilities(base: Base, adapter: Adapter, prompt: Sequence[int], reply: Sequence[int]) -> Tensor:
    """ln p of the reply's tokens, summed, after the prompt, for each row of the adapter: (rows,), float32.

    One row is read until the first delta is added, which is different for each row: there it becomes as many.
    """
    ids = torch.tensor([[*prompt, *reply]], device=base.device)
    with torch.inference_mode(), base.adapted(adapter):
        logits = base.model(input_ids=ids, use_cache=False, logits_to_keep=len(reply) + 1).logits[:, :-1]
        said = ids[:, -len(reply) :, None].expand(adapter.rows, -1, -1)
        chosen = logits.gather(-1, said)[..., 0].float()
        whole = torch.stack([row.float().logsumexp(-1) for row in logits])  # of all at once it takes as much again
        return (chosen - whole).sum(-1).cpu()


class Exchange(NamedTuple):
    """Token ids of a prompt, and of the reply whose likelihood is asked for."""

    prompt: list[int]
    reply: list[int]


def margins(base: Base, adapter: Adapter, exchanges: Sequence[Exchange]) -> list[float]:
    """For each exchange, by how much the adapter (one row) raises ln p of the reply, in nats.

    Near zero where memory has no say in it: what would have been answered without one, such as "I don't know".
    """
    both = stack([adapter, adapter.scaled(0.0)])
    pairs = [log_probabilities(base, both, *exchange).tolist() for exchange in exchanges]
    return [known - unknown for known, unknown in pairs]


def influences(
    base: Base, generator: Generator, turns: Tensor, exchanges: Sequence[Exchange], strength: float = 1.0
) -> list[list[float]]:
    """For each exchange, by how much ln p(reply) falls, in nats, when each of the `turns` is left out.

    `turns` (n, layers, r_k, r_v) are the weighted contributions that add up to the state. Where several turns say the
    same, none of them is missed: if no fall is half of what the whole memory does for a reply, it is by how much its
    ln p rises with each turn alone. Costs n adapters, and n rows of each reply; twice that where turns say the same.
    """
    whole = turns.sum(0)
    states = torch.cat([whole[None], torch.zeros_like(whole)[None], whole - turns])
    scores = _scores(base, generator, states, exchanges, strength)
    known, unknown, falls = scores[:, :1], scores[:, 1:2], scores[:, :1] - scores[:, 2:]
    missed = falls.amax(1, keepdim=True) >= (known - unknown) / 2
    if missed.all():
        return falls.tolist()
    return torch.where(missed, falls, _scores(base, generator, turns, exchanges, strength) - unknown).tolist()


def alone(base: Base, generator: Generator, turns: Tensor, exchanges: Sequence[Exchange]) -> list[list[float]]:
    """For each exchange, by how much each of the weighted `turns` alone raises ln p(reply), in nats."""
    states = torch.cat([torch.zeros_like(turns[:1]), turns])
    scores = _scores(base, generator, states, exchanges, 1.0)
    return (scores[:, 1:] - scores[:, :1]).tolist()


def _scores(base: Base, generator: Generator, states: Tensor, exchanges: Sequence[Exchange], strength: float) -> Tensor:
    """ln p of each exchange's reply with each state: (exchanges, states). Each adapter is made once."""
    columns = []
    longest = max(len(exchange.reply) for exchange in exchanges) + 1
    for some in states.split(max(1, min(ROWS, NUMBERS // (longest * base.config.vocab_size)))):
        with torch.inference_mode():
            adapter = generator.materialise(some).to(base.device, base.dtype).scaled(strength)
        columns.append(torch.stack([log_probabilities(base, adapter, *exchange) for exchange in exchanges]))
    return torch.cat(columns, 1)
