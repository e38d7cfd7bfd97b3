"""The published readout is what the SVD says, of wide states too; its gradient is right where the SVD's explodes."""

from __future__ import annotations

import pytest
import torch

from benchmarks.decomposition import by_svd
from core.readout import LEAST, _Polar, polar, polar_factors

SPREAD = (3.0, 2.0, 1.0, 0.5, 0.1)
WIDE = 2 * LEAST  # no longer decomposed whole
FEW = 20


def rotated(values: tuple[float, ...], rows: int = 5, columns: int = 5) -> torch.Tensor:
    """A state of those singular values, in float64."""
    rng = torch.Generator().manual_seed(0)
    u, w = (
        torch.linalg.qr(torch.randn(size, len(values), generator=rng, dtype=torch.float64))[0]
        for size in (rows, columns)
    )
    return (u @ torch.diag(torch.tensor(values, dtype=torch.float64)) @ w.mT)[None]


def falling(count: int) -> tuple[float, ...]:
    """As those of a real context do: fast at first, and without a step where the cut is."""
    return tuple(1000.0 / (number + 1) for number in range(count))


@pytest.mark.parametrize("rank", [2, 5])
def test_it_is_the_product_of_the_factors(rank: int) -> None:
    sums = rotated(SPREAD).float()
    u, w = polar_factors(sums, rank)
    torch.testing.assert_close(polar(sums, rank), u @ w.mT)


def test_of_a_wide_state_it_is_what_the_svd_says() -> None:
    sums = rotated(falling(WIDE), WIDE, WIDE + 8)
    exact = by_svd(sums, FEW).float()
    u, w = polar_factors(sums, FEW)
    torch.testing.assert_close(u @ w.mT, exact, atol=1e-5, rtol=0)
    torch.testing.assert_close(u.mT @ u, torch.eye(FEW)[None], atol=1e-5, rtol=0)
    torch.testing.assert_close(polar(sums, FEW), exact, atol=1e-5, rtol=0)


@pytest.mark.parametrize("held", [0, 3])
def test_a_wide_state_of_few_tokens_has_no_more_directions(held: int) -> None:
    sums = rotated(falling(held), WIDE, WIDE).float() if held else torch.zeros(1, WIDE, WIDE)
    u, w = polar_factors(sums, FEW)
    assert u[..., held:].eq(0).all()
    torch.testing.assert_close(u @ w.mT, by_svd(sums, held), atol=1e-5, rtol=0)


def test_one_wide_state_has_one_adapter() -> None:
    sums = rotated(falling(WIDE), WIDE, WIDE).float()
    torch.manual_seed(1)
    first = polar_factors(sums, FEW)
    torch.manual_seed(2)
    assert all(torch.equal(a, b) for a, b in zip(first, polar_factors(sums, FEW), strict=True))


@pytest.mark.parametrize("rank", [2, 5])
@pytest.mark.parametrize("columns", [5, 7])
def test_its_gradient_is_that_of_finite_differences(rank: int, columns: int) -> None:
    sums = rotated(SPREAD, 5, columns).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: _Polar.apply(x, rank), (sums,), atol=1e-6)


def test_the_gradient_of_a_wide_state_is_that_of_finite_differences() -> None:
    values = falling(FEW) + tuple(20.0 / (number + 1) for number in range(WIDE - FEW))
    sums = rotated(values, WIDE, WIDE).requires_grad_()
    rng = torch.Generator().manual_seed(1)
    way, seen = (torch.randn(sums.shape, generator=rng, dtype=torch.float64) for _ in range(2))
    _Polar.apply(sums, FEW).backward(seen)
    with torch.no_grad():
        step = 1e-4
        change = (_Polar.apply(sums + step * way, FEW) - _Polar.apply(sums - step * way, FEW)) / (2 * step)
    assert sums.grad is not None
    assert float((sums.grad * way).sum()) == pytest.approx(float((change * seen).sum()), rel=1e-3)


def test_equal_singular_values_have_a_finite_and_right_gradient() -> None:
    sums = rotated((1.0,) * 5).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: _Polar.apply(x, 5), (sums,), atol=1e-6)


def test_a_cut_through_equal_singular_values_and_an_empty_state_have_finite_gradients() -> None:
    for sums in (rotated((1.0,) * 5), torch.zeros(1, 5, 5)):
        sums.requires_grad_()
        polar(sums, 2).sum().backward()
        assert sums.grad is not None and bool(sums.grad.isfinite().all())
