"""Normalising a state: the two readouts, pure functions from matrices to matrices.

`orthogonal` is what the bundled generator was trained with; `polar_factors` is the published SVD. Neither knows
layers or users.
"""

from __future__ import annotations

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
