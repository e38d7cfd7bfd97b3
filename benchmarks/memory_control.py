"""`python -m benchmarks.memory_control [--seed S] [--json OUT]`: every figure of the memory that people control.

Runs what forgetting.py, receipts.py, provenance.py and disagreements.py run, each with its usual numbers.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from app.errors import EXPECTED
from app.settings import load_settings
from benchmarks import disagreements, forgetting, provenance, receipts
from benchmarks.report import finish
from core.engine import load_engine


def main() -> int:
    """Print the figures and a JSON line; 1 if a promise is broken, 2 if nothing can be measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--small", action="store_true", help="a few of each, to see that it runs")
    arguments = parser.parse_args()
    try:
        result = run(arguments.model, arguments.seed, arguments.small)
    except EXPECTED as error:
        print(f"Nothing can be measured: {error}", file=sys.stderr)
        return 2
    for part, figures in result.items():
        print(part, *(f"  {name:32}{value}" for name, value in figures.items()), sep="\n")
    finish(result, arguments.json)
    return 0 if forgetting.is_kept(result["forgetting"]) and receipts.is_kept(result["receipts"]) else 1


def run(model: Path | None, seed: int, small: bool) -> dict[str, dict[str, Any]]:
    """The four parts; what is timed comes first."""
    settings, few = load_settings(model=model), 2 if small else 0
    engine = load_engine(settings.origin)
    traces = provenance.run(engine, few or provenance.MEMORIES, seed)
    return {
        "provenance": traces,
        "forgetting": forgetting.run(settings, few or forgetting.USERS, seed),
        "receipts": receipts.run(settings, few or receipts.USERS, seed),
        "disagreements": disagreements.run(engine, few or disagreements.MEMORIES, seed),
    }


if __name__ == "__main__":
    sys.exit(main())
