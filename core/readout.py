"""Normalising a state: the two readouts, pure functions from matrices to matrices.

`orthogonal` is what the bundled generator was trained with; `polar_factors` is the published one, of the leading
singular vectors, and `polar` the same as one matrix with a gradient, to train with. None knows layers or users.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

# Muon's quintic (Jordan 2024): five steps lift singular values from 1/500 of the norm and up to about 1.
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
STEPS = 5

SPARE, LEAST = 2, 256  # directions iterated over: so many times those asked for, and at least so many
PASSES = 6  # over a state and its transpose, for an adapter to answer with
ROUGH_PASSES = 2  # and for one to train with
SWEEPS = 8  # of a gradient over the directions that are dropped


def orthogonal(sums: Tensor) -> Tensor:
    """Bring the singular values of (..., r_k, r_v) near 1 by Newton-Schulz, in float32.

    Directions below about a thousandth of the norm stay small: a soft noise floor, so that a short turn brings
    no arbitrary directions (METHOD 4.1). A zero matrix stays zero. Matrix products only, hence a stable gradient.
    """
    a, b, c = NEWTON_SCHULZ
    with torch.autocast(sums.device.type, enabled=False):
        x = sums.float()
        x = x / torch.linalg.matrix_norm(x, keepdim=True).clamp_min(1e-12)
        for _ in range(STEPS):
            gram = x @ x.mT
            x = a * x + (b * gram + c * gram @ gram) @ x
    return x


def polar_factors(sums: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """Return U_q (..., r_k, q) and W_q (..., r_v, q) with `U_q W_q^T` the state's directions at strength 1, in float32.

    Columns of singular values below a relative tolerance are zero: a context shorter than q tokens has no more
    directions to give (METHOD 4.1). Source: Chen et al., section 3.
    """
    u, _, w = _leading(sums.float(), rank, PASSES)
    return u, w


def polar(sums: Tensor, rank: int) -> Tensor:
    """`U_q W_q^T` of `polar_factors` as one matrix, (..., r_k, r_v), with a gradient that stays finite, in float32.

    Nearly so: of wide states it takes fewer passes.
    """
    return _Polar.apply(sums.float(), rank)


def _leading(sums: Tensor, rank: int, passes: int) -> tuple[Tensor, Tensor, Tensor]:
    """The `rank` largest singular values (..., q) that are not noise, with their vectors left and right; 0 for others.

    Of a wide state by subspace iteration, whose matrix products cost a fraction of a whole decomposition, from
    directions that are always the same: one state gives one adapter. Source: Halko et al. 2011, algorithm 4.4.
    """
    if (width := max(SPARE * rank, LEAST)) >= min(sums.shape[-2:]):
        u, sigma, wt = torch.linalg.svd(sums, full_matrices=False)
        u, sigma, w = u[..., :rank], sigma[..., :rank], wt.mT[..., :rank]
    else:
        seeded = torch.Generator().manual_seed(0)
        basis = _spanning(sums @ torch.randn(sums.shape[-1], width, generator=seeded).to(sums))
        for _ in range(passes):
            basis = _spanning(sums @ _spanning(sums.mT @ basis))
        inner = (basis.mT @ sums).double()  # whose squares float32 would not hold
        values, vectors = torch.linalg.eigh(inner @ inner.mT)
        sigma, vectors = values.flip(-1)[..., :rank].clamp_min(0).sqrt(), vectors.flip(-1)[..., :rank]
        w = inner.mT @ vectors / torch.where(sigma > 0, sigma, 1)[..., None, :]
        u, sigma, w = basis @ vectors.to(basis), sigma.to(basis), w.to(basis)
    tolerance = max(sums.shape[-2:]) * torch.finfo(sums.dtype).eps
    kept = (sigma > tolerance * sigma[..., :1]).to(u)
    return u * kept[..., None, :], sigma * kept, w * kept[..., None, :]


def _spanning(matrix: Tensor) -> Tensor:
    return torch.linalg.qr(matrix).Q


class _Polar(torch.autograd.Function):
    """A function of singular values alone: 1 for those kept, 0 for the others.

    Its gradient takes no decomposition but that of what is kept. Among kept directions an antisymmetric change counts
    2 / (s_i + s_j); between kept and dropped ones the change (y, v) of U_q and W_q solves `y S - R v = e` and
    `v S - R^T y = f`, with S the singular values and R the rest of the state. A few sweeps of that stay finite where
    the cut parts two equal values, which the exact answer, and the SVD's own gradient, do not (METHOD 4.4).
    """

    @staticmethod
    def forward(context: Any, sums: Tensor, rank: int) -> Tensor:
        u, sigma, w = _leading(sums, rank, ROUGH_PASSES)
        context.save_for_backward(sums, u, sigma, w)
        return u @ w.mT

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        sums, u, sigma, w = context.saved_tensors
        left, right = gradients[0] @ w, gradients[0].mT @ u
        inner = u.mT @ left
        together = (sigma[..., :, None] + sigma[..., None, :]).clamp_min(torch.finfo(sigma.dtype).tiny)
        inverse = torch.where(sigma > 0, 1 / sigma, 0)[..., None, :]
        rest = sums - (u * sigma[..., None, :]) @ w.mT
        e, f = left - u @ inner, right - w @ inner.mT
        v = f * inverse
        for _ in range(SWEEPS):
            y = (e + rest @ v) * inverse
            v = (f + rest.mT @ y) * inverse
        return u @ ((inner - inner.mT) / together) @ w.mT + y @ w.mT + u @ v.mT, None
