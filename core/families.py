"""Where a family of models keeps its decoder layers, and the projections that end the halves of each: the one place.

A model is asked for what it has; its name or type is never looked at.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, get_args

from torch import nn

from core.errors import CheckpointError

LAYERS = ("layers", "h")
KNOWN = "Llama, Mistral, Qwen 2 and 3, Gemma 1 to 3, Phi 1 to 3, SmolLM, GPT-NeoX, GPT-2, GPT-J or GPT-Neo"
Target = Literal["attention", "mlp"]
PROJECTIONS: dict[Target, tuple[str, ...]] = {
    "attention": (
        "self_attn.o_proj",  # Llama, Mistral, Qwen 2 and 3, Gemma 1 to 3, Phi 3, SmolLM
        "self_attn.dense",  # Phi 1 and 2
        "attention.dense",  # GPT-NeoX, Pythia
        "attn.c_proj",  # GPT-2, whose projections are Conv1D: weights the other way round
        "attn.out_proj",  # GPT-J
        "attn.attention.out_proj",  # GPT-Neo
    ),
    "mlp": (
        "mlp.down_proj",  # Llama, Mistral, Qwen 2 and 3, Gemma 1 to 3, Phi 3, SmolLM
        "mlp.fc2",  # Phi 1 and 2
        "mlp.dense_4h_to_h",  # GPT-NeoX, Pythia
        "mlp.c_proj",  # GPT-2, GPT-Neo
        "mlp.fc_out",  # GPT-J
    ),
}


def layers_of(decoder: Any) -> list[Any]:
    """The layers of a decoder, in order; raise CheckpointError where they are not found."""
    for name in LAYERS:
        found = getattr(decoder, name, None)
        if isinstance(found, nn.ModuleList):
            return list(found)
    raise CheckpointError(
        f"{type(decoder).__name__} keeps its layers in none of {', '.join(LAYERS)}; use a base of a known family: "
        f"{KNOWN}."
    )


def projection_path(layer: nn.Module, target: Target = "attention") -> str:
    """The name, within a layer, of the projection that ends this half; raise CheckpointError where there is none."""
    names = {name for name, _ in layer.named_modules()}
    for path in PROJECTIONS[target]:
        if path in names:
            return path
    raise CheckpointError(
        f"{type(layer).__name__} has none of {', '.join(PROJECTIONS[target])}; use a base of a known family: {KNOWN}."
    )


def checked_target(name: object) -> Target:
    """Return the half of a layer that is named; raise CheckpointError for any other name."""
    if name not in get_args(Target):
        raise CheckpointError(f"A generator's target is {name!r}; it has to be one of {', '.join(get_args(Target))}.")
    return "mlp" if name == "mlp" else "attention"


def sizes_of(projection: Any) -> tuple[int, int]:
    """d_in and d_out of a projection, a Linear or a Conv1D."""
    if isinstance(projection, nn.Linear):
        return projection.in_features, projection.out_features
    shape: Sequence[int] = projection.weight.shape
    return shape[0], shape[1]
