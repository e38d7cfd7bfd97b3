"""`python -m benchmarks.decomposition [--size N] [--rank N] [--json OUT]`: the directions of a layer's published state.

To answer with, against a whole SVD and the randomised one that the research code takes; and to train with, gradient and
all. Each has its milliseconds, and its distance from what an SVD in float64 says: of the product of the factors, as a
share of its norm. Needs no model: the state is that of random tokens, most of whose variance lies in few directions.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.report import commit, finish
from benchmarks.timing import interleaved, timed
from core.readout import polar, polar_factors

TOKENS = 1024
FALL = 0.5  # the strength of the n-th direction of a hidden state is n to the minus this
REPEATS = 5


@dataclass(frozen=True)
class Way:
    """How to make `U_q W_q^T` of a state, and to train with it."""

    product: Callable[[Tensor], Tensor]
    in_training: bool = False

    def run(self, state: Tensor) -> Tensor:
        """The product; in training, with the gradient made as well."""
        if not self.in_training:
            return self.product(state)
        state = state.detach().requires_grad_()
        made = self.product(state)
        made.sum().backward()
        return made.detach()


def main() -> None:
    """Print a table and a JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=1024)
    parser.add_argument("--rank", type=int, default=128)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    device, sizes = torch.device(arguments.device), {"size": arguments.size, "rank": arguments.rank}
    rows = measured(state_of(arguments.size).to(device), arguments.rank, REPEATS)
    print(*(f"{row['side']:40}{row['ms']:10,.1f} ms{row['distance']:12.1e}" for row in rows), sep="\n")
    finish(sizes | {"device": device.type, "ways": rows, "commit": commit()}, arguments.json)


def state_of(size: int) -> Tensor:
    """What TOKENS random tokens leave, (size, size)."""
    dice = torch.Generator().manual_seed(0)
    hidden = torch.randn(TOKENS, size, generator=dice) * torch.arange(1, size + 1).pow(-FALL)
    keys, values = (hidden @ torch.randn(size, size, generator=dice) * size**-0.5 for _ in range(2))
    return keys.T @ values


def ways(rank: int) -> Mapping[str, Way]:
    """Ours first, then what there is besides."""
    return {
        "leading directions": Way(lambda state: _product(*polar_factors(state, rank))),
        "leading directions, in training": Way(lambda state: polar(state, rank), in_training=True),
        "whole SVD": Way(lambda state: by_svd(state, rank)),
        "whole SVD, in training": Way(lambda state: by_svd(state, rank), in_training=True),
        "svd_lowrank, niter 1": Way(lambda state: _lowrank(state, rank)),
        "svd_lowrank, niter 1, in training": Way(lambda state: _lowrank(state, rank), in_training=True),
    }


def measured(state: Tensor, rank: int, repeats: int) -> list[dict[str, Any]]:
    """Of each way its median milliseconds and its distance from the exact product."""
    torch.manual_seed(0)  # one way is random
    exact = by_svd(state.double(), rank)
    sides = {name: timed(state.device, partial(way.run, state)) for name, way in ways(rank).items()}
    taken = interleaved(sides, repeats)
    return [
        {"side": name, "ms": taken[name], "distance": float((way.run(state).double() - exact).norm() / exact.norm())}
        for name, way in ways(rank).items()
    ]


def by_svd(state: Tensor, rank: int) -> Tensor:
    """`U_q W_q^T` of a whole decomposition."""
    u, _, wt = torch.linalg.svd(state, full_matrices=False)
    return u[..., :rank] @ wt[..., :rank, :]


def _lowrank(state: Tensor, rank: int) -> Tensor:
    u, _, w = torch.svd_lowrank(state, q=rank, niter=1)
    return _product(u, w)


def _product(u: Tensor, w: Tensor) -> Tensor:
    return u @ w.mT


if __name__ == "__main__":
    main()
