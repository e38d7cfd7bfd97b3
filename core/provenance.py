"""Which turns a reply came from: leave one out of the state, and see how much less likely the reply becomes.

The state is a sum, so a turn is taken out by a subtraction, and all the memories that lack one turn are read as rows of
one batch. Works for generators that read in parallel. Pure: tensors and token ids in, numbers out.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from core.adapter import Adapter
from core.base import Base
from core.generator import PADDING, Generator

ROWS = 64  # memories read at once; each needs an adapter of its own


def contributions(base: Base, generator: Generator, windows: Sequence[Tensor]) -> Tensor:
    """The sums of each window (T,) alone, (windows, layers, r_k, r_v), many windows to a forward pass.

    Equal to `reading.contribution` up to float32 rounding: padding comes after the words and is masked out.
    """
    parts = []
    with torch.inference_mode():
        for start in range(0, len(windows), ROWS):
            some = windows[start : start + ROWS]
            ids = torch.nn.utils.rnn.pad_sequence(list(some), batch_first=True).to(base.device)
            lengths = torch.tensor([len(window) for window in some], device=base.device)
            kept = torch.arange(ids.shape[1], device=base.device) < lengths[:, None]
            parts.append(generator.contribution(base.read(ids), torch.where(kept, 0, PADDING)))
    return torch.cat(parts)


def log_probabilities(base: Base, adapter: Adapter, prompt: Sequence[int], reply: Sequence[int]) -> Tensor:
    """ln p of the reply's tokens, summed, after the prompt, for each row of the adapter: (rows,), float32."""
    ids = torch.tensor([[*prompt, *reply]], device=base.device).expand(adapter.rows, -1)
    with torch.inference_mode(), base.adapted(adapter):
        logits = base.model(input_ids=ids, use_cache=False, logits_to_keep=len(reply) + 1).logits[:, :-1]
    chosen = logits.float().log_softmax(-1).gather(-1, ids[:, -len(reply) :, None])
    return chosen[..., 0].sum(-1).cpu()


def influences(
    base: Base, generator: Generator, turns: Tensor, prompt: Sequence[int], reply: Sequence[int]
) -> list[float]:
    """By how much ln p(reply) falls, in nats, when each of the `turns` (n, layers, r_k, r_v) is left out.

    Where several turns say the same, none of them is missed: if no fall is half of what the whole memory does for the
    reply, it is by how much ln p(reply) rises with each turn alone. `turns` are the weighted contributions that add up
    to the state. Costs n adapters and n rows of the reply, twice that where turns say the same.
    """

    def scores(states: Tensor) -> list[float]:
        with torch.inference_mode():
            adapters = (generator.materialise(some).to(base.device, base.dtype) for some in states.split(ROWS))
            return [score for one in adapters for score in log_probabilities(base, one, prompt, reply).tolist()]

    whole = turns.sum(0)
    known, unknown, *without = scores(torch.cat([whole[None], torch.zeros_like(whole)[None], whole - turns]))
    falls = [known - score for score in without]
    if max(falls) >= (known - unknown) / 2:
        return falls
    return [score - unknown for score in scores(turns)]
