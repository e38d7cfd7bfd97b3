"""The decomposition benchmark: its ways agree on what they make, and training's has a gradient."""

from __future__ import annotations

import pytest
import torch

from benchmarks.decomposition import by_svd, measured, state_of, ways

SIZE, RANK = 48, 12


@pytest.mark.parametrize("name", [*ways(RANK)])
def test_every_way_makes_nearly_the_same(name: str) -> None:
    torch.manual_seed(0)
    state = state_of(SIZE)
    exact = by_svd(state, RANK)
    assert (ways(RANK)[name].run(state) - exact).norm() < 0.5 * exact.norm()


def test_what_is_exact_is_called_so_and_what_is_not_is_not() -> None:
    found = {row["side"]: row["distance"] for row in measured(state_of(SIZE), RANK, repeats=1)}
    assert found["leading directions"] < 1e-4 > found["whole SVD"]
    assert found["svd_lowrank, niter 1"] > 1e-3


def test_ways_in_training_make_a_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    made = list[torch.Tensor]()

    def kept(loss: torch.Tensor) -> None:
        made.append(loss)

    monkeypatch.setattr(torch.Tensor, "backward", kept)
    state = state_of(SIZE)
    for way in ways(RANK).values():
        way.run(state)
    assert len(made) == sum(way.in_training for way in ways(RANK).values()) == 3
    assert not state.requires_grad
