"""`python -m benchmarks.dry_run [--geometry mistral-7b|tiny] [--json OUT]`: a memory at full size, on a CPU.

All layers of the base share the weights of one, so that it fits, and computes as it would: shapes and bytes, held
against the arithmetic of core/sizes.py, and the times of a fold, an adapter, and a token with and without memory.
Weights are random, so what is written means nothing. benchmarks/gpu.py measures the whole on a GPU.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks.costs import copy_bandwidth, decode
from benchmarks.geometry import GEOMETRIES, MISTRAL, random_engines
from benchmarks.report import finish, origin
from benchmarks.timing import SENTENCE, interleaved, timed, turn_of
from core.device import Placement
from core.engine import Engine
from core.sizes import sizes_of

PLACEMENT = Placement(torch.device("cpu"), torch.bfloat16, "sdpa", "bfloat16 and SDPA on the CPU")
TOKENS, REPEATS = 64, 3


def main() -> int:
    """Print what was found; 1 where a size is not what the arithmetic says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--geometry", choices=GEOMETRIES, default=MISTRAL.name)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    geometry = GEOMETRIES[arguments.geometry]
    engines = random_engines(geometry, PLACEMENT, SENTENCE, thin=True)
    result = {kind: measured(engine) for kind, engine in engines.items()}
    for kind, found in result.items():
        print(kind, *(f"  {name:28}{value:,}" for name, value in found.items()), sep="\n")
    bandwidth = copy_bandwidth(next(iter(engines.values())), REPEATS)
    steps = decode(engines, 1, 1, bandwidth)
    print(*(f"{row['side']:28}{row['ms']:,.0f} ms a token" for row in steps), sep="\n")
    tokens = [{"side": row["side"], "ms": row["ms"]} for row in steps]
    where = origin(next(iter(engines.values())))
    finish(result | {"geometry": geometry.name, "tokens": TOKENS, "a_token": tokens} | where, arguments.json)
    return 0 if all(found["bytes_as_computed"] for found in result.values()) else 1


def measured(engine: Engine) -> dict[str, Any]:
    """What a generator, a state and an adapter of it hold, and how long a fold and an adapter take."""
    turn, generator = turn_of(engine, TOKENS), engine.generator
    state = engine.fold(engine.empty_state(), turn)
    adapter, expected = engine.materialise(state), sizes_of(engine.base, generator.config)
    found = (sum(weight.nbytes for weight in generator.parameters()), state.nbytes, adapter.nbytes)
    calls: dict[str, Callable[[], object]] = {
        "fold": lambda: engine.fold(engine.empty_state(), turn),
        "adapter": lambda: engine.materialise(state),
    }
    took = interleaved({name: timed(engine.base.device, call) for name, call in calls.items()}, REPEATS)
    return {
        "generator_bytes": found[0],
        "state_bytes": found[1],
        "adapter_bytes": found[2],
        "of_which_shared": sum(a.nbytes for a in adapter.lora_A if a.ndim == 2),
        "cache_bytes_a_token": expected.cache_a_token,
        "break_even_tokens": expected.break_even,
        "fold_ms": took["fold"],
        "adapter_ms": took["adapter"],
        "bytes_as_computed": found == (expected.generator, expected.state, expected.adapter),
    }


if __name__ == "__main__":
    sys.exit(main())
