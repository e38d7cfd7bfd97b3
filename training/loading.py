"""The batches of a run, step after step, drawn here or by worker processes that run ahead.

What a step sees depends on the configuration and the step's number alone, not on who draws it or when the run was
resumed. Knows neither model nor optimiser.
"""

from __future__ import annotations

import gc
from collections.abc import Generator
from itertools import count
from random import Random

from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from training.batches import Batch, Batcher, Load, load_at
from training.config import TrainConfig
from training.packing import Rows

Parts = tuple[list[tuple[Tensor, ...]], Tensor]


class Steps(Dataset[Parts]):
    """The batch of every step, as plain tuples: those the loader can pin."""

    def __init__(self, config: TrainConfig, batcher: Batcher) -> None:
        self.config, self.batcher = config, batcher

    def __getitem__(self, step: int) -> Parts:
        rng = Random(f"{self.config.seed}-{step}")
        batch = self.batcher.draw(rng, load_of(self.config, step, rng), self.config.plain)
        return [tuple(vars(rows).values()) for rows in batch.rows], batch.strengths


def load_of(config: TrainConfig, step: int, rng: Random) -> Load:
    """The load of a step; weights that were trained already begin with the full one.

    Progress is taken from the steps, since a worker does not know the tokens drawn by others. Batches of short
    memories hold fewer tokens than `batch_tokens`, so the load grows a little faster than the tokens do.
    """
    progress = 1.0 if config.start else min(1.0, step * config.batch_tokens / config.tokens)
    return load_at(progress, rng, config.batch_tokens, config.heavy)


def drawn(config: TrainConfig, batcher: Batcher, step: int, pinned: bool) -> Generator[Batch, None, None]:
    """Yield the batches of `step` and all after it, in order; `pinned` where a GPU copies them.

    Workers are forked at the first batch, so that they share the corpora, and end when the generator is closed.
    """
    loader = DataLoader(
        Steps(config, batcher),
        batch_size=None,
        sampler=count(step),
        num_workers=config.workers,
        multiprocessing_context="fork" if config.workers else None,
        worker_init_fn=_leave_alone,
        pin_memory=pinned,
    )
    for parts, strengths in loader:
        contexts, plain, asked, unmoved = (Rows(*part) for part in parts)
        yield Batch(contexts, plain, asked, unmoved, strengths)


def _leave_alone(_: int) -> None:
    """Keep the collector off what was there before the fork: walking it would copy it page by page."""
    gc.freeze()
