"""What is minimised: cross-entropy of answers read through memory, plus language modelling (RECIPE 8)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from core.adapter import Adapter
from core.base import Base
from core.generator import Generator
from training.batches import IGNORED, Batch, Rows

LANGUAGE_WEIGHT = 0.5


@dataclass(frozen=True)
class Loss:
    """Losses in nats a target token; `exact` is the share of question windows answered without one wrong token."""

    total: Tensor
    answers: Tensor
    language: Tensor
    exact: Tensor


def loss_of(base: Base, generator: Generator, batch: Batch) -> Loss:
    """Read the batch's contexts in parallel, fold, materialise, and answer its questions through the adapters."""
    entering: list[Tensor] = []
    with base.captured(entering):
        told = _scored(base, batch.contexts)
    plain = _scored(base, batch.plain)
    sums = generator.contribution(entering, batch.contexts.windows, batch.contexts.ages)
    states = sums.new_zeros(batch.memories, *sums.shape[1:]).index_add(0, batch.contexts.owner, sums)
    asked = _scored(base, batch.asked, generator.materialise(states).row(batch.asked.owner))
    language = cross_entropy(torch.cat([told[0], plain[0]]), torch.cat([told[1], plain[1]]))
    answers = cross_entropy(*asked)
    exact = _exact(*asked, batch.asked)
    return Loss(answers + LANGUAGE_WEIGHT * language, answers.detach(), language.detach(), exact)


def _scored(base: Base, rows: Rows, adapter: Adapter | None = None) -> tuple[Tensor, Tensor]:
    """Logits and targets, only where there is a target: the vocabulary projection is dear in a small model."""
    with base.adapted(adapter):
        final = base.decoder(input_ids=rows.ids, position_ids=rows.positions, use_cache=False).last_hidden_state
    chosen = rows.labels != IGNORED
    return base.model.get_output_embeddings()(final[chosen]).float(), rows.labels[chosen]


def _exact(logits: Tensor, targets: Tensor, rows: Rows) -> Tensor:
    """Share of windows whose every target is the most likely token."""
    places = torch.arange(rows.ids.shape[0], device=targets.device)[:, None] * rows.ids.shape[1] + rows.windows
    _, number = places[rows.labels != IGNORED].unique(return_inverse=True)
    wrong = torch.zeros(int(number.max()) + 1, device=targets.device)
    wrong = wrong.index_add(0, number, (logits.argmax(-1) != targets).float())
    return (wrong == 0).float().mean()
