"""The generator: the trained network that turns hidden states into a state, and a state into an adapter.

One small interface, two kinds: `GatedGenerator` (bundled) and `PublishedGenerator` (Chen et al.). Pure maths on
tensors; it knows no tokens, users or devices. Notation of the paper: A1, A2, A3, B, and S for the sums.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import rms_norm

from core.adapter import Adapter
from core.config import GeneratorConfig, PublishedConfig
from core.readout import orthogonal, polar, polar_factors

PADDING = -1
EPS = 1e-6


class LayerGenerator(nn.Module):
    """Weights of one target layer: A1 (r_k, d_in), A2 (r_k, d), A3 (r_v, d), B (d_out, r_v), norm (d,)."""

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        d = config.hidden_size
        self.A1 = nn.Parameter(torch.randn(config.key_size, config.input_size) * config.input_size**-0.5)
        self.A2 = nn.Parameter(torch.randn(config.key_size, d) * d**-0.5)
        self.A3 = nn.Parameter(torch.randn(config.value_size, d) * d**-0.5)
        self.B = nn.Parameter(torch.zeros(config.output_size, config.value_size))
        self.norm = nn.Parameter(torch.ones(d))

    def normalised(self, hidden: Tensor) -> Tensor:
        """The generator's own RMSNorm of (rows, T, d), computed in float32."""
        return rms_norm(hidden.float(), (hidden.shape[-1],), self.norm, EPS)


class Generator(nn.Module, ABC):
    """Folds hidden states into sums and materialises sums as an adapter."""

    reads_sequentially: ClassVar[bool]  # whether a window is read with the adapter of those before it

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        self.config = config
        self.layers: nn.ModuleList

    @property
    def state_shape(self) -> tuple[int, int, int]:
        """(layers, r_k, r_v) of every state of this generator."""
        return (self.config.layers, self.config.key_size, self.config.value_size)

    def empty_sums(self) -> Tensor:
        """The sums of a memory that holds nothing."""
        return torch.zeros(self.state_shape)

    @abstractmethod
    def contribution(self, hidden: Sequence[Tensor], windows: Tensor, ages: Tensor | None = None) -> Tensor:
        """Sums of a text alone, (rows, layers, r_k, r_v), float32.

        `hidden` holds, per target layer, what enters it, (rows, T, d); `windows` (rows, T) numbers the window each
        token belongs to, PADDING for none; `ages` (rows, T) says how many turns came after it (default 0).
        """

    @abstractmethod
    def fold(self, sums: Tensor, contribution: Tensor) -> Tensor:
        """The sums after one more turn; both (..., layers, r_k, r_v). Costs one addition, however much was folded."""

    @abstractmethod
    def aged(self, contributions: Tensor, ages: Tensor) -> Tensor:
        """What is left of contributions (n, layers, r_k, r_v) once `ages` (n,) more turns were folded after each."""

    @abstractmethod
    def fullness(self, sums: Tensor) -> Tensor:
        """For each layer, the share of its directions that reading (layers, r_k, r_v) uses: (layers,), 0 to 1."""

    @abstractmethod
    def materialise(self, sums: Tensor) -> Adapter:
        """The adapter of each row of (rows, layers, r_k, r_v). Costs one decomposition per layer."""


class GatedLayer(LayerGenerator):
    """Adds the write gate (d,), the scale s, and the decay of older turns, as a logit."""

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__(config)
        nn.init.normal_(self.B, std=0.02)
        self.gate = nn.Parameter(torch.zeros(config.hidden_size))
        self.gate_bias = nn.Parameter(torch.zeros(()))
        self.scale = nn.Parameter(torch.ones(()))
        self.decay_logit = nn.Parameter(torch.tensor(3.5))  # sigmoid: 0.97 a turn


class GatedGenerator(Generator):
    """The bundled kind: shifted keys, write gate, recency, orthogonal readout.

    `S = sum over tokens of decay^age * g_{i+1} * k_i v_{i+1}^T` with `g = 2 sigmoid(gate . rms(h) + bias)`: the memory
    answers "what came next after something like this". The last token of a window writes nothing.
    """

    reads_sequentially = False

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__(config)
        self.layers = nn.ModuleList(GatedLayer(config) for _ in range(config.layers))

    def _parts(self) -> Sequence[GatedLayer]:
        return cast(Sequence[GatedLayer], self.layers)

    def decay(self) -> Tensor:
        """How much of each layer's sums stays when a turn is folded, (layers, 1, 1)."""
        return torch.stack([layer.decay_logit for layer in self._parts()]).sigmoid()[:, None, None]

    def contribution(self, hidden: Sequence[Tensor], windows: Tensor, ages: Tensor | None = None) -> Tensor:
        """See Generator.contribution."""
        writes = ((windows[:, 1:] == windows[:, :-1]) & (windows[:, 1:] != PADDING)).float()
        layers = zip(self._parts(), hidden, strict=True)
        return torch.stack([self._layer_sums(layer, h, writes, ages) for layer, h in layers], 1)

    @staticmethod
    def _layer_sums(layer: GatedLayer, hidden: Tensor, writes: Tensor, ages: Tensor | None) -> Tensor:
        normalised = layer.normalised(hidden)
        weight = writes * 2 * torch.sigmoid(normalised[:, 1:] @ layer.gate + layer.gate_bias)
        if ages is not None:
            weight = weight * layer.decay_logit.sigmoid() ** ages[:, 1:]
        keys, values = normalised[:, :-1] @ layer.A2.T, normalised[:, 1:] @ layer.A3.T
        with torch.autocast(hidden.device.type, enabled=False):
            return (keys.float() * weight[..., None]).mT @ values.float()

    def fold(self, sums: Tensor, contribution: Tensor) -> Tensor:
        """See Generator.fold; older turns fade by each layer's decay."""
        return self.decay() * sums + contribution

    def aged(self, contributions: Tensor, ages: Tensor) -> Tensor:
        """See Generator.aged."""
        return self.decay() ** ages[:, None, None, None] * contributions

    def fullness(self, sums: Tensor) -> Tensor:
        """See Generator.fullness: a direction counts by the square of what the readout makes of its strength."""
        return orthogonal(sums).square().sum((-2, -1)).div(min(sums.shape[-2:])).clamp_max(1.0)

    def materialise(self, sums: Tensor) -> Adapter:
        """See Generator.materialise: lora_A = A1 for every row, lora_B = s B M^T with M = orthogonal(S)."""
        memory = orthogonal(sums)
        return Adapter(
            tuple(layer.A1 for layer in self._parts()),
            tuple(layer.scale * layer.B @ memory[:, i].mT for i, layer in enumerate(self._parts())),
        )


class PublishedGenerator(Generator):
    """The published kind: key and value of the same token, plain sums, the top q directions of an SVD at strength 1."""

    reads_sequentially = True

    def __init__(self, config: PublishedConfig) -> None:
        super().__init__(config)
        self.rank, self.scaling = config.rank, config.scaling
        self.layers = nn.ModuleList(LayerGenerator(config) for _ in range(config.layers))

    def _parts(self) -> Sequence[LayerGenerator]:
        return cast(Sequence[LayerGenerator], self.layers)

    def contribution(self, hidden: Sequence[Tensor], windows: Tensor, ages: Tensor | None = None) -> Tensor:
        """See Generator.contribution; age has no meaning here."""
        kept = (windows != PADDING).float()[..., None]
        sums = []
        for layer, h in zip(self._parts(), hidden, strict=True):
            normalised = layer.normalised(h) * kept
            sums.append((normalised @ layer.A2.T).mT @ (normalised @ layer.A3.T))
        return torch.stack(sums, 1)

    def fold(self, sums: Tensor, contribution: Tensor) -> Tensor:
        """See Generator.fold."""
        return sums + contribution

    def aged(self, contributions: Tensor, ages: Tensor) -> Tensor:
        """See Generator.aged; nothing fades here."""
        return contributions

    def fullness(self, sums: Tensor) -> Tensor:
        """See Generator.fullness: of the q directions that are read, those that are not zero."""
        u, _ = polar_factors(sums, self.rank)
        return u.any(-2).float().mean(-1)

    def materialise(self, sums: Tensor) -> Adapter:
        """See Generator.materialise: lora_A = U_q^T A1, lora_B = c B W_q.

        In training they are A1 and c B N^T, whose product is the same: N has a gradient where its factors' explodes.
        """
        if sums.requires_grad:
            return Adapter(
                tuple(layer.A1 for layer in self._parts()),
                tuple(
                    self.scaling * layer.B @ polar(sums[:, i], self.rank).mT for i, layer in enumerate(self._parts())
                ),
            )
        u, w = polar_factors(sums, self.rank)
        return Adapter(
            tuple(u[:, i].mT @ layer.A1 for i, layer in enumerate(self._parts())),
            tuple(self.scaling * layer.B @ w[:, i] for i, layer in enumerate(self._parts())),
        )
