"""A model: a base (a transformers checkpoint with tokenizer) and a generator, opened and written.

The generator is ours (`generator_config.json`) or in the published format (`adapter_config.json`, see published.py).
Weights are safetensors + json, never pickle. A folder is complete or refused; origin.py says where it comes from.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils.logging import disable_progress_bar

from core.base import Base
from core.config import GeneratorConfig
from core.device import Placement
from core.errors import CheckpointError, first_line
from core.families import checked_target
from core.generator import GatedGenerator, Generator
from core.lora import merged
from core.origin import Origin
from core.published import PUBLISHED_CONFIG, load_published, published_config

CONFIG, WEIGHTS, FORMAT = "generator_config.json", "generator.safetensors", 1
# What a state depends on; a change in any of these files makes old states meaningless.
MEANINGFUL = ("*.safetensors", "tokenizer.json", "chat_template.jinja", "config.json", "adapter_config.json", CONFIG)

Module = TypeVar("Module", bound=nn.Module)
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Checkpoint:
    """An opened model."""

    name: str
    fingerprint: str
    base: Base
    generator: Generator
    tokenizer: PreTrainedTokenizerBase


def load_checkpoint(origin: Origin, placement: Placement) -> Checkpoint:
    """Open a model; raise CheckpointError that names the folder and what is wrong with it."""
    parts = origin.parts()
    model = load_base(parts["base"], placement)
    if "lora" in parts:
        model = merged(model, parts["lora"]).requires_grad_(False)
    base = Base(model, **reach_of(parts["generator"]))
    generator = _placed(load_generator(parts["generator"], base), placement).eval().requires_grad_(False)
    tokenizer = load_tokenizer(parts["base"])
    return Checkpoint(origin.name, fingerprint(parts, placement.bits), base, generator, tokenizer)


def load_base(folder: Path, placement: Placement) -> PreTrainedModel:
    """Open the base alone, in the placement's number type."""
    disable_progress_bar()
    if placement.bits and _in_few_bits_already(folder):
        raise CheckpointError(f"The base in {folder} is kept in few bits already; open it without IMPRINT_BITS.")
    try:
        model = _attending(folder, placement, [placement.attention, *placement.otherwise])
    except (OSError, ValueError, KeyError, ImportError, RuntimeError, SafetensorError) as error:
        raise CheckpointError(
            f"The base in {folder} cannot be opened ({first_line(error)}); fetch it again."
        ) from error
    model = _plain_where_odd(model) if placement.bits else _placed(model, placement)
    return model.eval().requires_grad_(False)


def _attending(folder: Path, placement: Placement, kernels: Sequence[str]) -> PreTrainedModel:
    """The base with the first of the attention kernels that it has; transformers says which before it reads weights."""
    how: dict[str, Any] = {"dtype": placement.dtype, "local_files_only": True, **_in_few_bits(placement)}
    first, *others = kernels
    try:
        return AutoModelForCausalLM.from_pretrained(folder, attn_implementation=first, **how)
    except ValueError as error:
        if not others or "attention" not in str(error).lower():
            raise
        log.info("%s has no %s: %s", folder.name, first, first_line(error))
    return _attending(folder, placement, others)


def _placed(module: Module, placement: Placement) -> Module:
    """The module on its device; raise CheckpointError where it does not fit."""
    try:
        return module.to(placement.device)
    except torch.OutOfMemoryError as error:
        raise CheckpointError(
            "The model does not fit the GPU; `launch.py sizes` says what it takes, and IMPRINT_BITS=4 takes a quarter."
        ) from error


def _in_few_bits_already(folder: Path) -> bool:
    """Whether the weights on disk are in few bits; a config that cannot be read is for who opens it to name."""
    try:
        return "quantization_config" in json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError):
        return False


def _in_few_bits(placement: Placement) -> dict[str, Any]:
    """What transformers has to know to keep weights in 4 or 8 bits, which puts them on the device itself."""
    if not placement.bits:
        return {}
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # it warns of its own casts, in every layer of every step
    quantised = BitsAndBytesConfig(
        load_in_4bit=placement.bits == 4,
        load_in_8bit=placement.bits == 8,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_compute_dtype=placement.dtype,
    )
    return {"quantization_config": quantised, "device_map": {"": placement.device}}


def _plain_where_odd(model: PreTrainedModel) -> PreTrainedModel:
    """Keep bitsandbytes on CPUs with bfloat16 units from repacking weights whose sizes its blocks do not divide.

    It would fail at the first forward pass; its plain kernel takes any size.
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu") and (module.out_features % 32 or module.in_features % 64):
            module.support_avx512bf16_for_cpu = False
    return model


def load_generator(folder: Path, base: Base) -> Generator:
    """Open the generator of either format and check that it fits the base."""
    try:
        generator = load_published(folder, base) if (folder / PUBLISHED_CONFIG).exists() else _load_ours(folder)
    except (OSError, SafetensorError, json.JSONDecodeError) as error:
        raise CheckpointError(
            f"The generator in {folder} cannot be opened ({first_line(error)}); fetch it again."
        ) from error
    except RuntimeError as error:
        raise CheckpointError(
            f"The generator's weights in {folder} do not fit its config ({first_line(error)})."
        ) from error
    config = generator.config
    skipped, d = (config.before, config.after), config.hidden_size
    ours = (config.layers, *skipped, d, config.input_size, config.output_size, config.target)
    theirs = (len(base.target_layers), base.before, base.after, base.config.hidden_size, *base.sizes, base.target)
    if ours != theirs:
        raise CheckpointError(
            f"The generator in {folder} is for (layers, before, after, d, d_in, d_out, target) = {ours}, "
            f"but the base has {theirs}."
        )
    return generator


def read_config(folder: Path, base: Base) -> GeneratorConfig:
    """The shapes of a generator of either format, without its weights; raise as `load_generator`."""
    return published_config(folder, base) if (folder / PUBLISHED_CONFIG).exists() else _our_config(folder)[0]


def reach_of(folder: Path) -> dict[str, Any]:
    """What a generator's adapters change, as `Base` takes it; where that cannot be read, `load_generator` says why."""
    try:
        values = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(values, dict):
        return {}
    kept = {name: values[name] for name in ("before", "after") if type(values.get(name)) is int}
    return {"target": checked_target(values.get("target", "attention")), **kept}


def _our_config(folder: Path) -> tuple[GeneratorConfig, str | None]:
    """The config, and the digest of the weights that it is for."""
    if not (folder / CONFIG).exists():
        raise CheckpointError(f"{folder} has neither {CONFIG} nor {PUBLISHED_CONFIG}; it holds no generator.")
    values: dict[str, Any] = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    if (version := values.pop("format", None)) != FORMAT:
        raise CheckpointError(
            f"The generator in {folder} has format {version}, this program reads {FORMAT}; update it."
        )
    digest = values.pop("digest", None)
    return GeneratorConfig.from_json(values), digest


def _load_ours(folder: Path) -> Generator:
    config, digest = _our_config(folder)
    if digest != file_digest(folder / WEIGHTS):
        raise CheckpointError(
            f"{folder / WEIGHTS} is not the file its config names (digest {str(digest)[:12]}); fetch it again."
        )
    generator = GatedGenerator(config)
    generator.load_state_dict({name: value.float() for name, value in load_file(folder / WEIGHTS).items()})
    return generator


def save_checkpoint(
    folder: Path,
    model: PreTrainedModel,
    generator: GatedGenerator,
    tokenizer: PreTrainedTokenizerBase,
    max_shard_size: str = "50GB",
) -> None:
    """Write a model folder in bfloat16; `load_checkpoint` opens it again.

    The base's weights are cut into files of at most `max_shard_size` ("14MB"); the generator's are one file.
    """
    for old in (folder / "base").glob("model*.safetensors*"):
        old.unlink()  # one file beside shards would be opened in place of them
    model.to(torch.bfloat16).save_pretrained(folder / "base", max_shard_size=max_shard_size)
    tokenizer.save_pretrained(folder / "base")
    save_generator(folder / "generator", generator)


def save_generator(folder: Path, generator: GatedGenerator) -> None:
    """Write a generator alone, in our format and in bfloat16; `load_generator` opens it again."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: value.to("cpu", torch.bfloat16).contiguous() for name, value in generator.state_dict().items()}
    save_file(weights, folder / WEIGHTS)
    values = {"format": FORMAT, "digest": file_digest(folder / WEIGHTS), **asdict(generator.config)}
    (folder / CONFIG).write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")


def fingerprint(parts: Mapping[str, Path], bits: int = 0) -> str:
    """Name what a state of this model means: a digest over weights, tokenizer, template, generator, and LoRA if any.

    Weights that are opened in few bits are others; the number type is no part of it, since it changes a state less.
    """
    digest = hashlib.sha256(f"bits:{bits}\n".encode() if bits else b"")
    for part, folder in sorted(parts.items()):
        files = {path for pattern in MEANINGFUL for path in folder.glob(pattern)}
        for path in sorted(files):
            digest.update(f"{part}/{path.name}:{file_digest(path)}\n".encode())
    return digest.hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes, which the hub's cache has as the name of what a weights file there links to."""
    named = path.resolve().name if path.is_symlink() else ""
    if re.fullmatch("[0-9a-f]{64}", named):
        return named
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """Open the tokenizer beside a base; raise CheckpointError for one without a chat template."""
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"The tokenizer in {folder} cannot be opened ({first_line(error)}); fetch it again."
        ) from error
    if not tokenizer.chat_template:
        raise CheckpointError(
            f"The tokenizer in {folder} has no chat template; use an instruction-tuned base, or put a "
            "chat_template.jinja beside it."
        )
    return tokenizer
