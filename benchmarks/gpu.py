"""`python -m benchmarks.gpu [--geometry mistral-7b|tiny] [--users N] [--json OUT]`: what memory costs at full size.

On random weights of exactly the geometry: a fold against the bare forward pass, making an adapter, decoding with and
without memory, and many users in one batch against peft's `adapter_names`; each as a ratio, and folds and decoding
also against the time that reading the weights takes. Knows nothing of how good the replies are: see
`benchmarks/recall.py`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from benchmarks.costs import Figures, copy_bandwidth, decode, fold, materialise
from benchmarks.geometry import GEOMETRIES, MISTRAL, TINY, Geometry, random_engines
from benchmarks.loras import peft_is_installed
from benchmarks.report import finish, origin
from benchmarks.timing import SENTENCE
from core.device import Choice, Placement, resolve
from core.engine import Engine
from core.errors import CoreError, DeviceError

TURN_TOKENS = (64, 1024)
NO_PEFT = "peft is not installed; requirements-dev.txt has it"
NO_PEAKS = "peak memory is counted on a GPU only"


def main() -> int:
    """Print tables and a JSON line; 2 if it cannot be measured on this machine."""
    arguments = parse()
    geometry, users = GEOMETRIES[arguments.geometry], arguments.users
    try:
        result = run(geometry, placement_for(geometry, arguments.device), users, arguments.repeats)
    except CoreError as error:
        print(f"Nothing can be measured: {error}", file=sys.stderr)
        return 2
    except torch.OutOfMemoryError:
        print(f"{geometry.name} with {users} users does not fit the GPU; use fewer --users.", file=sys.stderr)
        return 2
    finish(result, arguments.json)
    return 0


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--geometry", choices=GEOMETRIES, default=MISTRAL.name)
    parser.add_argument("--users", type=int, default=32, help="rows of the mixed batch (default 32)")
    parser.add_argument("--repeats", type=int, default=5, help="how often each side is timed (default 5)")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--device", default="auto")
    arguments = parser.parse_args()
    for name in ("users", "repeats"):
        if getattr(arguments, name) < 1:
            parser.error(f"--{name} is {getattr(arguments, name)}; it has to be at least 1.")
    return arguments


def placement_for(geometry: Geometry, device: str) -> Placement:
    """Where to compute; raise DeviceError for a full-size geometry without a GPU."""
    placement = resolve(Choice(device))
    if placement.device.type != "cuda" and geometry is not TINY:
        raise DeviceError(f"{geometry.name} needs a GPU, and none is in use here; take --geometry {TINY.name}.")
    return placement


def run(geometry: Geometry, placement: Placement, users: int, repeats: int) -> dict[str, Any]:
    """Measure everything; print each table when it is complete."""
    engines = random_engines(geometry, placement, SENTENCE)
    engine = engines["published"]
    bandwidth = copy_bandwidth(engine, repeats)
    print(f"{geometry.name}: {placement.reason}; memory copies at {bandwidth / 1e9:,.1f} GB/s")
    folds = [row for tokens in TURN_TOKENS for row in fold(engines, tokens, repeats, bandwidth)]
    _print_rows("Fold of one turn", folds)
    made = materialise(engines, TURN_TOKENS[0], repeats)
    _print_rows("Adapter of a state", made)
    alone = decode(engines, 1, repeats, bandwidth)
    _print_rows("A step of one reply", alone)
    together = decode(engines, users, repeats, bandwidth)
    _print_rows(f"A step of {users} replies, each with a memory of its own", together)
    asked = {"geometry": geometry.name, "users": users, "repeats": repeats, "attention": placement.attention}
    measured = {"fold": folds, "materialise": made, "decode": alone, "users_together": together}
    return {
        **asked,
        "copy_bytes_per_second": round(bandwidth),
        "bytes": sizes(engines),
        **measured,
        "skipped": skipped(placement),
        **origin(engine),
    }


def skipped(placement: Placement) -> list[str]:
    """What is not measured, each with its reason."""
    return [NO_PEFT] * (not peft_is_installed()) + [NO_PEAKS] * (placement.device.type != "cuda")


def sizes(engines: Mapping[str, Engine]) -> dict[str, int]:
    """Bytes of the base, and of each kind's generator and state."""
    base = next(iter(engines.values())).base
    found = {"base": sum(weight.nbytes for weight in base.model.parameters())}
    for kind, engine in engines.items():
        found[f"{kind} generator"] = sum(weight.nbytes for weight in engine.generator.parameters())
        found[f"{kind} state"] = engine.empty_state().nbytes
    return found


def _print_rows(title: str, rows: Figures) -> None:
    """One line a side, every number with its unit."""
    print(f"\n{title}")
    for row in rows:
        side = f"{row['tokens']:>7,} tokens  {row['side']}" if "tokens" in row else f"  {row['side']}"
        line = f"{side:45}{row['ms']:12,.3f} ms{row['ratio']:9.2f}x"
        if "tokens_per_second" in row:
            line += f"{row['tokens_per_second']:12,.1f} tokens/s"
        if "limit_ms" in row:
            line += f"{row['over_limit']:9.2f}x the limit"
        if row["peak_bytes"] is not None:
            line += f"{row['peak_bytes'] / 2**20:12,.1f} MiB more at the peak"
        print(line)


if __name__ == "__main__":
    sys.exit(main())
