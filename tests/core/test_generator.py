"""The generator's maths: folding adds, recency fades, short turns bring no noise, the adapter is a true LoRA."""

from __future__ import annotations

import torch
from torch import Tensor

from core.config import GeneratorConfig, PublishedConfig
from core.generator import PADDING, GatedGenerator, PublishedGenerator
from core.readout import orthogonal, polar_factors
from tests.tiny import tiny_generator

SHAPES = GeneratorConfig(2, 32, 32, 32, key_size=16, value_size=16)


def hidden(tokens: int, rows: int = 1, seed: int = 0) -> list[Tensor]:
    dice = torch.Generator().manual_seed(seed)
    return [torch.randn(rows, tokens, 32, generator=dice) for _ in range(2)]


def one_window(tokens: int, rows: int = 1) -> Tensor:
    return torch.zeros(rows, tokens, dtype=torch.long)


def published(rank: int = 16) -> PublishedGenerator:
    torch.manual_seed(0)
    generator = PublishedGenerator(PublishedConfig(2, 32, 32, 32, 16, 16, 64, rank=rank, scaling=0.5))
    for layer in generator.layers:
        torch.nn.init.normal_(layer.B)
    return generator.requires_grad_(False)


def test_an_untrained_published_generator_changes_nothing() -> None:
    generator = PublishedGenerator(PublishedConfig(2, 32, 32, 32, 16, 16))
    adapter = generator.materialise(generator.contribution(hidden(9), one_window(9)))
    assert not adapter.delta(0, torch.randn(1, 3, 32)).any()


def test_an_empty_state_makes_a_zero_adapter() -> None:
    for generator in (tiny_generator(), published()):
        adapter = generator.materialise(generator.empty_sums()[None])
        assert not adapter.delta(1, torch.randn(1, 3, 32)).any()


def test_folding_turn_by_turn_equals_one_sum_with_ages() -> None:
    generator = tiny_generator()
    turns = [hidden(5, seed=seed) for seed in range(3)]
    sums = generator.empty_sums()
    for turn in turns:
        sums = generator.fold(sums, generator.contribution(turn, one_window(5))[0])
    together = [torch.cat([turn[layer] for turn in turns], 1) for layer in range(2)]
    windows = torch.arange(3).repeat_interleave(5)[None]
    at_once = generator.contribution(together, windows, (2 - windows).float())[0]
    torch.testing.assert_close(sums, at_once)


def test_windows_in_a_row_do_not_touch() -> None:
    generator = tiny_generator()
    one, two = hidden(4, seed=1), hidden(6, seed=2)
    packed = [torch.cat(pair, 1) for pair in zip(one, two, strict=True)]
    windows = torch.tensor([[0] * 4 + [1] * 6])
    apart = generator.contribution(one, one_window(4)) + generator.contribution(two, one_window(6))
    torch.testing.assert_close(generator.contribution(packed, windows), apart)


def test_padding_writes_nothing() -> None:
    padded = [torch.cat([h, torch.randn(1, 3, 32)], 1) for h in hidden(5)]
    windows = torch.tensor([[0] * 5 + [PADDING] * 3])
    for generator in (tiny_generator(), published()):
        alone = generator.contribution(hidden(5), one_window(5))
        torch.testing.assert_close(generator.contribution(padded, windows), alone)


def test_a_single_token_writes_nothing_with_shifted_keys() -> None:
    assert not tiny_generator().contribution(hidden(1), one_window(1)).any()


def test_an_older_turn_fades_and_a_newer_does_not() -> None:
    generator = tiny_generator()
    sums = generator.contribution(hidden(5), one_window(5))[0]
    faded = generator.fold(sums, torch.zeros_like(sums))
    torch.testing.assert_close(faded, generator.decay() * sums)


def test_a_short_turn_has_no_more_directions_than_tokens() -> None:
    """METHOD 4.1: setting all q singular values to 1 would add arbitrary directions at full strength."""
    sums = published().contribution(hidden(3), one_window(3))
    u, w = polar_factors(sums, rank=16)
    assert torch.linalg.matrix_rank(u @ w.mT).tolist() == [[3, 3]]


def test_the_orthogonal_readout_of_a_short_turn_is_stable_under_tiny_noise() -> None:
    sums = tiny_generator().contribution(hidden(4), one_window(4))
    noisy = sums + 1e-7 * sums.norm() * torch.randn(sums.shape, generator=torch.Generator().manual_seed(0))
    cosine = torch.cosine_similarity(orthogonal(sums).flatten(), orthogonal(noisy).flatten(), dim=0)
    assert cosine > 0.999


def test_the_orthogonal_readout_brings_singular_values_near_one() -> None:
    values = torch.linalg.svdvals(orthogonal(torch.randn(16, 16, generator=torch.Generator().manual_seed(3))))
    assert values.max() < 1.3
    assert values.median() > 0.6


def test_materialising_twice_gives_the_same_bits() -> None:
    for generator in (tiny_generator(), published(4)):
        sums = generator.contribution(hidden(12), one_window(12))
        first, second = generator.materialise(sums), generator.materialise(sums)
        assert all(torch.equal(a, b) for a, b in zip(first.lora_B, second.lora_B, strict=True))


def test_the_adapter_is_linear_in_the_layers_input() -> None:
    generator = tiny_generator()
    adapter = generator.materialise(generator.contribution(hidden(8), one_window(8)))
    x, y = torch.randn(2, 1, 3, 32, generator=torch.Generator().manual_seed(0)).unbind()
    torch.testing.assert_close(adapter.delta(0, x + 2 * y), adapter.delta(0, x) + 2 * adapter.delta(0, y))


def test_only_the_generators_parameters_get_gradients() -> None:
    generator = GatedGenerator(SHAPES)
    states = generator.contribution(hidden(8), one_window(8))
    generator.materialise(states).delta(0, torch.randn(1, 2, 32)).sum().backward()
    assert generator.layers[0].A2.grad is not None
    assert generator.layers[0].gate.grad is not None


def test_an_empty_state_is_not_full_and_more_turns_fill_it_more() -> None:
    for generator in (tiny_generator(), published()):
        size = generator.config.hidden_size if hasattr(generator.config, "hidden_size") else 32
        turns = [
            [torch.randn(1, 4, size, generator=torch.Generator().manual_seed(seed)) for _ in range(2)]
            for seed in range(6)
        ]
        sums, fullness = generator.empty_sums(), []
        for turn in turns:
            fullness.append(float(generator.fullness(sums).mean()))
            sums = generator.fold(sums, generator.contribution(turn, one_window(4))[0])
        assert fullness[0] == 0.0
        assert fullness[1] < fullness[-1] <= 1.0
        assert generator.fullness(sums).shape == (2,)
