"""`python -m training.average OUT MODEL:SHARE MODEL:SHARE ...`: the mean of several weights, as one model folder.

Weights that were trained on from the same ones lie in one basin of the loss: their mean is often better than each of
them, and costs no training (Wortsman et al. 2022, "Model soups"). Says nothing of how they were trained.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

import torch
from torch import nn

from core.checkpoint import fingerprint, load_checkpoint, save_checkpoint, save_guidance
from core.device import Placement
from core.generator import GatedGenerator, GatedLayer, Generator
from core.origin import Origin
from training.growth import widened

CPU = Placement(torch.device("cpu"), torch.float32, "sdpa", "averaging")


def average(out: Path, models: Sequence[tuple[Path, float]], strengths: Sequence[float] = ()) -> str:
    """Write the mean of model folders of one shape and tokenizer, each with its share; return the fingerprint.

    A narrower state than the widest is widened first, as a run does that starts from it. Each layer's memory is then
    made as many times as strong as `strengths` says: what was learnt suits phrasings that were trained on, and is too
    faint for others. Replies are guided as the first's are. ValueError where the models differ in anything else.
    """
    whole = sum(share for _, share in models)
    opened = [load_checkpoint(Origin(str(folder)), CPU) for folder, _ in models]
    first, generators = opened[0], _as_wide([one.generator for one in opened])
    if len({one.tokenizer.backend_tokenizer.to_str() for one in opened}) > 1:
        raise ValueError("The models have different tokenizers, so their weights do not mean the same.")
    shares = [share / whole for _, share in models]
    _mean_into(first.base.model, [one.base.model for one in opened], shares)
    _mean_into(generators[0], generators, shares)
    _strengthen(generators[0], strengths or [1.0] * generators[0].config.layers)
    save_checkpoint(out, first.base.model, generators[0], first.tokenizer)
    save_guidance(out / "generator", first.guidance)
    return fingerprint(Origin(str(out)).parts())


def _as_wide(generators: Sequence[Generator]) -> list[GatedGenerator]:
    """The generators with states as wide as the widest of them."""
    gated = [generator for generator in generators if isinstance(generator, GatedGenerator)]
    if len(gated) < len(generators):
        raise ValueError("A published generator is among the models, and those are not averaged.")
    size = max(generator.config.key_size for generator in gated)
    return [one if one.config.key_size == size else _widened(one, size) for one in gated]


def _widened(narrow: GatedGenerator, size: int) -> GatedGenerator:
    wide = GatedGenerator(replace(narrow.config, key_size=size, value_size=size))
    wide.load_state_dict(widened(narrow.state_dict(), narrow.config.key_size, size))
    return wide


def _mean_into(module: nn.Module, others: Sequence[nn.Module], shares: Sequence[float]) -> None:
    states = [other.state_dict() for other in others]
    shapes = [{name: value.shape for name, value in state.items()} for state in states]
    if any(shape != shapes[0] for shape in shapes):
        raise ValueError("The models have different shapes, so their weights have no mean.")
    mean = {
        name: torch.stack([share * state[name] for share, state in zip(shares, states, strict=True)]).sum(0)
        for name in states[0]
    }
    module.load_state_dict(mean)


def _strengthen(generator: GatedGenerator, strengths: Sequence[float]) -> None:
    if len(strengths) != generator.config.layers:
        raise ValueError(
            f"{generator.config.layers} layers have an adapter, and {len(strengths)} strengths were given."
        )
    with torch.no_grad():
        for layer, strength in zip(cast(Sequence[GatedLayer], generator.layers), strengths, strict=True):
            layer.scale.mul_(strength)


def main() -> None:
    """Average, and print the fingerprint."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("models", nargs="+", metavar="MODEL:SHARE")
    parser.add_argument("--strengths", nargs="+", type=float, default=[], help="one factor for each layer with memory")
    arguments = parser.parse_args()
    pairs = [name.rpartition(":") for name in arguments.models]
    models = [(Path(folder), float(share)) for folder, _, share in pairs]
    print(average(arguments.out, models, arguments.strengths))


if __name__ == "__main__":
    main()
