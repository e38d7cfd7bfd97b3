"""Bases and generators of a stated geometry, with random weights, made on the device that computes with them.

Nothing is read, fetched, or made on the CPU first. What such weights say means nothing; what they cost does not
depend on what they say.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn
from transformers import AutoModelForCausalLM, MistralConfig

from core.base import Base
from core.checkpoint import Checkpoint
from core.config import GeneratorConfig, PublishedConfig
from core.device import Placement
from core.engine import Engine
from core.generator import GatedGenerator, Generator, PublishedGenerator
from training.tokenizer import train_tokenizer

ALPHA = 64  # of the published generator; its scaling is this over r_v


@dataclass(frozen=True)
class Geometry:
    """The shapes of a Mistral-like base; r_k = r_v and q of a published generator, r_k = r_v of a gated one."""

    name: str
    layers: int
    hidden_size: int
    heads: int
    key_value_heads: int
    head_size: int
    mlp_size: int
    vocabulary: int
    context: int
    published_size: int
    published_rank: int
    gated_size: int

    def base_config(self) -> MistralConfig:
        """What is not a shape is that of Mistral-7B-Instruct-v0.2."""
        return MistralConfig(
            vocab_size=self.vocabulary,
            hidden_size=self.hidden_size,
            intermediate_size=self.mlp_size,
            num_hidden_layers=self.layers,
            num_attention_heads=self.heads,
            num_key_value_heads=self.key_value_heads,
            head_dim=self.head_size,
            max_position_embeddings=self.context,
            rms_norm_eps=1e-5,
            rope_parameters={"rope_type": "default", "rope_theta": 1_000_000.0},
            sliding_window=None,
            tie_word_embeddings=False,
        )

    def generator_config(self) -> GeneratorConfig:
        """Of the gated kind; the window takes every turn that is measured in one pass."""
        return GeneratorConfig(**self._ends(), key_size=self.gated_size, value_size=self.gated_size, window=1024)

    def published_config(self) -> PublishedConfig:
        """Of the published kind (METHOD 5)."""
        size = self.published_size
        sizes: dict[str, Any] = {"key_size": size, "value_size": size, "window": 1024, "rank": self.published_rank}
        return PublishedConfig(**self._ends(), **sizes, scaling=ALPHA / size)

    def _ends(self) -> dict[str, Any]:
        d, d_in = self.hidden_size, self.heads * self.head_size
        return {"layers": self.layers, "hidden_size": d, "input_size": d_in, "output_size": d}


# The gated kind was never trained at this width: its adapters are given the published rank, so that they compare.
MISTRAL = Geometry("mistral-7b", 32, 4096, 32, 8, 128, 14336, 32000, 32768, 1024, 128, 128)
TINY = Geometry("tiny", 2, 64, 4, 2, 16, 128, 512, 2048, 32, 8, 8)
GEOMETRIES = {geometry.name: geometry for geometry in (MISTRAL, TINY)}


def random_base(geometry: Geometry, placement: Placement) -> Base:
    """The base, frozen, in the placement's number type and on its device from the first byte."""
    with placement.device:
        model = AutoModelForCausalLM.from_config(
            geometry.base_config(), dtype=placement.dtype, attn_implementation=placement.attention
        )
    return Base(model.eval().requires_grad_(False))


def thin_base(geometry: Geometry, placement: Placement) -> Base:
    """A base that computes as `random_base` does and holds one layer's weights, which all of its layers share."""
    model = random_base(replace(geometry, layers=1), placement).model
    (layer,) = model.model.layers
    model.config.num_hidden_layers = geometry.layers
    shared = {id(weight): weight for weight in layer.parameters()}
    model.model.layers = nn.ModuleList(deepcopy(layer, dict(shared)) for _ in range(geometry.layers))
    for number, one in enumerate(model.model.layers):
        one.self_attn.layer_idx = number
    return Base(model)


def random_generators(geometry: Geometry, device: torch.device) -> dict[str, Generator]:
    """One generator of each kind, frozen, in float32 as the loaders give them; no adapter of theirs is zero."""
    with device:
        published = PublishedGenerator(geometry.published_config())
        gated = GatedGenerator(geometry.generator_config())
    for name, weight in published.named_parameters():
        if name.endswith(".B"):
            nn.init.normal_(weight, std=0.02)
    generators: dict[str, Generator] = {"published": published, "gated": gated}
    return {kind: generator.eval().requires_grad_(False) for kind, generator in generators.items()}


def random_engines(geometry: Geometry, placement: Placement, words: str, thin: bool = False) -> dict[str, Engine]:
    """An engine for each kind of generator on one base, a `thin` one or not; the words of `words` are a token each."""
    torch.manual_seed(0)
    base = (thin_base if thin else random_base)(geometry, placement)
    tokenizer = train_tokenizer([words] * 2, geometry.vocabulary)
    generators = random_generators(geometry, placement.device)
    return {
        kind: Engine(Checkpoint(geometry.name, "random", base, generator, tokenizer))
        for kind, generator in generators.items()
    }
