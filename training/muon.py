"""Muon (Jordan 2024) whose orthogonalisation runs in the number type of the run: torch's own has bfloat16 alone."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor


class Muon(torch.optim.Muon):
    """`torch.optim.Muon` with `match_rms_adamw`, in bfloat16 or float32.

    On a processor without bfloat16 units, torch's takes most of a training step.
    """

    def __init__(self, params: list[dict[str, object]], lr: float, weight_decay: float, dtype: torch.dtype) -> None:
        super().__init__(params, lr=lr, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw")
        self.dtype = dtype

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]  # nothing here evaluates the loss again
        """Go down along every matrix's orthogonalised momentum; those of one shape at once, which a GPU needs."""
        for group in self.param_groups:
            alike: dict[torch.Size, list[Tensor]] = {}
            for matrix in group["params"]:
                if matrix.grad is not None:
                    alike.setdefault(matrix.shape, []).append(matrix)
            for matrices in alike.values():
                self._descend(matrices, group)

    def _descend(self, matrices: list[Tensor], group: dict[str, Any]) -> None:
        gradients = [cast(Tensor, matrix.grad) for matrix in matrices]
        means = [self._mean(matrix) for matrix in matrices]
        torch._foreach_lerp_(means, gradients, 1 - group["momentum"])
        ahead = torch.stack(torch._foreach_lerp(gradients, means, group["momentum"])).to(self.dtype)
        updates = orthogonalised(ahead, group["ns_coefficients"], group["ns_steps"], group["eps"])
        torch._foreach_mul_(matrices, 1 - group["lr"] * group["weight_decay"])
        rate = group["lr"] * 0.2 * max(matrices[0].shape) ** 0.5
        torch._foreach_add_(matrices, list(updates.to(matrices[0].dtype)), alpha=-rate)

    def _mean(self, matrix: Tensor) -> Tensor:
        """The momentum so far."""
        state = self.state[matrix]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(matrix)
        return cast(Tensor, state["momentum_buffer"])


def orthogonalised(matrices: Tensor, coefficients: tuple[float, float, float], steps: int, eps: float) -> Tensor:
    """Matrices (n, a, b) with all their singular values near one: Newton-Schulz iteration, as in `torch.optim.Muon`."""
    if matrices.size(-2) > matrices.size(-1):
        return orthogonalised(matrices.mT, coefficients, steps, eps).mT
    a, b, c = coefficients
    matrices = matrices / torch.linalg.matrix_norm(matrices.float(), keepdim=True).clamp(min=eps).to(matrices)
    for _ in range(steps):
        gram = matrices @ matrices.mT
        matrices = torch.baddbmm(matrices, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), matrices, beta=a)
    return matrices
