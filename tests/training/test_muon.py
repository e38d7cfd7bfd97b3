"""The optimiser of matrices."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from training.muon import Muon, orthogonalised

SHAPES = (48, 16), (16, 64), (24, 24)


def stepped(optimizer: torch.optim.Optimizer, matrices: list[Tensor]) -> list[Tensor]:
    """The matrices after four steps along the same random gradients."""
    dice = torch.Generator().manual_seed(1)
    for _ in range(4):
        for matrix in matrices:
            matrix.grad = torch.randn(matrix.shape, generator=dice)
        optimizer.step()
    return [matrix.detach() for matrix in matrices]


def fresh() -> list[Tensor]:
    dice = torch.Generator().manual_seed(0)
    return [torch.randn(shape, generator=dice).requires_grad_() for shape in SHAPES]


@pytest.mark.parametrize(("dtype", "bound"), [(torch.bfloat16, 0.0), (torch.float32, 2e-3)])
def test_it_steps_as_that_of_torch_does(dtype: torch.dtype, bound: float) -> None:
    ours, theirs = fresh(), fresh()
    one = stepped(Muon([{"params": ours}], 0.05, 0.1, dtype), ours)
    other = stepped(torch.optim.Muon(theirs, lr=0.05, weight_decay=0.1, adjust_lr_fn="match_rms_adamw"), theirs)
    assert all((a - b).abs().max() <= bound for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("shape", SHAPES)
def test_singular_values_come_near_one(shape: tuple[int, int]) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(2))
    defaults = Muon([{"params": [matrix.requires_grad_()]}], 0.1, 0.1, torch.float32).defaults
    values = torch.linalg.svdvals(
        orthogonalised(matrix.detach()[None], defaults["ns_coefficients"], defaults["ns_steps"], defaults["eps"])
    )
    assert values.min() > 0.4 and values.max() < 1.3


def test_what_has_no_gradient_stays() -> None:
    still, moved = fresh()[:2]
    before = still.detach().clone()
    moved.grad = torch.ones_like(moved)
    Muon([{"params": [still, moved]}], 0.1, 0.1, torch.float32).step()
    assert torch.equal(still, before)
