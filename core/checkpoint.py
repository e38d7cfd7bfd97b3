"""A model folder: `base/` (a transformers checkpoint with tokenizer) and `generator/`, opened and written.

The generator is ours (`generator_config.json`) or in the published format (`adapter_config.json`, see published.py).
Weights are safetensors + json, never pickle. Nothing is fetched: a folder is complete or refused.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils.logging import disable_progress_bar

from core.base import Base
from core.config import GeneratorConfig
from core.device import Placement
from core.errors import CheckpointError
from core.generator import GatedGenerator, Generator
from core.published import PUBLISHED_CONFIG, load_published

CONFIG, WEIGHTS, FORMAT = "generator_config.json", "generator.safetensors", 1
# What a state depends on; a change in any of these files makes old states meaningless.
MEANINGFUL = ("*.safetensors", "tokenizer.json", "chat_template.jinja", "config.json", "adapter_config.json", CONFIG)


@dataclass(frozen=True)
class Checkpoint:
    """An opened model folder."""

    name: str
    fingerprint: str
    base: Base
    generator: Generator
    tokenizer: PreTrainedTokenizerBase


def load_checkpoint(folder: Path, placement: Placement) -> Checkpoint:
    """Open a model folder; raise CheckpointError that names the folder and what is wrong with it."""
    for part in ("base", "generator"):
        if not (folder / part).is_dir():
            raise CheckpointError(f"{folder} has no folder {part}/; a model folder holds base/ and generator/.")
    model = load_base(folder / "base", placement)
    base = Base(model)
    generator = load_generator(folder / "generator", base).to(placement.device).eval().requires_grad_(False)
    tokenizer = _load_tokenizer(folder / "base")
    return Checkpoint(folder.name, fingerprint(folder), base, generator, tokenizer)


def load_base(folder: Path, placement: Placement) -> PreTrainedModel:
    """Open the base alone, in the placement's number type."""
    disable_progress_bar()
    try:
        model = AutoModelForCausalLM.from_pretrained(
            folder, dtype=placement.dtype, attn_implementation=placement.attention, local_files_only=True
        )
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise CheckpointError(
            f"The base in {folder} cannot be opened ({_first_line(error)}); fetch it again."
        ) from error
    return model.to(placement.device).eval().requires_grad_(False)


def load_generator(folder: Path, base: Base) -> Generator:
    """Open the generator of either format and check that it fits the base."""
    try:
        generator = load_published(folder, base) if (folder / PUBLISHED_CONFIG).exists() else _load_ours(folder)
    except (OSError, SafetensorError, json.JSONDecodeError) as error:
        raise CheckpointError(
            f"The generator in {folder} cannot be opened ({_first_line(error)}); fetch it again."
        ) from error
    except RuntimeError as error:
        raise CheckpointError(
            f"The generator's weights in {folder} do not fit its config ({_first_line(error)})."
        ) from error
    config = generator.config
    ours = (config.layers, config.hidden_size, config.input_size, config.output_size)
    theirs = (len(base.layers), base.model.config.hidden_size, *base.sizes)
    if ours != theirs:
        raise CheckpointError(
            f"The generator in {folder} is for (layers, d, d_in, d_out) = {ours}, but the base has {theirs}."
        )
    return generator


def _load_ours(folder: Path) -> Generator:
    if not (folder / CONFIG).exists():
        raise CheckpointError(f"{folder} has neither {CONFIG} nor {PUBLISHED_CONFIG}; it holds no generator.")
    values: dict[str, Any] = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    if (version := values.pop("format", None)) != FORMAT:
        raise CheckpointError(
            f"The generator in {folder} has format {version}, this program reads {FORMAT}; update it."
        )
    digest = values.pop("digest", None)
    if digest != file_digest(folder / WEIGHTS):
        raise CheckpointError(
            f"{folder / WEIGHTS} is not the file its config names (digest {str(digest)[:12]}); fetch it again."
        )
    generator = GatedGenerator(GeneratorConfig.from_json(values))
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
    (folder / "generator").mkdir(parents=True, exist_ok=True)
    weights = {name: value.to(torch.bfloat16).contiguous() for name, value in generator.state_dict().items()}
    save_file(weights, folder / "generator" / WEIGHTS)
    values = {"format": FORMAT, "digest": file_digest(folder / "generator" / WEIGHTS), **asdict(generator.config)}
    (folder / "generator" / CONFIG).write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")


def fingerprint(folder: Path) -> str:
    """Name what a state of this model means: a digest over weights, tokenizer, template and generator."""
    digest = hashlib.sha256()
    for part in ("base", "generator"):
        files = {path for pattern in MEANINGFUL for path in (folder / part).glob(pattern)}
        for path in sorted(files):
            digest.update(f"{part}/{path.name}:{file_digest(path)}\n".encode())
    return digest.hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"The tokenizer in {folder} cannot be opened ({_first_line(error)}); fetch it again."
        ) from error
    if not tokenizer.chat_template:
        raise CheckpointError(f"The tokenizer in {folder} has no chat template; use an instruction-tuned base.")
    return tokenizer


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
