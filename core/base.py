"""The base: a frozen causal language model, its target layers, and the one place where an adapter touches it.

Hooks exist only inside a `with` (but for those of compiled.py, which do nothing outside a step); nothing of a user
stays on a module after it. One caller at a time: hooks are global to a module, so the base is locked while it computes.
Knows nothing of generators or text.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from core.adapter import Adapter
from core.errors import CheckpointError
from core.families import Target, layers_of, projection_path, sizes_of


class Base:
    """A causal LM whose decoder layers end attention and MLP with a projection, of any family that families.py knows.

    Of the two, an adapter changes the one that `target` names, in all layers but the first `before` and the last
    `after`; `paths` are those projections' names within the model. Raise CheckpointError where no layer is left.
    """

    def __init__(self, model: PreTrainedModel, target: Target = "attention", before: int = 0, after: int = 0) -> None:
        self.model = model
        self.target: Target = target
        self.before, self.after = before, after
        self.decoder: Any = model.get_decoder()  # of a model that also sees (Gemma 3), the part that reads
        self.config: Any = model.config.get_text_config()
        self.head: Any = model.get_output_embeddings()
        self.layers: list[Any] = layers_of(self.decoder)
        self.target_layers = self.layers[before : max(0, len(self.layers) - after)]
        if not self.target_layers:
            raise CheckpointError(
                f"Of the base's {len(self.layers)} layers none is left between the first {before} and the last {after}."
            )
        self.projections: list[Any] = [
            layer.get_submodule(projection_path(layer, target)) for layer in self.target_layers
        ]
        if len(sizes := {sizes_of(projection) for projection in self.projections}) > 1:
            raise CheckpointError(
                f"The base's projections have the sizes {sorted(sizes)}; a generator needs one for all."
            )
        names = {module: name for name, module in model.named_modules()}
        self.paths: list[str] = [names[projection] for projection in self.projections]
        self._lock = threading.Lock()

    @property
    def sizes(self) -> tuple[int, int]:
        """d_in and d_out of the projections."""
        return sizes_of(self.projections[0])

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.projections[0].weight.device

    @property
    def dtype(self) -> torch.dtype:
        """What is computed in, which weights in 4 or 8 bits are not kept in."""
        return self.model.dtype

    @property
    def ends(self) -> frozenset[int]:
        """Tokens with which it ends what it says, beside the tokenizer's own (Gemma's and Phi 3's end of a turn)."""
        said = getattr(self.model.generation_config, "eos_token_id", None)
        return frozenset(said if isinstance(said, list) else [] if said is None else [said])

    @property
    def context_length(self) -> int:
        """The longest sequence, in tokens, that positions were trained for."""
        return int(self.config.max_position_embeddings)

    @property
    def positions_depend_on_length(self) -> bool:
        """Whether positions are turned by other frequencies once a sequence is long (longrope, dynamic scaling)."""
        said = json.dumps(getattr(self.config, "rope_parameters", None), default=str)  # one, or one for each layer type
        return '"longrope"' in said or '"dynamic' in said

    @property
    def cached_heads(self) -> tuple[int, int]:
        """How many heads a layer's keys and values have, and the size of each."""
        heads = self.config.num_attention_heads
        size = getattr(self.config, "head_dim", None) or self.config.hidden_size // heads
        return getattr(self.config, "num_key_value_heads", None) or heads, size

    @property
    def cached_a_token(self) -> int:
        """Numbers that the key-value cache keeps of one token."""
        heads, size = self.cached_heads
        return 2 * len(self.layers) * heads * size

    @contextmanager
    def adapted(self, adapter: Adapter | None) -> Iterator[None]:
        """Hold the base alone and add the adapter's delta to every target projection; None leaves it bare."""
        with self._lock, ExitStack() as hooks:
            for layer, projection in enumerate(self.projections if adapter else ()):
                hooks.callback(projection.register_forward_hook(_adding(adapter, layer)).remove)
            yield

    @contextmanager
    def captured(self, entering: list[Tensor]) -> Iterator[None]:
        """Append to `entering` what enters each target layer, (rows, T, d), in the forward passes of the block."""
        with ExitStack() as hooks:
            for layer in self.target_layers:
                hooks.callback(layer.register_forward_pre_hook(_keeping(entering), with_kwargs=True).remove)
            yield

    def read(self, ids: Tensor, adapter: Adapter | None = None) -> list[Tensor]:
        """What enters each target layer, (rows, T, d); a forward pass that ends where the last begins."""
        entering: list[Tensor] = []
        with self.adapted(adapter), self.captured(entering), suppress(_ReadEnough), ExitStack() as hooks:
            hooks.callback(self.target_layers[-1].register_forward_pre_hook(_ending).remove)
            self.decoder(input_ids=ids, use_cache=False)
        if (shape := tuple(entering[0].shape)) != (*ids.shape, self.config.hidden_size):
            raise CheckpointError(
                f"What enters the base's layers is {shape}, and no generator is for that; use another base."
            )
        return entering


class _ReadEnough(Exception):
    """Ends a forward pass of which nothing more is needed."""


def _ending(_: nn.Module, __: tuple[Tensor, ...]) -> None:
    raise _ReadEnough


def _adding(adapter: Adapter | None, layer: int) -> Any:
    def hook(_: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
        assert adapter is not None
        return output + adapter.delta(layer, args[0])

    return hook


def _keeping(entering: list[Tensor]) -> Any:
    def hook(_: nn.Module, args: tuple[Tensor, ...], kwargs: dict[str, Any]) -> None:
        entering.append(args[0] if args else kwargs["hidden_states"])

    return hook
