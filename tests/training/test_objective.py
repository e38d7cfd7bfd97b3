"""What is minimised: it reaches base and generator, only through what belongs together, and it falls."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest
import torch
from torch import Tensor

from core.base import Base
from core.generator import PADDING, GatedGenerator
from tests.tiny import tiny_generator, tiny_model, tiny_tokenizer
from tests.training.small import small_batcher
from training.batches import Batch, Load
from training.codec import Codec
from training.objective import _exact, _moved, loss_of
from training.packing import IGNORED, Rows, pack


@pytest.fixture(scope="module")
def batch() -> Batch:
    return small_batcher(Codec(tiny_tokenizer())).draw(Random(0), Load(2, 0, 900))


@pytest.fixture
def base() -> Base:
    return Base(tiny_model(len(tiny_tokenizer())).requires_grad_(True))


@pytest.fixture
def generator() -> GatedGenerator:
    return tiny_generator().requires_grad_(True)


def test_every_parameter_of_base_and_generator_gets_a_gradient(
    base: Base, generator: GatedGenerator, batch: Batch
) -> None:
    loss_of(base, generator, batch).total.backward()
    parameters = [*base.model.named_parameters(), *generator.named_parameters()]
    without = [name for name, value in parameters if value.grad is None or not value.grad.any()]
    assert without == []


def test_a_few_steps_on_one_batch_lower_the_loss(base: Base, generator: GatedGenerator, batch: Batch) -> None:
    optimizer = torch.optim.AdamW([*base.model.parameters(), *generator.parameters()], lr=5e-3)
    losses = []
    for _ in range(6):
        loss = loss_of(base, generator, batch)
        optimizer.zero_grad()
        loss.total.backward()
        optimizer.step()
        losses.append(loss.total.item())
    assert losses[-1] < losses[0] - 0.5


def answers_only(batch: Batch) -> Batch:
    """Without talk and the targets of the contexts: these are then read for the sake of the answers alone."""
    contexts = replace(batch.contexts, labels=torch.full_like(batch.contexts.labels, IGNORED))
    return replace(batch, contexts=contexts, unmoved=pack([], [128]))


def test_an_answer_depends_only_on_its_own_memory(base: Base, generator: GatedGenerator, batch: Batch) -> None:
    """Gradients of the first memory's questions reach the words of its own context and no other."""
    asked = Rows(*(value[batch.asked.owner == 0] for value in vars(batch.asked).values()))
    embedded: list[Tensor] = []

    def keep(_: object, __: object, output: Tensor) -> None:
        output.retain_grad()
        embedded.append(output)

    base.decoder.embed_tokens.register_forward_hook(keep)
    loss_of(base, generator, replace(answers_only(batch), asked=asked)).total.backward()
    reached = embedded[0].grad.abs().sum((1, 2)) > 0
    assert torch.equal(reached, batch.contexts.owner == 0)


def test_a_loss_does_not_depend_on_how_windows_share_rows(base: Base, generator: GatedGenerator) -> None:
    batcher, dice = small_batcher(Codec(tiny_tokenizer())), Random(1)
    said = batcher.author.memory(dice, 3, 2)
    told, asked = batcher.context_windows(dice, said), batcher.question_windows(dice, said)
    owned = [(0, told), (PADDING, told), (0, asked), (0, batcher.unmoved_windows(dice, 1.0))]
    one, two, three, four = (pack([rows], [length]) for rows, length in zip(owned, (128, 256, 128, 256), strict=True))
    together = Batch(one, two, three, four, torch.ones(1))
    one, two, three, four = (pack([(owner, [window]) for window in windows], [128]) for owner, windows in owned)
    alone = Batch(one, two, three, four, torch.ones(1))
    assert len(together.contexts.ids) < len(alone.contexts.ids)
    mine, theirs = loss_of(base, generator, together), loss_of(base, generator, alone)
    for name in ("total", "answers", "language", "exact", "moved"):
        torch.testing.assert_close(getattr(mine, name), getattr(theirs, name))


def test_a_fainter_memory_answers_otherwise_and_is_heard_of_no_less(
    base: Base, generator: GatedGenerator, batch: Batch
) -> None:
    plain, fainter = (
        loss_of(base, generator, batch),
        loss_of(base, generator, replace(batch, strengths=batch.strengths / 2)),
    )
    bare = loss_of(base, generator, replace(batch, strengths=batch.strengths * 0))
    assert plain.language == fainter.language == bare.language
    assert len({float(loss.answers) for loss in (plain, fainter, bare)}) == 3
    assert plain.moved > fainter.moved > bare.moved == 0


def test_what_is_expected_without_a_memory_is_not_learnt_from_it(
    base: Base, generator: GatedGenerator, batch: Batch
) -> None:
    """Talk teaches the adapter to be silent, not the base to say what an adapter makes of it."""
    learning: list[bool] = []
    base.decoder.embed_tokens.register_forward_hook(lambda _, __, output: learning.append(output.requires_grad))
    _moved(base, batch.unmoved, generator.materialise(torch.randn(batch.memories, *generator.state_shape)))
    assert learning == [False, True]  # first what the bare base says, then what an adapter makes of it


def test_a_batch_without_talk_moves_nothing(base: Base, generator: GatedGenerator, batch: Batch) -> None:
    assert loss_of(base, generator, answers_only(batch)).moved == 0


def test_a_heavier_value_weighs_more(base: Base, generator: GatedGenerator, batch: Batch) -> None:
    weights = batch.asked.weights
    light = replace(batch, asked=replace(batch.asked, weights=weights.clamp(max=1.0)))
    heavy, light_loss = loss_of(base, generator, batch).answers, loss_of(base, generator, light).answers
    assert (weights > 1).any()
    assert heavy != light_loss


def rows(windows: list[list[int]], labels: list[list[int]], weights: list[list[float]]) -> Rows:
    shape = torch.zeros(len(windows), len(windows[0]))
    numbers, targets = torch.tensor(windows), torch.tensor(labels)
    return Rows(shape.long(), shape.long(), numbers, shape, targets, torch.tensor(weights), torch.zeros(len(windows)))


def test_a_value_is_exact_only_if_all_its_tokens_are() -> None:
    given = rows([[0, 0, 1, 1]], [[5, 6, 7, IGNORED]], [[3.0, 3.0, 3.0, 0.0]])
    assert _exact(torch.tensor([False, True, False]), given) == 0.5
    assert _exact(torch.tensor([False, False, False]), given) == 1.0


def test_tokens_that_are_no_value_do_not_count_as_exact_or_not() -> None:
    given = rows([[0, 0], [0, 0]], [[5, 6], [7, 8]], [[1.0, 3.0], [1.0, 3.0]])
    assert _exact(torch.tensor([True, False, True, True]), given) == 0.5


def test_a_batch_without_values_has_nothing_exact() -> None:
    assert _exact(torch.tensor([False]), rows([[0]], [[5]], [[1.0]])) == 0.0
