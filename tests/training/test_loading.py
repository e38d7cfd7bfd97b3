"""What a step sees is the same whoever draws it and wherever a run goes on."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing
from dataclasses import replace
from itertools import islice
from pathlib import Path
from random import Random

import pytest
import torch

from tests.tiny import tiny_tokenizer
from tests.training.small import small_batcher, small_config
from training.batches import Batch
from training.codec import Codec
from training.config import TrainConfig
from training.loading import drawn, load_of

pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create")  # fewer cores than workers: slow only


def batches(config: TrainConfig, first: int, count: int) -> list[Batch]:
    with closing(drawn(config, small_batcher(Codec(tiny_tokenizer())), first, pinned=False)) as steps:
        return list(islice(steps, count))


def same(one: Iterable[Batch], other: Iterable[Batch]) -> list[bool]:
    """Of each pair of batches, whether every tensor is equal."""
    return [
        torch.equal(mine.strengths, theirs.strengths)
        and all(
            torch.equal(a, b)
            for rows in ("contexts", "plain", "asked", "unmoved")
            for a, b in zip(vars(getattr(mine, rows)).values(), vars(getattr(theirs, rows)).values(), strict=True)
        )
        for mine, theirs in zip(one, other, strict=True)
    ]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> list[Batch]:
    """The first six batches, drawn without workers."""
    return batches(small_config(tmp_path_factory.mktemp("alone")), 0, 6)


def test_workers_draw_the_batches_of_the_process_itself_in_order(alone: list[Batch], tmp_path: Path) -> None:
    assert same(alone, batches(replace(small_config(tmp_path), workers=2), 0, 6)) == [True] * 6


def test_a_run_with_workers_goes_on_in_the_middle(alone: list[Batch], tmp_path: Path) -> None:
    assert same(alone[3:], batches(replace(small_config(tmp_path), workers=2), 3, 3)) == [True] * 3


def test_every_step_has_a_batch_of_its_own(alone: list[Batch]) -> None:
    assert same(alone[:1] * 5, alone[1:]) == [False] * 5


def test_another_seed_draws_other_batches(alone: list[Batch], tmp_path: Path) -> None:
    assert same(alone[:1], batches(replace(small_config(tmp_path), seed=1), 0, 1)) == [False]


def test_the_load_grows_with_the_steps(tmp_path: Path) -> None:
    config = replace(small_config(tmp_path), tokens=70_000)
    first, half = ([load_of(config, step, Random(seed)).facts for seed in range(100)] for step in (0, 50))
    assert max(first) == 1
    assert max(half) > 15


def test_trained_weights_begin_with_the_full_load(tmp_path: Path) -> None:
    config = replace(small_config(tmp_path), start=tmp_path)
    assert max(load_of(config, 0, Random(seed)).facts for seed in range(100)) > 15
