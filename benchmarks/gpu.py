"""`python -m benchmarks.gpu [--geometry mistral-7b|tiny] [--users N] [--only SECTION ...] [--json OUT]`.

What memory costs at full size, on random weights of exactly the geometry: a fold against the bare forward pass, making
an adapter, decoding with and without memory, and many users in one batch against peft's `adapter_names`; each as a
ratio, and folds and decoding also against the least that the device could take. It may be cut off: after every section
OUT holds all that was measured, and what may take long comes last. Knows nothing of how good the replies are: see
`benchmarks/recall.py`.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch

from benchmarks import costs
from benchmarks.costs import Figures, Rates, copy_bandwidth, matmul_rates
from benchmarks.geometry import GEOMETRIES, MISTRAL, TINY, Geometry, random_engines
from benchmarks.loras import peft_is_installed
from benchmarks.report import finish, origin
from benchmarks.timing import SENTENCE
from core.device import Choice, Placement, resolve
from core.engine import Engine
from core.errors import CoreError, DeviceError, first_line

TURN_TOKENS = (64, 1024)
FEW = 2  # repeats, where one takes a decomposition for every layer
NO_PEFT = "peft is not installed; requirements-dev.txt has it"
NO_PEAKS = "peak memory is counted on a GPU only"
NO_GRAPHS = "compiled steps are timed on a GPU only"
say = partial(print, flush=True)  # nobody knows how much of what was held back would be lost


@dataclass(frozen=True)
class Bench:
    """The engines, how much to measure, and how many bytes and operations a second the device is capable of."""

    engines: Mapping[str, Engine]
    users: int
    repeats: int
    bandwidth: float
    rates: Rates

    def folds(self) -> Figures:
        """Of turns of each length, without a decomposition."""
        return self._folds(self.repeats, False)

    def decomposing_folds(self) -> Figures:
        """Of the same turns, those alone that take one."""
        return self._folds(min(FEW, self.repeats), True)

    def _folds(self, repeats: int, decomposing: bool) -> Figures:
        one = partial(costs.fold, self.engines, repeats=repeats, bandwidth=self.bandwidth, rates=self.rates)
        return [row for tokens in TURN_TOKENS for row in one(tokens, decomposing=decomposing)]

    def adapters(self) -> Figures:
        """Of states that hold a short turn."""
        return costs.materialise(self.engines, TURN_TOKENS[0], min(FEW, self.repeats))

    def steps(self, decode: Callable[..., Figures], users: int) -> Figures:
        """Of replies to so many users."""
        return decode(self.engines, users, self.repeats, self.bandwidth, self.rates)


class Section(NamedTuple):
    """A table of the result."""

    title: str
    measure: Callable[[Bench], Figures]


# Compiling a large base takes long, and how long a GPU decomposes is not known: these come after all others.
SECTIONS = {
    "decomposition": Section("A decomposition", lambda bench: costs.decomposition(bench.engines, bench.repeats)),
    "fold": Section("Fold of one turn", Bench.folds),
    "decode": Section("A step of one reply", lambda bench: bench.steps(costs.decode, 1)),
    "users_together": Section(
        "A step of {users} replies, each with a memory of its own", lambda bench: bench.steps(costs.decode, bench.users)
    ),
    "sampled": Section(
        "A step of {users} replies without memory", lambda bench: bench.steps(costs.decode_sampled, bench.users)
    ),
    "compiled": Section("A compiled step of one reply", lambda bench: bench.steps(costs.decode_compiled, 1)),
    "compiled_together": Section(
        "A compiled step of {users} replies", lambda bench: bench.steps(costs.decode_compiled, bench.users)
    ),
    "materialise": Section("Adapter of a state", Bench.adapters),
    "fold_decomposing": Section("Fold of one turn, with a decomposition", Bench.decomposing_folds),
}
ONLY = f"what to measure, of {', '.join(SECTIONS)} (default all)"
COMPILED = ("compiled", "compiled_together")


def main() -> int:
    """Print tables and a JSON line; 1 if a section failed, 2 if nothing can be measured on this machine."""
    arguments = parse()
    geometry, users = GEOMETRIES[arguments.geometry], arguments.users
    try:
        placement = placement_for(geometry, arguments.device)
        result = run(geometry, placement, users, arguments.repeats, arguments.only, arguments.json)
    except CoreError as error:
        print(f"Nothing can be measured: {error}", file=sys.stderr)
        return 2
    except torch.OutOfMemoryError:
        print(f"{geometry.name} with {users} users does not fit the GPU; use fewer --users.", file=sys.stderr)
        return 2
    finish(result, None)  # the file has it
    return 1 if result["failed"] else 0


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--geometry", choices=GEOMETRIES, default=MISTRAL.name)
    parser.add_argument("--users", type=int, default=32, help="rows of the mixed batch (default 32)")
    parser.add_argument("--repeats", type=int, default=5, help="how often each side is timed (default 5)")
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=[*SECTIONS], metavar="SECTION", help=ONLY)
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


def run(
    geometry: Geometry,
    placement: Placement,
    users: int,
    repeats: int,
    only: Sequence[str] = tuple(SECTIONS),
    path: Path | None = None,
) -> dict[str, Any]:
    """Measure these sections, in the order they have; each is printed, and is in the file, when it is complete."""
    engines = random_engines(geometry, placement, SENTENCE)
    engine = engines["published"]
    bench = Bench(engines, users, repeats, copy_bandwidth(engine, repeats), matmul_rates(engine, repeats))
    rates = {str(dtype).removeprefix("torch."): round(rate) for dtype, rate in bench.rates.items()}
    speeds = [f"memory copies at {bench.bandwidth / 1e9:,.1f} GB/s"]
    speeds += [f"products in {name} at {rate / 1e12:,.2f} TFLOP/s" for name, rate in rates.items()]
    say(f"{geometry.name}: {placement.reason}; {', '.join(speeds)}")
    result = {
        "geometry": geometry.name,
        "users": users,
        "repeats": repeats,
        "attention": placement.attention,
        "copy_bytes_per_second": round(bench.bandwidth),
        "product_operations_per_second": rates,
        "bytes": sizes(engines),
        "skipped": skipped(placement),
        "failed": {},
        "seconds": {},
        "gpu": torch.cuda.get_device_name() if placement.device.type == "cuda" else None,
        **origin(engine),
    }
    for name in SECTIONS:
        if name in only and (name not in COMPILED or placement.device.type == "cuda"):
            _measure(name, bench, result)
            save(result, path)
    return result


def _measure(name: str, bench: Bench, result: dict[str, Any]) -> None:
    """Add a section to the result; where that fails, whatever it was, the others go on."""
    started = time.monotonic()
    try:
        result[name] = SECTIONS[name].measure(bench)
    except Exception as error:  # of a driver or a library whose version nobody has seen
        result["failed"][name] = first_line(error)
        print(f"{name}: not measured ({first_line(error)}).", file=sys.stderr, flush=True)
    else:
        _print_rows(SECTIONS[name].title.format(users=bench.users), result[name])
    result["seconds"][name] = round(time.monotonic() - started, 1)


def save(result: Mapping[str, Any], path: Path | None) -> None:
    """Have the file hold all of the result; whenever the process ends, it holds this or what it held before."""
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial_file = path.with_name(f"{path.name}.part")
        partial_file.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        partial_file.replace(path)


def skipped(placement: Placement) -> list[str]:
    """What is not measured, each with its reason."""
    on_a_cpu = placement.device.type != "cuda"
    return [NO_PEFT] * (not peft_is_installed()) + [NO_PEAKS, NO_GRAPHS] * on_a_cpu


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
    say(f"\n{title}")
    for row in rows:
        side = f"{row['tokens']:>7,} tokens  {row['side']}" if "tokens" in row else f"  {row['side']}"
        line = f"{side:45}{row['ms']:12,.3f} ms{row['ratio']:9.2f}x"
        if "tokens_per_second" in row:
            line += f"{row['tokens_per_second']:12,.1f} tokens/s"
        if "limit_ms" in row:
            line += f"{row['over_limit']:9.2f}x the limit"
        if row["peak_bytes"] is not None:
            line += f"{row['peak_bytes'] / 2**20:12,.1f} MiB more at the peak"
        say(line)


if __name__ == "__main__":
    sys.exit(main())
