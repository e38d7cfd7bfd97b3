"""How the next token is chosen."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from core.decoding import NUCLEUS, Sampling, chosen, fallen_on, in_nucleus

WORDS = 3 * NUCLEUS


def dice(rows: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(row) for row in range(rows)]


def logits(rows: int, spread: float = 3.0) -> Tensor:
    return spread * torch.randn(rows, WORDS, generator=torch.Generator().manual_seed(9))


def kept(chances: Tensor, top_p: float) -> set[int]:
    """The nucleus, counted one by one."""
    result, mass = set[int](), 0.0
    for token in sorted(range(len(chances)), key=lambda token: -float(chances[token])):
        if mass >= top_p:
            break
        result.add(token)
        mass += float(chances[token])
    return result


@pytest.mark.parametrize("top_p", [1e-6, 0.3, 0.9])
@pytest.mark.parametrize("spread", [0.01, 6.0])  # a nucleus of much of the vocabulary, and one of a few tokens
def test_what_falls_is_in_the_nucleus_and_all_of_it_can(top_p: float, spread: float) -> None:
    chances = (logits(1, spread)[0, :40]).softmax(-1)
    throws = (torch.arange(20_000) / 20_000)[:, None]
    fell = in_nucleus(chances.expand(len(throws), -1), torch.full_like(throws, top_p), throws)
    nucleus = kept(chances, top_p)
    assert set(fell.tolist()) <= nucleus
    assert all(token in fell for token in nucleus if chances[token] > 1e-3)


def test_a_nucleus_of_more_tokens_than_are_looked_at_first_is_whole() -> None:
    chances = logits(1, spread=0.1).softmax(-1)
    last = in_nucleus(chances, torch.tensor([[0.8]]), torch.tensor([[1 - 2**-24]]))
    assert int((chances > chances[0, last]).sum()) > NUCLEUS
    assert float(chances[chances > chances[0, last]].sum()) == pytest.approx(0.8, abs=1e-3)


def test_tokens_fall_as_often_as_they_are_likely() -> None:
    chances = torch.tensor([[0.0, 0.5, 0.0, 0.3, 0.2, 0.0]])
    throws = (torch.arange(1000) / 1000)[:, None]
    counts = torch.bincount(fallen_on(chances.expand(1000, -1), throws), minlength=6) / 1000
    assert torch.allclose(counts, chances[0], atol=2e-3)
    assert fallen_on(chances, torch.tensor([[1 - 2**-24]])).item() == 4


def test_a_row_gets_the_same_token_in_any_company() -> None:
    samplings = [
        Sampling(),
        Sampling(temperature=1.0),
        Sampling(temperature=0.7, top_p=0.9),
        Sampling(temperature=1.5, top_p=0.5),
    ]
    rows = logits(4, spread=1.0)
    alone = [chosen(rows[i : i + 1], [samplings[i]], [dice(4)[i]])[0] for i in range(4)]
    assert chosen(rows, samplings, dice(4)) == alone
    assert alone[0] == int(rows[0].argmax())


def test_a_row_that_is_no_number_leaves_the_others_alone() -> None:
    rows, warm = logits(2), Sampling(temperature=1.0)
    broken = torch.stack([torch.full_like(rows[0], torch.nan), rows[1]])
    assert chosen(broken, [warm] * 2, dice(2))[1] == chosen(rows, [warm] * 2, dice(2))[1]
