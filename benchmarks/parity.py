"""`python -m benchmarks.parity DIR`: do we compute what the research code computes?

DIR holds `base/`, `generator/` and `expected.safetensors` (METHOD 5). Prints the largest difference of the query's
logits in each of the three reading modes; exits with 1 where one is beyond 1e-4, or beyond 0.02 in bfloat16.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from core.base import Base
from core.checkpoint import load_base, load_generator
from core.device import Placement
from core.errors import CoreError
from core.generator import Generator
from core.reading import read_parallel, read_sequential

TOLERANCE, TOLERANCE_IN_HALF = 1e-4, 2e-2
WINDOWS = 4
REFERENCE = Placement(torch.device("cpu"), torch.float32, "sdpa", "the reference was computed so")


def differences(folder: Path, dtype: torch.dtype = torch.float32) -> dict[str, float]:
    """Largest absolute difference per mode: the bare base, one window, parallel, sequential, and the final state.

    `dtype` is what the base computes in; the generator is in float32 always.
    """
    base = Base(load_base(folder / "base", replace(REFERENCE, dtype=dtype)))
    generator = load_generator(folder / "generator", base)
    expected = load_file(folder / "expected.safetensors")
    context, query = expected["context_ids"][0], expected["query_ids"]
    windows = context.chunk(WINDOWS)
    sequential = read_sequential(base, generator, windows, generator.empty_sums())
    sums = {
        "base": generator.empty_sums(),
        "concat": read_parallel(base, generator, [context]),
        "parallel": read_parallel(base, generator, windows),
        "sequential": sequential,
    }
    result = {mode: _gap(logits(base, generator, s, query), expected[f"logits_{mode}"]) for mode, s in sums.items()}
    states = [expected[f"state.model.layers.{i}.base_layer.self_attn.o_proj"][0] for i in range(len(base.layers))]
    scale = max(1.0, float(torch.stack(states).abs().max()))
    return result | {"state, relative": _gap(sequential, torch.stack(states)) / scale}


def logits(base: Base, generator: Generator, sums: Tensor, query: Tensor) -> Tensor:
    """Logits of a query read with the adapter of `sums`."""
    with torch.inference_mode():
        adapter = generator.materialise(sums[None]).to(base.device, base.dtype)
        with base.adapted(adapter):
            return base.model(input_ids=query).logits


def _gap(ours: Tensor, theirs: Tensor) -> float:
    return float((ours - theirs).abs().max())


def main() -> int:
    """Print one line per mode; 0 if all are within the tolerance, 1 if not, 2 if the folder cannot be read."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--bfloat16", action="store_true", help="have the base compute in bfloat16")
    arguments = parser.parse_args()
    folder, tolerance = arguments.folder, TOLERANCE_IN_HALF if arguments.bfloat16 else TOLERANCE
    try:
        found = differences(folder, torch.bfloat16 if arguments.bfloat16 else torch.float32)
    except (CoreError, OSError, KeyError) as error:
        print(f"{folder} cannot be compared: {error}", file=sys.stderr)
        return 2
    for mode, gap in found.items():
        print(f"{mode:16} {gap:.2e}  {'ok' if gap <= tolerance else 'DIFFERS'}")
    return 0 if max(found.values()) <= tolerance else 1


if __name__ == "__main__":
    sys.exit(main())
