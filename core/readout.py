"""Normalising a state: the two readouts, pure functions from matrices to matrices.

`orthogonal` is what the bundled generator was trained with; `polar_factors` is the published SVD, and `polar` the same
as one matrix with a gradient, to train with. None knows layers or users.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

# Muon's quintic (Jordan 2024): five steps lift singular values from 1/500 of the norm and up to about 1.
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
STEPS = 5


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
    """Return U_q (..., r_k, q) and W_q (..., r_v, q) with `U_q W_q^T` the state's directions at strength 1.

    Exact SVD, so the same state gives the same adapter. Columns of singular values below a relative tolerance are
    zero: a context shorter than q tokens has no more directions to give (METHOD 4.1). Source: Chen et al., section 3.
    """
    u, sigma, wt = torch.linalg.svd(sums.float(), full_matrices=False)
    tolerance = max(sums.shape[-2:]) * torch.finfo(torch.float32).eps
    kept = (sigma > tolerance * sigma[..., :1]).to(u.dtype)[..., None, :rank]
    return u[..., :rank] * kept, wt.mT[..., :rank] * kept


def polar(sums: Tensor, rank: int) -> Tensor:
    """`U_q W_q^T` of `polar_factors` as one matrix, (..., r, r), for square states, with a gradient that stays finite.

    Raise ValueError for a state that is not square.
    """
    if sums.shape[-1] != sums.shape[-2]:
        raise ValueError(f"The state is {sums.shape[-2]} x {sums.shape[-1]}; only a square one has this gradient.")
    return _Polar.apply(sums.float(), rank)


class _Polar(torch.autograd.Function):
    """A function of singular values alone: 1 for those kept, 0 for the others.

    In the basis of U and W its derivative scales the symmetric part of a change by (f_i - f_j) / (s_i - s_j) and the
    antisymmetric one by (f_i + f_j) / (s_i + s_j), so that equal singular values on one side of the cut do no harm,
    where the SVD's own gradient explodes (METHOD 4.4); two that the cut parts are held a little apart.
    """

    APART = 1e-3  # of the largest singular value

    @staticmethod
    def forward(context: Any, sums: Tensor, rank: int) -> Tensor:
        u, sigma, wt = torch.linalg.svd(sums)
        tolerance = sums.shape[-1] * torch.finfo(sums.dtype).eps
        kept = (sigma > tolerance * sigma[..., :1]).to(u.dtype)
        kept[..., rank:] = 0
        context.save_for_backward(u, sigma, wt, kept)
        return u * kept[..., None, :] @ wt

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        u, sigma, wt, f = context.saved_tensors
        inner = u.mT @ gradients[0] @ wt.mT
        least = (_Polar.APART * sigma[..., :1, None]).clamp_min(torch.finfo(sigma.dtype).tiny)
        difference = (sigma[..., :, None] - sigma[..., None, :]).abs().clamp_min(least)
        between = (f[..., :, None] - f[..., None, :]).abs() / difference
        together = (f[..., :, None] + f[..., None, :]) / (sigma[..., :, None] + sigma[..., None, :]).clamp_min(least)
        symmetric, antisymmetric = (inner + inner.mT) / 2, (inner - inner.mT) / 2
        return u @ (between * symmetric + together * antisymmetric) @ wt, None
