"""The polar factor to train with is that of the SVD, and its gradient is right where the SVD's own explodes."""

from __future__ import annotations

import pytest
import torch

from core.readout import _Polar, polar, polar_factors

SPREAD = torch.diag(torch.tensor([3.0, 2.0, 1.0, 0.5, 0.1], dtype=torch.float64))


def rotated(diagonal: torch.Tensor) -> torch.Tensor:
    rng = torch.Generator().manual_seed(0)
    u, w = (torch.linalg.qr(torch.randn(5, 5, generator=rng, dtype=torch.float64))[0] for _ in range(2))
    return (u @ diagonal @ w)[None]


@pytest.mark.parametrize("rank", [2, 5])
def test_it_is_the_product_of_the_factors(rank: int) -> None:
    sums = rotated(SPREAD).float()
    u, w = polar_factors(sums, rank)
    torch.testing.assert_close(polar(sums, rank), u @ w.mT)


@pytest.mark.parametrize("rank", [2, 5])
def test_its_gradient_is_that_of_finite_differences(rank: int) -> None:
    sums = rotated(SPREAD).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: _Polar.apply(x, rank), (sums,), atol=1e-6)


def test_equal_singular_values_have_a_finite_and_right_gradient() -> None:
    sums = rotated(torch.eye(5, dtype=torch.float64)).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: _Polar.apply(x, 5), (sums,), atol=1e-6)


def test_a_cut_through_equal_singular_values_and_an_empty_state_have_finite_gradients() -> None:
    for sums in (rotated(torch.eye(5, dtype=torch.float64)), torch.zeros(1, 5, 5)):
        sums.requires_grad_()
        polar(sums, 2).sum().backward()
        assert sums.grad is not None and bool(sums.grad.isfinite().all())


def test_a_state_that_is_not_square_is_refused() -> None:
    with pytest.raises(ValueError, match="only a square one"):
        polar(torch.zeros(1, 4, 5), 2)
