"""The published checkpoint format (`peft_type` FASTLORA), read and written. Source: METHOD 5; Chen et al. 2025."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from core.base import Base
from core.config import PublishedConfig
from core.errors import CheckpointError
from core.generator import PublishedGenerator

PUBLISHED_CONFIG, PUBLISHED_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
REQUIRED = {
    "peft_type": "FASTLORA",
    "fastlora_norm": "svd",
    "fastlora_merge": "pre-norm-sum",
    "fastlora_arch": "aassbb",
}
KEY = re.compile(r"(?:layers|h)\.(\d+)\.base_layer\.[\w.]+\.fastlora_(A1|A2|A3|B|hidden_state_norm)\.weight$")


def load_published(folder: Path, base: Base) -> PublishedGenerator:
    """Open a generator in the published format for `base`; raise CheckpointError for what differs from METHOD 5."""
    config = published_config(folder, base)
    with torch.device("meta"):  # half a billion random numbers would be drawn for nothing
        generator = PublishedGenerator(config)
    weights = {_renamed(key, folder): value.float() for key, value in load_file(folder / PUBLISHED_WEIGHTS).items()}
    generator.load_state_dict(weights, assign=True)
    return generator


def published_config(folder: Path, base: Base) -> PublishedConfig:
    """The shapes of such a generator; raise as `load_published`."""
    values = json.loads((folder / PUBLISHED_CONFIG).read_text(encoding="utf-8"))
    if not isinstance(values, dict):
        raise CheckpointError(f"{folder / PUBLISHED_CONFIG} holds no names and values; fetch it again.")
    for key, expected in (REQUIRED | {"fastlora_param": _projections(base)}).items():
        if values.get(key) != expected:
            raise CheckpointError(
                f"{folder / PUBLISHED_CONFIG} has {key} = {values.get(key)!r}; only {expected!r} can be read."
            )
    return _config(values, base, folder / PUBLISHED_CONFIG)


def save_published(folder: Path, generator: PublishedGenerator, base: Base, name: str) -> None:
    """Write a generator for this base, which is called `name`, in bfloat16; `load_published` opens it again."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = {
        _published_name(own, base): value.to("cpu", torch.bfloat16) for own, value in generator.state_dict().items()
    }
    save_file({name: value.contiguous() for name, value in weights.items()}, folder / PUBLISHED_WEIGHTS)
    config = generator.config
    values = REQUIRED | {
        "base_model_name_or_path": name,
        "fastlora_param": _projections(base),
        "target_modules": _projections(base),
        "fastlora_r": config.value_size,
        "fastlora_inter_size": config.key_size,
        "fastlora_max_rank": generator.rank,
        "fastlora_alpha": generator.scaling * config.value_size,
        "fastlora_window": config.window,
    }
    (folder / PUBLISHED_CONFIG).write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")


def _projections(base: Base) -> list[str]:
    """The last name of the projections that are changed: o_proj, in the families that generators were published for."""
    return [base.paths[0].rpartition(".")[2]]


def _published_name(own: str, base: Base) -> str:
    """What a weight is called there: `layers.3.A1` is fastlora_A1 of layer 3's projection."""
    _, layer, part = own.split(".")
    part = "hidden_state_norm" if part == "norm" else part
    place = re.sub(r"(?<=\.)\d+(?=\.)", r"\g<0>.base_layer", base.paths[int(layer)], count=1)
    return f"base_model.model.{place}.fastlora_{part}.weight"


def _config(values: dict[str, Any], base: Base, path: Path) -> PublishedConfig:
    (input_size, output_size), value_size = base.sizes, _whole(values, "fastlora_r", path)
    key_size = value_size if values.get("fastlora_inter_size") is None else _whole(values, "fastlora_inter_size", path)
    alpha: Any = values.get("fastlora_alpha")
    rank = _whole(values, "fastlora_max_rank", path)
    if type(alpha) not in (int, float) or not math.isfinite(alpha):
        raise CheckpointError(f"{path} has fastlora_alpha = {alpha!r}; it has to be a number.")
    if rank > min(key_size, value_size):
        raise CheckpointError(
            f"{path} has fastlora_max_rank = {rank}; a state of {key_size} x {value_size} has no higher rank than that."
        )
    return PublishedConfig(
        layers=len(base.layers),
        hidden_size=base.config.hidden_size,
        input_size=input_size,
        output_size=output_size,
        key_size=key_size,
        value_size=value_size,
        window=_whole(values, "fastlora_window", path),
        rank=rank,
        scaling=alpha / value_size,
    )


def _whole(values: dict[str, Any], key: str, path: Path) -> int:
    """A whole number above 0 of the config."""
    value = values.get(key)
    if type(value) is not int or value < 1:
        raise CheckpointError(f"{path} has {key} = {value!r}; it has to be a whole number above 0.")
    return value


def _renamed(key: str, folder: Path) -> str:
    match = KEY.search(key)
    if not match:
        raise CheckpointError(f"{folder / PUBLISHED_WEIGHTS} holds {key!r}, which the published format does not have.")
    layer, name = match.groups()
    return f"layers.{layer}.{'norm' if name == 'hidden_state_norm' else name}"
