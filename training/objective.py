"""What is minimised: cross-entropy of answers read through memory, plus language modelling (RECIPE 8).

And what memory changes where it has nothing to say: how far what the base expects to come next in other people's talk
is moved by it (a Kullback-Leibler divergence, as in distillation, with the bare base for a teacher).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, cast

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, kl_div

from core.adapter import Adapter
from core.base import Base
from core.generator import Generator
from training.batches import Batch
from training.packing import IGNORED, Rows

LANGUAGE_WEIGHT = 0.5
MOVED_WEIGHT = 2.0  # a hundredth of a nat is the aim there, and some tenths are left of an answer


@dataclass(frozen=True)
class Loss:
    """Losses in nats a target token; `exact` is the share of asked values of which every token is the most likely.

    `moved` is how far memory moves what is expected of talk that it has nothing to say about.
    """

    total: Tensor
    answers: Tensor
    language: Tensor
    exact: Tensor
    moved: Tensor


def mean(losses: Sequence[Loss]) -> Loss:
    """The mean of every part."""
    return Loss(*(torch.stack(parts).mean() for parts in zip(*(vars(loss).values() for loss in losses), strict=True)))


def loss_of(base: Base, generator: Generator, batch: Batch) -> Loss:
    """Read the batch's contexts in parallel, fold, materialise, and answer its questions through the adapters."""
    entering: list[Tensor] = []
    with base.captured(entering):
        told = score(base, batch.contexts)
    plain = score(base, batch.plain)
    sums = generator.contribution(entering, batch.contexts.windows, batch.contexts.ages)
    states = sums.new_zeros(batch.memories, *sums.shape[1:]).index_add(0, batch.contexts.owner, sums)
    adapters = generator.materialise(states).scaled(batch.strengths[:, None, None]).to(base.device, base.dtype)
    asked = score(base, batch.asked, adapters.row(batch.asked.owner))
    # A batch without any target of one sort has a loss of 0 there: every target weighs at least 1.
    language = (told.loss + plain.loss) / (told.weight + plain.weight).clamp_min(1)
    answers = asked.loss / asked.weight.clamp_min(1)
    moved = _moved(base, batch.unmoved, adapters)
    total = answers + LANGUAGE_WEIGHT * language + MOVED_WEIGHT * moved
    return Loss(total, answers.detach(), language.detach(), _exact(asked.wrong, batch.asked), moved.detach())


class Score(NamedTuple):
    """Weighted sum of losses, sum of weights, and for each target whether another token is likelier."""

    loss: Tensor
    weight: Tensor
    wrong: Tensor


def score(base: Base, rows: Rows, adapter: Adapter | None = None) -> Score:
    """How likely the targets are."""
    logits, chosen = _logits(base, rows, adapter), rows.labels != IGNORED
    targets, weights = rows.labels[chosen], rows.weights[chosen]
    losses = cross_entropy(logits, targets, reduction="none")
    return Score((losses * weights).sum(), weights.sum(), logits.argmax(-1) != targets)


def _logits(base: Base, rows: Rows, adapter: Adapter | None = None) -> Tensor:
    """Only where there is a target, (n, V): the vocabulary projection is dear in a small model."""
    with base.adapted(adapter):
        final = base.decoder(input_ids=rows.ids, position_ids=rows.positions, use_cache=False).last_hidden_state
    return cast(Tensor, base.head(final[rows.labels != IGNORED]).float())


def _moved(base: Base, rows: Rows, adapters: Adapter) -> Tensor:
    """How far what comes next is moved by memory, in nats a target token; none where there are no rows."""
    if not len(rows.ids):
        return rows.weights.sum()
    with torch.no_grad():
        bare = _logits(base, rows).log_softmax(-1)
    through_memory = _logits(base, rows, adapters.row(rows.owner)).log_softmax(-1)
    return kl_div(through_memory, bare, reduction="batchmean", log_target=True)


def _exact(wrong: Tensor, rows: Rows) -> Tensor:
    """Share of windows whose every value token is the most likely one."""
    places = torch.arange(rows.ids.shape[0], device=wrong.device)[:, None] * rows.ids.shape[1] + rows.windows
    values = rows.weights[rows.labels != IGNORED] > 1
    _, number = places[rows.labels != IGNORED][values].unique(return_inverse=True)
    if not number.numel():
        return wrong.new_zeros((), dtype=torch.float32)
    errors = torch.zeros(int(number.max()) + 1, device=wrong.device).index_add(0, number, wrong[values].float())
    return (errors == 0).float().mean()
