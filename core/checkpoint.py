"""A model: a base (a transformers checkpoint with tokenizer) and a generator, opened and written.

The generator is ours (`generator_config.json`) or in the published format (`adapter_config.json`, see published.py).
Weights are safetensors + json, never pickle. A folder is complete or refused; origin.py says where it comes from.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from core.base import Base
from core.config import GeneratorConfig
from core.device import Placement
from core.errors import CheckpointError, first_line
from core.families import checked_target
from core.generator import GatedGenerator, Generator
from core.lora import merged
from core.opening import load_base, load_tokenizer, placed
from core.origin import Origin
from core.published import PUBLISHED_CONFIG, load_published, published_config

CONFIG, WEIGHTS, FORMAT = "generator_config.json", "generator.safetensors", 1
GENERATION, MOST_GUIDANCE = "generation_config.json", 3.0
# What a state depends on; a change in any of these files makes old states meaningless.
MEANINGFUL = ("*.safetensors", "tokenizer.json", "chat_template.jinja", "config.json", "adapter_config.json", CONFIG)

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Checkpoint:
    """An opened model."""

    name: str
    fingerprint: str
    base: Base
    generator: Generator
    tokenizer: PreTrainedTokenizerBase
    guidance: float = 1.0


def load_checkpoint(origin: Origin, placement: Placement) -> Checkpoint:
    """Open a model; raise CheckpointError that names the folder and what is wrong with it."""
    parts = origin.parts()
    tokenizer = load_tokenizer(parts["base"])  # before gigabytes are read
    model = load_base(parts["base"], placement)
    if "lora" in parts:
        model = merged(model, parts["lora"]).requires_grad_(False)
    base = Base(model, **reach_of(parts["generator"]))
    _warn_of_another(parts["generator"], origin.base_name)
    generator = placed(load_generator(parts["generator"], base), placement).eval().requires_grad_(False)
    given = (fingerprint(parts, placement.bits), base, generator, tokenizer)
    return Checkpoint(origin.name, *given, guidance_of(parts["generator"]))


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


def _warn_of_another(folder: Path, base: str) -> None:
    """Say so where a generator names another base: shapes alone do not tell two of a family apart."""
    for config, key in ((PUBLISHED_CONFIG, "base_model_name_or_path"), (CONFIG, "base")):
        with suppress(OSError, ValueError, AttributeError):
            made_for = json.loads((folder / config).read_text(encoding="utf-8")).get(key)
            if isinstance(made_for, str) and Path(made_for).name.lower() != Path(base).name.lower():
                log.warning(
                    "The generator in %s is for %s, and the base is %s; with other weights it may talk nonsense.",
                    folder,
                    made_for,
                    base,
                )


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
    values.pop("base", None)  # what it is for: see _warn_of_another
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


def save_generator(folder: Path, generator: GatedGenerator, base: str | None = None) -> None:
    """Write a generator alone, in our format and in bfloat16; `load_generator` opens it again.

    `base` is what the base is called, where it is not kept beside it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: value.to("cpu", torch.bfloat16).contiguous() for name, value in generator.state_dict().items()}
    save_file(weights, folder / WEIGHTS)
    values = {"format": FORMAT, "digest": file_digest(folder / WEIGHTS), **asdict(generator.config)} | (
        {"base": base} if base else {}
    )
    (folder / CONFIG).write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")


def save_guidance(folder: Path, guidance: float) -> None:
    """Write beside a generator how far replies are guided by a memory, from 1 (not) to MOST_GUIDANCE."""
    (folder / GENERATION).write_text(json.dumps({"guidance_scale": guidance}, indent=1) + "\n", encoding="utf-8")


def guidance_of(folder: Path) -> float:
    """How far replies are guided by a memory, 1 for not: `guidance_scale`, as transformers calls it, by the generator.

    No state depends on it, so it is no part of the fingerprint.
    """
    path = folder / GENERATION
    if not path.exists():
        return 1.0
    try:
        guidance = float(json.loads(path.read_text(encoding="utf-8")).get("guidance_scale", 1.0))
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path} cannot be used ({first_line(error)}); fetch it again.") from error
    if not 1 <= guidance <= MOST_GUIDANCE:
        raise CheckpointError(f"guidance_scale in {path} is {guidance:g}; it has to be from 1 to {MOST_GUIDANCE:g}.")
    return guidance


def fingerprint(parts: Mapping[str, Path], bits: int = 0) -> str:
    """Name what a state of this model means: a digest over weights, tokenizer, template, generator, and LoRA if any.

    Weights that are opened in few bits are others; the number type is no part of it, since it changes a state less.
    """
    digest = hashlib.sha256(f"bits:{bits}\n".encode() if bits else b"")
    for part, folder in sorted(parts.items()):
        files = {path for pattern in MEANINGFUL for path in folder.glob(pattern)}
        for path in sorted(files):
            digest.update(f"{part}/{path.name}:{file_digest(path)}\n".encode())
        digest.update(_template_within(folder))
    return digest.hexdigest()


def _template_within(folder: Path) -> bytes:
    """The chat template that older tokenizers keep in their config, where no file of its own takes its place."""
    path = folder / "tokenizer_config.json"
    if (folder / "chat_template.jinja").exists() or not path.exists():
        return b""
    template = json.loads(path.read_text(encoding="utf-8")).get("chat_template")
    return f"chat_template:{json.dumps(template)}\n".encode() if template else b""


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes, which the hub's cache has as the name of what a weights file there links to."""
    named = path.resolve().name if path.is_symlink() else ""
    if re.fullmatch("[0-9a-f]{64}", named):
        return named
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
