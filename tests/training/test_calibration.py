"""A generator fitted to a base: what it writes, what it asks for, and that it recalls without any training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import pytest
import torch
from torch import Tensor
from torch.nn.functional import rms_norm

from core.base import Base
from core.families import Target
from core.generator import EPS, GatedGenerator, GatedLayer
from core.sizes import generator_config_of
from tests.tiny import tiny_model
from training import calibration
from training.calibration import COMMON, calibrate

ROWS = torch.randint(5, 320, (40, 64), generator=torch.Generator().manual_seed(0))
ROWS[:, ::4] = 3  # a common word


@pytest.fixture(scope="module", params=["attention", "mlp"])
def base(request: pytest.FixtureRequest) -> Base:
    return Base(tiny_model(), cast(Target, request.param))


@pytest.fixture(scope="module")
def generator(base: Base) -> GatedGenerator:
    generator = GatedGenerator(generator_config_of(base, 16))
    calibrate(base, generator, ROWS.split(8))
    return generator.requires_grad_(False)


def layers(generator: GatedGenerator) -> Sequence[GatedLayer]:
    return cast(Sequence[GatedLayer], generator.layers)


def normalised(hidden: Tensor) -> Tensor:
    return rms_norm(hidden[:, 1:].flatten(0, 1), hidden.shape[-1:], None, EPS)


def test_keys_differ_where_hidden_states_are_alike(base: Base, generator: GatedGenerator) -> None:
    for layer, hidden in zip(layers(generator), base.read(ROWS), strict=True):
        keys = normalised(hidden) @ layer.A2.T
        strengths = torch.linalg.eigvalsh(keys.T @ keys / len(keys))
        before = torch.linalg.eigvalsh((h := normalised(hidden)).T @ h / len(h))
        assert strengths[-1] / strengths.mean() < before[-1] / before.mean()
        assert keys.square().mean() == pytest.approx(1.0, rel=0.5)


def test_common_words_are_written_faintly_and_rare_ones_are_not(base: Base, generator: GatedGenerator) -> None:
    common = (ROWS == 3)[:, 1:].flatten()
    assert common.float().mean() > COMMON
    for layer, hidden in zip(layers(generator), base.read(ROWS), strict=True):
        weights = 2 * torch.sigmoid(normalised(hidden) @ layer.gate + layer.gate_bias)
        assert weights[common].mean() < 0.2 < weights[~common].mean()


def test_a_query_resembles_the_key_of_its_token(base: Base, generator: GatedGenerator) -> None:
    given: list[Tensor] = []
    hooks = [p.register_forward_pre_hook(lambda _, args: given.append(args[0])) for p in base.projections]
    base.decoder(ROWS)
    for hook in hooks:
        hook.remove()
    for layer, hidden, x in zip(layers(generator), base.read(ROWS), given, strict=True):
        keys, queries = normalised(hidden) @ layer.A2.T, x[:, 1:].flatten(0, 1) @ layer.A1.T
        own = torch.cosine_similarity(keys, queries).mean()
        assert own > torch.cosine_similarity(keys, queries.roll(7, 0)).mean() + 0.1


def test_what_follows_a_word_is_likelier_once_it_was_read(base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "STRENGTH", 0.5)  # a random base's logits are faint
    generator = GatedGenerator(generator_config_of(base, 16))
    calibrate(base, generator, ROWS.split(8))
    pairs = torch.tensor([[3, 10 + i, 150 + i] for i in range(60)])
    with torch.no_grad():
        adapter = generator.materialise(generator.contribution(base.read(pairs), torch.zeros_like(pairs)))
        bare = base.model(pairs[:, :2]).logits[:, -1].log_softmax(-1)
        with base.adapted(adapter):
            told = base.model(pairs[:, :2]).logits[:, -1].log_softmax(-1)
    gains, others = ((told - bare).gather(1, pairs[:, 2:].roll(by, 0)) for by in (0, 1))
    assert gains.mean() > 4 * gains.std() / len(pairs) ** 0.5  # by chance once in 30,000
    assert gains.mean() > others.mean()
