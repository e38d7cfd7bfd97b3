"""What a model and its memories take, in bytes: arithmetic over shapes, before anything is loaded.

A base is built on the meta device, where weights have shapes and no bytes.
"""

from __future__ import annotations

import tomllib
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM

from core.base import Base
from core.checkpoint import reach_of, read_config
from core.config import GeneratorConfig, PublishedConfig
from core.decoding import rows_come_and_go
from core.errors import CheckpointError, first_line
from core.families import KNOWN
from core.generator import GatedGenerator, Generator, PublishedGenerator
from core.origin import CONFIGS, Origin, folder_of

HALF, WHOLE = 2, 4  # bytes of a number in bfloat16 and in float32
TEXT_BYTES = 4.5  # of English a token, about
GEOMETRIES = Path(__file__).parent / "geometries.toml"


@dataclass(frozen=True)
class Sizes:
    """Bytes: of the base and an adapter in bfloat16, of generator and state in float32, of a token's keys and values.

    `own` is what a person's adapter holds beyond what all share, the least that can be kept to use a memory. `together`
    is no size: whether one pass of the base goes on with many replies.
    """

    base: int
    generator: int
    state: int
    adapter: int
    own: int
    cache_a_token: int
    together: bool

    @property
    def break_even(self) -> int:
        """Tokens of history whose key-value cache is as large as a state: below, memory takes more."""
        return -(-self.state // self.cache_a_token)

    @property
    def break_even_as_text(self) -> int:
        """Tokens of history that take as much as a state when they are kept as English text."""
        return round(self.state / TEXT_BYTES)


def sizes_of_origin(origin: Origin, state_size: int | None = None) -> Sizes:
    """Of a model, from its configs alone, which are all that is fetched; raise CheckpointError as opening it does.

    Of a base without a generator with the published one's shapes, or with a gated one of this r_k = r_v.
    """
    folder = folder_of(origin.model, CONFIGS)
    alone = not origin.generator and not (folder / "generator").is_dir()
    try:
        if alone or state_size is not None:
            inside = folder / "base" if (folder / "base").is_dir() else folder
            return _sizes_with(_read(inside), state_size)
        parts = origin.parts(CONFIGS)
        base = _read(parts["base"], **reach_of(parts["generator"]))
        return sizes_of(base, read_config(parts["generator"], base))
    except (OSError, ValueError, LookupError, ImportError, AttributeError, RuntimeError) as error:
        reason = first_line(error).partition(". ")[0]
        raise CheckpointError(f"What {origin.name} takes cannot be read from its configs ({reason}).") from error


def _read(folder: Path, **reach: Any) -> Base:
    """The base in a folder; raise CheckpointError where what enters its layers is nothing that a generator reads."""
    base = base_of(AutoConfig.from_pretrained(folder, local_files_only=True), **reach)
    entering: list[Tensor] = []
    # Whatever else cannot be computed without weights is seen when there are some.
    with suppress(_Entered, RuntimeError), base.captured(entering), ExitStack() as hooks:
        hooks.callback(base.target_layers[0].register_forward_pre_hook(_entered).remove)
        with torch.device("meta"):
            ids, mask = torch.zeros(1, 2, dtype=torch.long), torch.ones(1, 1, 2, 2, dtype=torch.bool)
        # Such a mask is taken as it is, and never looked at.
        base.decoder(input_ids=ids, attention_mask=mask, use_cache=False)
    for shape in (tuple(states.shape) for states in entering):
        if shape != (1, 2, base.config.hidden_size):
            raise CheckpointError(
                f"What enters the layers of {folder} is {shape}, where (rows, tokens, d) is needed; use a base of a "
                f"known family: {KNOWN}."
            )
    return base


class _Entered(Exception):
    """Ends a forward pass at the first layer."""


def _entered(_: nn.Module, __: tuple[Tensor, ...]) -> None:
    raise _Entered


def sizes_of_known(state_size: int | None = None) -> dict[str, Sizes]:
    """Of well-known bases with the published generator's shapes, or with a gated one of this r_k = r_v."""
    known = tomllib.loads(GEOMETRIES.read_text(encoding="utf-8")).items()
    return {name: _sizes_with(base_of(AutoConfig.for_model(**values)), state_size) for name, values in known}


def _sizes_with(base: Base, state_size: int | None) -> Sizes:
    return sizes_of(base, _published(base) if state_size is None else generator_config_of(base, state_size))


def generator_config_of(base: Base, size: int) -> GeneratorConfig:
    """Of a gated generator for this base, with states of this r_k = r_v."""
    return GeneratorConfig(**ends_of(base), key_size=size, value_size=size)


def _published(base: Base) -> PublishedConfig:
    """Of the shapes of the published generators."""
    return PublishedConfig(**ends_of(base), key_size=1024, value_size=1024, window=1024, rank=128, scaling=0.0625)


def base_of(config: Any, **reach: Any) -> Base:
    """A base of these shapes (a transformers config), without a byte of weights; `reach` as `Base` takes it."""
    with torch.device("meta"):
        return Base(AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16), **reach)


def ends_of(base: Base) -> dict[str, Any]:
    """What a generator has to know of its base: layers, d, d_in, d_out and target."""
    (d_in, d_out), config = base.sizes, base.config
    ends = {
        "layers": len(base.target_layers),
        "hidden_size": config.hidden_size,
        "input_size": d_in,
        "output_size": d_out,
    }
    return ends | {"target": base.target, "before": base.before, "after": base.after}


def generator_of(config: GeneratorConfig) -> Generator:
    """A generator of these shapes, of the kind that its config is for."""
    return PublishedGenerator(config) if isinstance(config, PublishedConfig) else GatedGenerator(config)


def sizes_of(base: Base, config: GeneratorConfig) -> Sizes:
    """The bytes of everything, for a base and a generator's shapes."""
    with torch.device("meta"):
        generator = generator_of(config)
    d_in, d_out, layers, (r_k, r_v) = config.input_size, config.output_size, config.layers, generator.state_shape[1:]
    published = isinstance(config, PublishedConfig)
    rank = config.rank if isinstance(config, PublishedConfig) else r_k
    adapter = HALF * layers * rank * (d_in + d_out)
    return Sizes(
        base=HALF * sum(weight.numel() for weight in base.model.parameters()),
        generator=WHOLE * sum(weight.numel() for weight in generator.parameters()),
        state=WHOLE * layers * r_k * r_v,
        adapter=adapter,
        own=min(adapter, HALF * layers * (rank * (r_k + r_v) if published else r_k * r_v)),
        cache_a_token=HALF * base.cached_a_token,
        together=rows_come_and_go(base),
    )
