"""Bases and generators of a stated geometry, with random weights, made on the device that computes with them.

Nothing is read, fetched, or made on the CPU first. What such weights say means nothing; what they cost does not
depend on what they say. What a pass over them has to read and to multiply at least is counted here too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, MistralConfig

from core.adapter import Adapter
from core.base import Base
from core.checkpoint import Checkpoint
from core.config import GeneratorConfig, PublishedConfig
from core.device import Placement
from core.engine import Engine
from core.generator import GatedGenerator, Generator, LayerGenerator, PublishedGenerator
from core.state import State
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


def memories(engine: Engine, users: int) -> list[Adapter]:
    """An adapter for each user, each of other numbers, as large and of the same type as the engine makes them.

    The published kind's are not made by it, which takes a decomposition a layer for each.
    """
    if not isinstance(engine.generator, PublishedGenerator):
        return [engine.materialise(State(torch.randn(engine.generator.state_shape))) for _ in range(users)]
    base, config, rank = engine.base, engine.generator.config, engine.generator.rank

    def factors(*shape: int) -> tuple[Tensor, ...]:
        return tuple(0.02 * torch.randn(shape, device=base.device, dtype=base.dtype) for _ in range(config.layers))

    return [Adapter(factors(1, rank, config.input_size), factors(1, config.output_size, rank)) for _ in range(users)]


@dataclass(frozen=True)
class Work:
    """Bytes that have to be read, and operations of matrix products with weights, counted by their number type."""

    read: int
    operations: Counter[torch.dtype]

    def __add__(self, other: Work) -> Work:
        return Work(self.read + other.read, self.operations + other.operations)

    def limit_ms(self, bandwidth: float, rates: Mapping[torch.dtype, float]) -> float:
        """The time of the slower of the two, on a device of these bytes and operations a second.

        Without rates the bytes alone count.
        """
        multiplying = sum(count / rates[dtype] for dtype, count in self.operations.items()) if rates else 0.0
        return 1000 * max(self.read / bandwidth, multiplying)


def product(weights: Iterable[Tensor], vectors: int) -> Work:
    """Each of the weights read once, and, where it is a matrix, multiplied with so many vectors."""
    work = Work(0, Counter())
    for weight in weights:
        operations = 2 * weight.numel() * vectors if weight.ndim > 1 else 0
        work += Work(weight.nbytes, Counter({weight.dtype: operations}))
    return work


def forward_work(base: Base, tokens: int) -> Work:
    """Of a forward pass without LM head; attention over such lengths is a few hundredths of it, and not counted."""
    return product((weight for layer in base.layers for weight in layer.parameters()), tokens)


def fold_work(base: Base, generator: Generator, tokens: int) -> Work:
    """Of a turn's contribution: the layers before the last one that is read, then keys, values and sums of all."""
    read = base.layers[: base.layers.index(base.target_layers[-1])]
    work = product((weight for layer in read for weight in layer.parameters()), tokens)
    for layer in cast(Sequence[LayerGenerator], generator.layers):
        work += product((layer.A2, layer.A3, layer.norm), tokens)
        work += Work(0, Counter({layer.A2.dtype: 2 * tokens * len(layer.A2) * len(layer.A3)}))
    return work


def step_work(base: Base, rows: int) -> Work:
    """Of a step of so many rows without memory: all weights but the input embeddings, of which it looks up some."""
    embeddings = base.model.get_input_embeddings().weight
    looked_up = embeddings is not base.head.weight
    return product((w for w in base.model.parameters() if not (looked_up and w is embeddings)), rows)


def adapters_work(adapters: Sequence[Adapter], read: int, dtype: torch.dtype) -> Work:
    """Of a step in which each row is multiplied with its own adapter, and of all so many bytes are read."""
    numbers = sum(factor.numel() for one in adapters for factor in (*one.lora_A, *one.lora_B))
    return Work(read, Counter({dtype: 2 * numbers}))
