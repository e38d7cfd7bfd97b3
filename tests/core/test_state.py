"""The state: a value that survives bytes, adds exactly, and refuses anything else."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save

from core.errors import StateError
from core.state import State


def state(seed: int = 0) -> State:
    return State(torch.randn(2, 4, 4, generator=torch.Generator().manual_seed(seed)))


def test_bytes_give_the_same_state_back() -> None:
    assert torch.equal(State.from_bytes(state().to_bytes()).sums, state().sums)


@pytest.mark.parametrize("blob", [b"", b"not a state", state().to_bytes()[:40], save({"other": torch.zeros(1)})])
def test_other_bytes_are_refused_in_a_sentence(blob: bytes) -> None:
    with pytest.raises(StateError, match="stored"):
        State.from_bytes(blob)


def test_a_state_in_half_precision_is_refused() -> None:
    with pytest.raises(StateError, match="stored"):
        State.from_bytes(save({"sums": torch.zeros(2, 4, 4, dtype=torch.bfloat16)}))


def test_a_state_is_empty_until_something_is_folded() -> None:
    assert State(torch.zeros(2, 4, 4)).is_empty
    assert not state().is_empty


def test_the_norm_is_that_of_the_spectrum() -> None:
    for norm, spectrum in zip(state().norms(), state().spectrum(), strict=True):
        assert norm == pytest.approx(sum(value**2 for value in spectrum) ** 0.5, rel=1e-5)


def test_what_does_not_fade_survives_bytes_and_is_read_with_the_rest() -> None:
    both = State(state(0).sums, state(1).sums)
    again = State.from_bytes(both.to_bytes())
    assert again.pinned is not None
    assert torch.equal(again.pinned, state(1).sums)
    assert torch.equal(again.whole, state(0).sums + state(1).sums)
    assert again.nbytes == 2 * state().nbytes
    torch.testing.assert_close((both + state(2)).whole, both.whole + state(2).sums)


def test_what_does_not_fade_has_the_shape_of_the_rest() -> None:
    with pytest.raises(StateError, match="stored"):
        State.from_bytes(save({"sums": torch.zeros(2, 4, 4), "pinned": torch.zeros(2, 4, 5)}))
